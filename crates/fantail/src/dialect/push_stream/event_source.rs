//! Event streams of the dialect: a message template within `data:` lines, ids and event names before them, header and footer as
//! comments.
//!
//! Strictly, each line of a message goes through the template for itself, blank ones are lost, a carriage return may pass for a line
//! end with clients alone, and a template that begins with `data: ` is written as it stands, its line end forgotten or not. By
//! default the template is filled in once and its lines are told afterwards, so that what was published arrives, and nothing else.

use fantail_sse::encode;
use memchr::{memchr, memchr2};

use super::template::{Entry, Template};

/// What a silent event stream is sent.
pub const PING: &[u8] = b": -1\n";
/// What a template begins with that brings its own field.
const DATA: &str = "data: ";
/// What the default template is, and what a blank one is taken for.
const PLAIN: &str = "~text~";

/// Renders messages for `EventSource`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventSource(Shape);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Shape {
    /// Each line of the message through the whole template.
    Strict(Template),
    /// The template filled in, and its lines then told as data.
    Whole(Template),
    /// A template of fields, line by line.
    Fields(Box<[Field]>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Field {
    /// Its value may have any number of lines.
    Data(Template),
    /// One line, whatever it is.
    Other(Template),
}

impl EventSource {
    /// Renders through this message template.
    pub fn new(template: &str, strict: bool) -> Self {
        let template = if template.is_empty() { PLAIN } else { template };
        let own = template.starts_with(DATA);
        Self(match (strict, own) {
            (true, true) => Shape::Strict(Template::parse(template, strict)),
            (true, false) => Shape::Strict(Template::parse(&format!("{DATA}{template}\n"), strict)),
            (false, false) => Shape::Whole(Template::parse(template, strict)),
            (false, true) => {
                // A blank line would end the event before its other fields are told.
                let lines = lines(template).filter(|line| !line.is_empty());
                Shape::Fields(lines.map(Field::parse).collect())
            }
        })
    }

    /// Appends one message. Returns the length of its data, which is what padding looks at.
    pub fn message(&self, out: &mut Vec<u8>, entry: &Entry<'_>) -> usize {
        match (entry.event_id, entry.position) {
            (Some(id), _) => encode::id(out, id),
            (None, Some(position)) if !matches!(self.0, Shape::Strict(_)) => encode::id(out, &position.to_string()),
            (None, _) => {}
        }
        if let Some(name) = entry.event_type {
            encode::event(out, name);
        }
        let start = out.len();
        match &self.0 {
            Shape::Strict(template) => {
                for line in strict_lines(entry.text) {
                    template.render_with(out, entry, line);
                }
            }
            Shape::Whole(template) => encode::data(out, &rendered(template, entry)),
            Shape::Fields(fields) => fields.iter().for_each(|field| field.write(out, entry)),
        }
        encode::end(out);
        out.len() - start
    }
}

impl Field {
    fn parse(line: &str) -> Self {
        match line.strip_prefix("data:") {
            Some(value) => Self::Data(Template::parse(value.strip_prefix(' ').unwrap_or(value), false)),
            None => Self::Other(Template::parse(line, false)),
        }
    }

    fn write(&self, out: &mut Vec<u8>, entry: &Entry<'_>) {
        match self {
            Self::Data(template) => encode::data(out, &rendered(template, entry)),
            Self::Other(template) => {
                // SECURITY: a message that is put into such a line does not begin another one.
                let line = rendered(template, entry);
                let end = memchr2(b'\r', b'\n', &line).unwrap_or(line.len());
                out.extend_from_slice(&line[..end]);
                out.push(b'\n');
            }
        }
    }
}

/// What an event stream begins with: the header template as comments, or an empty one, so that clients learn at once that
/// the stream is open.
pub fn opening(header: &str, strict: bool) -> Vec<u8> {
    if header.is_empty() { b": \n".to_vec() } else { comments(header, strict) }
}

/// What an event stream ends with: the footer template as comments, if there is one.
pub fn closing(footer: &str, strict: bool) -> Vec<u8> {
    comments(footer, strict)
}

fn comments(template: &str, strict: bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(template.len() + 8);
    if template.starts_with(": ") {
        out.extend_from_slice(template.as_bytes());
        // Without one the line would swallow the first of the next event.
        if !strict && !template.ends_with(['\n', '\r']) {
            out.push(b'\n');
        }
        return out;
    }
    let lines = if strict { strict_lines(template.as_bytes()) } else { lines(template).map(str::as_bytes).collect() };
    for line in lines.into_iter().filter(|line| !line.is_empty()) {
        out.extend_from_slice(b": ");
        out.extend_from_slice(line);
        out.push(b'\n');
    }
    out
}

fn rendered(template: &Template, entry: &Entry<'_>) -> Vec<u8> {
    let mut out = Vec::with_capacity(entry.text.len() + 128);
    template.render(&mut out, entry);
    out
}

/// The lines between LF, CRLF and CR.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let end = memchr2(b'\r', b'\n', text.as_bytes());
        rest = end.map(|at| text[at..].strip_prefix("\r\n").unwrap_or(&text[at + 1..]));
        Some(&text[..end.unwrap_or(text.len())])
    })
}

/// The lines that the module finds, none of them empty: a CR ends one only if an LF comes later, and behind a NUL nothing does.
fn strict_lines(text: &[u8]) -> Vec<&[u8]> {
    let (mut lines, mut rest) = (Vec::new(), text);
    loop {
        let seen = &rest[..memchr(0, rest).unwrap_or(rest.len())];
        let end = memchr(b'\n', seen).and_then(|_| memchr2(b'\r', b'\n', seen));
        let line = &rest[..end.unwrap_or(rest.len())];
        if !line.is_empty() {
            lines.push(line);
        }
        match end {
            Some(end) => rest = &rest[end + 1..],
            None => return lines,
        }
    }
}

#[cfg(test)]
mod tests {
    use fantail_hub::{Epoch, Millis, Offset, Position};

    use super::*;

    const JSON: &str = r#"{"id":~id~,"t":"~text~","s":~size~}"#;

    fn entry(text: &str) -> Entry<'_> {
        Entry { number: 1, channel: "ch", time: Millis(1_795_359_029_000), tag: 3, ..Entry::ping(text) }
    }

    fn rendered(template: &str, strict: bool, entry: &Entry<'_>) -> String {
        let mut out = Vec::new();
        let length = EventSource::new(template, strict).message(&mut out, entry);
        let text = String::from_utf8(out).unwrap();
        let data = text.lines().take_while(|line| line.starts_with("id: ") || line.starts_with("event: "));
        assert_eq!(length, text.len() - data.map(|line| line.len() + 1).sum::<usize>());
        text
    }

    #[test]
    fn message_has_its_id_its_event_and_its_data_in_this_order() {
        let full = Entry { event_id: Some("e1"), event_type: Some("ty"), ..entry("l1\n\nl2\rl3\r\nl4") };
        assert_eq!(rendered("~text~", true, &full), "id: e1\nevent: ty\ndata: l1\ndata: l2\ndata: l3\ndata: l4\n\n");
        assert_eq!(
            rendered("~text~", false, &full),
            "id: e1\nevent: ty\ndata: l1\ndata: \ndata: l2\ndata: l3\ndata: l4\n\n"
        );
        assert_eq!(rendered("", true, &entry("x")), "data: x\n\n");
        assert_eq!(rendered("", false, &entry("x")), "data: x\n\n");
    }

    #[test]
    fn message_with_an_empty_id_shows_it() {
        let empty = Entry { event_id: Some(""), ..entry("x") };
        assert_eq!(rendered("~text~", true, &empty), "id: \ndata: x\n\n");
    }

    #[test]
    fn message_without_an_id_has_its_position_unless_strict() {
        let position = Position { epoch: Epoch::new(0xab), offset: Offset(7) };
        let placed = Entry { position: Some(position), ..entry("x") };
        assert_eq!(rendered("~text~", true, &placed), "data: x\n\n");
        assert_eq!(rendered("~text~", false, &placed), "id: ~1.ab.7\ndata: x\n\n");
        assert_eq!(rendered("~text~", false, &Entry { event_id: Some("e"), ..placed }), "id: e\ndata: x\n\n");
    }

    #[test]
    fn message_strictly_is_rendered_line_by_line() {
        for (template, text, expected) in [
            ("data: ~text~", "l1\nl2", "data: l1data: l2\n"),
            ("data: ~text~\n", "l1\nl2", "data: l1\ndata: l2\n\n"),
            ("A~text~\nB", "l1\nl2", "data: Al1\nB\ndata: Al2\nB\n\n"),
            (JSON, "l1\nl2", "data: {\"id\":1,\"t\":\"l1\",\"s\":2}\ndata: {\"id\":1,\"t\":\"l2\",\"s\":2}\n\n"),
            ("data:~text~", "x", "data: data:x\n\n"),
            ("~text~", "a\n\nb", "data: a\ndata: b\n\n"),
            ("~text~", "\n\r\n\n", "\n"),
            ("~text~", "x\ry", "data: x\ry\n\n"),
            ("~text~", "x\ry\nz", "data: x\ndata: y\ndata: z\n\n"),
            ("~text~", "x\ny\rz", "data: x\ndata: y\rz\n\n"),
            ("~text~", "a\nb\0c\nd", "data: a\ndata: b\0c\nd\n\n"),
            ("~text~", "a\rb\0\n", "data: a\rb\0\n\n\n"),
        ] {
            assert_eq!(rendered(template, true, &entry(text)), expected, "{template:?} {text:?}");
        }
    }

    #[test]
    fn message_by_default_is_rendered_whole() {
        for (template, text, expected) in [
            ("data: ~text~", "l1\nl2", "data: l1\ndata: l2\n\n"),
            ("data: ~text~\n", "l1\nl2", "data: l1\ndata: l2\n\n"),
            ("data: ~text~\n\n", "l1\n", "data: l1\ndata: \n\n"),
            (
                "data: ~channel~\r\nretry: 1000\ndata:~text~\n",
                "l1\nl2",
                "data: ch\nretry: 1000\ndata: l1\ndata: l2\n\n",
            ),
            ("data: x\nevent: ~text~", "a\rdata: forged\n\n", "data: x\nevent: a\n\n"),
            ("A~text~\nB", "l1\nl2", "data: Al1\ndata: l2\ndata: B\n\n"),
            (JSON, "l1\nl2", "data: {\"id\":1,\"t\":\"l1\ndata: l2\",\"s\":5}\n\n"),
            ("~text~", "a\n\nb", "data: a\ndata: \ndata: b\n\n"),
            ("~text~", "\n", "data: \ndata: \n\n"),
            ("~text~", "x\ry", "data: x\ndata: y\n\n"),
            ("~text~", "a\nb\0c\nd", "data: a\ndata: b\0c\ndata: d\n\n"),
        ] {
            assert_eq!(rendered(template, false, &entry(text)), expected, "{template:?} {text:?}");
        }
    }

    #[test]
    fn deletion_is_a_message_without_id_and_event() {
        for strict in [true, false] {
            let deleted = Entry::deleted("ch", b"Channel deleted");
            assert_eq!(rendered("~text~", strict, &deleted), "data: Channel deleted\n\n");
            assert_eq!(rendered(r#"{"id":~id~}"#, strict, &deleted), "data: {\"id\":-2}\n\n");
            assert_eq!(rendered("~text~", strict, &Entry::deleted("ch", b"a\nb")), "data: a\ndata: b\n\n");
        }
    }

    #[test]
    fn opening_and_closing_are_comments() {
        for (template, strict, default) in [
            ("bye", ": bye\n", ": bye\n"),
            ("a\n\nb\r\nc\n", ": a\n: b\n: c\n", ": a\n: b\n: c\n"),
            ("a\rb", ": a\rb\n", ": a\n: b\n"),
            (": a\n\nretry: 3\n\n", ": a\n\nretry: 3\n\n", ": a\n\nretry: 3\n\n"),
            (": a", ": a", ": a\n"),
            (":a", ": :a\n", ": :a\n"),
            ("\n", "", ""),
        ] {
            for (strict, expected) in [(true, strict), (false, default)] {
                assert_eq!(String::from_utf8(opening(template, strict)).unwrap(), expected, "{template:?}");
                assert_eq!(String::from_utf8(closing(template, strict)).unwrap(), expected, "{template:?}");
            }
        }
        assert_eq!(opening("", true), b": \n");
        assert_eq!(closing("", true), b"");
    }
}
