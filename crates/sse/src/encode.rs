//! Appends fields to a buffer, a call each; what is written always decodes to what was given. It knows no events and no
//! limits, and allocates nothing but room in the buffer.
//!
//! An event is its fields in any order and then [`end`]. Fields may also stand alone: `retry:` and `id:` take effect without
//! data.
//!
//! SECURITY: no value can pass for a second field. [`data`] and [`comment`] begin every line anew; [`id`] and [`event`] end
//! at the first line break, which a parsed [`EventId`](crate::EventId) or [`EventName`](crate::EventName) does not have.

use std::io::Write as _;

use memchr::memchr2;

/// Writes `id: …`. The empty id makes the client forget the one it has; one with a NUL is ignored by clients.
pub fn id(out: &mut Vec<u8>, id: &str) {
    field(out, b"id: ", id);
}

/// Writes `event: …`. The empty name stands for `message`.
pub fn event(out: &mut Vec<u8>, name: &str) {
    field(out, b"event: ", name);
}

/// Writes `data: …` for each line of `text`. LF, CRLF and CR are line breaks, and all reach the client as LF.
///
/// Blank lines and a break at the end are kept, so that empty data is one empty line, and `a\n` is two lines. Bytes that are
/// not UTF-8 are passed on; clients read U+FFFD in their place.
pub fn data(out: &mut Vec<u8>, text: &[u8]) {
    lines(out, b"data: ", text);
}

/// Writes `retry: …`, the time in milliseconds that a client waits before it connects again.
pub fn retry(out: &mut Vec<u8>, milliseconds: u64) {
    writeln!(out, "retry: {milliseconds}").expect("a Vec takes every write");
}

/// Writes `: …` for each line of `text`, which clients ignore.
///
/// Between events it needs no [`end`], and should have none: several clients take the blank line for an empty event.
pub fn comment(out: &mut Vec<u8>, text: &str) {
    lines(out, b": ", text.as_bytes());
}

/// Writes the blank line that ends an event.
pub fn end(out: &mut Vec<u8>) {
    out.push(b'\n');
}

fn field(out: &mut Vec<u8>, prefix: &[u8], value: &str) {
    let value = value.as_bytes();
    let line = memchr2(b'\r', b'\n', value).map_or(value, |at| &value[..at]);
    out.reserve(prefix.len() + line.len() + 1);
    out.extend_from_slice(prefix);
    out.extend_from_slice(line);
    out.push(b'\n');
}

fn lines(out: &mut Vec<u8>, prefix: &[u8], text: &[u8]) {
    out.reserve(prefix.len() + text.len() + 1);
    let mut rest = text;
    while let Some(at) = memchr2(b'\r', b'\n', rest) {
        out.extend_from_slice(prefix);
        out.extend_from_slice(&rest[..at]);
        out.push(b'\n');
        let end = if rest[at..].starts_with(b"\r\n") { at + 2 } else { at + 1 };
        rest = &rest[end..];
    }
    out.extend_from_slice(prefix);
    out.extend_from_slice(rest);
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = b"before|".to_vec();
        write(&mut out);
        let text = String::from_utf8(out).expect("only UTF-8 was written");
        text.strip_prefix("before|").expect("what stood in the buffer stays").to_owned()
    }

    #[test]
    fn data_each_kind_of_line_break_starts_a_new_line() {
        for (text, wire) in [
            ("", "data: \n"),
            ("a", "data: a\n"),
            ("a\n", "data: a\ndata: \n"),
            ("a\nb", "data: a\ndata: b\n"),
            ("a\r\nb", "data: a\ndata: b\n"),
            ("a\rb", "data: a\ndata: b\n"),
            ("a\r", "data: a\ndata: \n"),
            ("\n", "data: \ndata: \n"),
            ("\n\n", "data: \ndata: \ndata: \n"),
            ("\r\r\n\n", "data: \ndata: \ndata: \ndata: \n"),
            ("\n\r", "data: \ndata: \ndata: \n"),
            (" a", "data:  a\n"),
            ("id: 1", "data: id: 1\n"),
        ] {
            assert_eq!(written(|out| data(out, text.as_bytes())), wire, "{text:?}");
        }
    }

    #[test]
    fn data_bytes_that_are_not_text_are_passed_on() {
        let mut out = Vec::new();
        data(&mut out, b"\xff\0\n\xfe");
        assert_eq!(out, b"data: \xff\0\ndata: \xfe\n");
    }

    #[test]
    fn comment_many_lines_ends_with_one_newline() {
        assert_eq!(written(|out| comment(out, "hb")), ": hb\n");
        assert_eq!(written(|out| comment(out, "one\r\ntwo\rthree")), ": one\n: two\n: three\n");
        assert_eq!(written(|out| comment(out, "data: no\n\n")), ": data: no\n: \n: \n");
        assert_eq!(written(|out| comment(out, "")), ": \n");
    }

    #[test]
    fn retry_any_number_is_decimal() {
        assert_eq!(written(|out| retry(out, 0)), "retry: 0\n");
        assert_eq!(written(|out| retry(out, 1234)), "retry: 1234\n");
        assert_eq!(written(|out| retry(out, u64::MAX)), "retry: 18446744073709551615\n");
    }

    #[test]
    fn field_value_with_a_line_break_ends_there() {
        assert_eq!(written(|out| id(out, "1\ndata: forged\n\n")), "id: 1\n");
        assert_eq!(written(|out| event(out, "a\rdata: forged")), "event: a\n");
        assert_eq!(written(|out| event(out, "\n")), "event: \n");
    }

    #[test]
    fn event_all_fields_stand_in_the_order_of_the_calls() {
        let wire = written(|out| {
            id(out, "7");
            event(out, "price");
            data(out, b"{}");
            end(out);
        });
        assert_eq!(wire, "id: 7\nevent: price\ndata: {}\n\n");
    }
}
