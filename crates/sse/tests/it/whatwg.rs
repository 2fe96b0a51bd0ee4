//! The decoder against the examples of WHATWG HTML §9.2 and the `eventsource/` files of the web platform tests, with every
//! stream cut at every place.

use fantail_sse::Decoder;

use crate::seen::Seen;

fn event(name: &str, data: &str, id: &str) -> Seen {
    Seen::Event { name: name.into(), data: data.into(), id: id.into() }
}

fn message(data: &str) -> Seen {
    event("message", data, "")
}

fn comment(text: &str) -> Seen {
    Seen::Comment(text.into())
}

fn decode<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Seen>, Vec<u8>) {
    let mut decoder = Decoder::new();
    let mut seen = Vec::new();
    for piece in pieces {
        decoder.feed(piece, |item| seen.push(item.into())).expect("far below the limit");
    }
    (seen, decoder.last_event_id().into())
}

/// Checks items and last event ID, with the stream whole, in two pieces, byte by byte, and, if short, in three.
#[track_caller]
fn check(stream: impl AsRef<[u8]>, expected: &[Seen], last_id: &str) {
    let stream = stream.as_ref();
    let expected = (expected.to_vec(), last_id.as_bytes().to_vec());

    assert_eq!(decode([stream]), expected, "whole");
    assert_eq!(decode(stream.chunks(1)), expected, "byte by byte");
    for first in 0..=stream.len() {
        let (head, tail) = stream.split_at(first);
        assert_eq!(decode([head, tail]), expected, "cut at {first}");
        assert_eq!(decode([head, b"", tail]), expected, "cut at {first} around nothing");
        if stream.len() <= 100 {
            for second in 0..=tail.len() {
                let (middle, end) = tail.split_at(second);
                assert_eq!(decode([head, middle, end]), expected, "cut at {first} and {}", first + second);
            }
        }
    }
}

#[test]
fn bom_at_the_start_is_dropped_and_a_later_one_is_not() {
    // format-bom: the second block's field is "\u{feff}data", which nobody knows.
    check("\u{feff}data:1\n\n\u{feff}data:2\n\ndata:3\n\n", &[message("1"), message("3")], "");
}

#[test]
fn bom_twice_loses_only_the_first() {
    // format-bom-2
    check("\u{feff}\u{feff}data:1\n\n\u{feff}data:2\n\ndata:3\n\n", &[message("3")], "");
}

#[test]
fn bom_after_a_comment_is_part_of_the_field_name() {
    check(":hb\n\u{feff}data:1\n\ndata:2\n\n", &[comment("hb"), message("2")], "");
}

#[test]
fn bom_that_breaks_off_is_part_of_the_first_line() {
    check(b"\xef\xbbdata:1\n\ndata:2\n\n", &[message("2")], "");
    check(b"\xef\n\ndata:2\n\n", &[message("2")], "");
    check(b"\xef\xbb", &[], "");
}

#[test]
fn bom_alone_is_no_line() {
    check("\u{feff}", &[], "");
    check("\u{feff}\n\ndata:1\n\n", &[message("1")], "");
}

#[test]
fn comments_among_data_are_no_part_of_it() {
    // format-comments
    let long = "x".repeat(2 * 1024);
    let stream = format!("data:1\r:\0\n:\r\ndata:2\n:{long}\rdata:3\n:data:fail\r:{long}\ndata:4\n\n");
    let comments = ["\0", "", &long, "data:fail", &long].map(comment);
    check(stream, &[&comments[..], &[message("1\n2\n3\n4")]].concat(), "");
}

#[test]
fn comment_leading_space_is_dropped_once() {
    check(": hb\n:  hb\n:hb\n:\n", &[comment("hb"), comment(" hb"), comment("hb"), comment("")], "");
}

#[test]
fn data_before_the_final_blank_line_is_never_dispatched() {
    // format-data-before-final-empty-line
    check("retry:1000\ndata:test1\n\nid:test\ndata:test2", &[Seen::Retry(1000), message("test1")], "");
    check("data:test1\n\nid:test\ndata:test2\n", &[message("test1")], "");
    check("data:test1\n\nid:test\ndata:test2\r", &[message("test1")], "");
    check("data:test1\n\nid:test\ndata:test2\r\n", &[message("test1")], "");
}

#[test]
fn data_without_value_is_an_empty_line() {
    // format-field-data
    check("data:\n\ndata\ndata\n\ndata:test\n\n", &[message(""), message("\n"), message("test")], "");
}

#[test]
fn data_alone_is_an_event() {
    check("data\n\n", &[message("")], "");
    check("data:\n\n", &[message("")], "");
    check("data: \n\n", &[message("")], "");
}

#[test]
fn data_among_other_fields_and_blocks_without_it() {
    // event-data
    check(
        "data:msg\ndata: msg\n\n:\nfalsefield:msg\n\nfalsefield:msg\nData:data\n\ndata\n\ndata:end\n\n",
        &[message("msg\nmsg"), comment(""), message(""), message("end")],
        "",
    );
}

#[test]
fn event_name_holds_for_one_event() {
    // format-field-event
    check("event:test\ndata:x\n\ndata:x\n\n", &[event("test", "x", ""), message("x")], "");
}

#[test]
fn event_name_empty_is_message() {
    // format-field-event-empty
    check("event:\ndata:data\n\n", &[message("data")], "");
    check("event:test\nevent\ndata:data\n\n", &[message("data")], "");
}

#[test]
fn event_name_the_last_one_counts_wherever_it_stands() {
    check("event:a\ndata:1\nevent:b\ndata:2\n\n", &[event("b", "1\n2", "")], "");
}

#[test]
fn event_name_without_data_is_forgotten() {
    check("event:test\n\ndata:x\n\n", &[message("x")], "");
}

#[test]
fn event_name_is_case_sensitive_as_a_field() {
    check("Event:a\nEVENT:b\nDATA:0\ndata:1\nID:3\n\n", &[message("1")], "");
}

#[test]
fn id_holds_until_it_is_replaced() {
    // format-field-id, format-field-id-2
    check(
        "id:…\ndata:hello\n\ndata:again\n\nid: 2\ndata:new\n\n",
        &[event("message", "hello", "…"), event("message", "again", "…"), event("message", "new", "2")],
        "2",
    );
}

#[test]
fn id_empty_resets_it() {
    // format-field-id-3 and the example of WHATWG HTML §9.2.6
    check("id:1\ndata:1\n\nid\ndata:2\n\n", &[event("message", "1", "1"), message("2")], "");
    check("id:1\ndata:1\n\nid: \ndata:2\n\n", &[event("message", "1", "1"), message("2")], "");
    check("id:1\nid\ndata:2\n\n", &[message("2")], "");
}

#[test]
fn id_with_nul_is_ignored() {
    // format-field-id-null
    for id in ["\0\0", "x\0", "\0x", "x\0x", " \0"] {
        check(format!("id:{id}\ndata:hello\n\n"), &[message("hello")], "");
        check(format!("id:1\nid:{id}\ndata:hello\n\n"), &[event("message", "hello", "1")], "1");
    }
}

#[test]
fn id_without_data_is_committed_by_the_blank_line() {
    check("id:1\n\n", &[], "1");
    check("retry: 10\nid: 1\n\ndata:x\n\n", &[Seen::Retry(10), event("message", "x", "1")], "1");
}

#[test]
fn id_without_blank_line_is_not_committed() {
    check("id:1\n", &[], "");
    check("id:1\n\nid:2\n", &[], "1");
    check("id:1\n\nid:2\nid", &[], "1");
}

#[test]
fn field_parsing_odd_lines_are_read_to_the_letter() {
    // format-field-parsing
    check(
        "data:\0\ndata:  2\rData:1\ndata\0:2\ndata:1\r\0data:4\nda-ta:3\rdata_5\ndata:3\rdata:\r\n data:32\ndata:4\n\n",
        &[message("\0\n 2\n1\n3\n\n4")],
        "",
    );
}

#[test]
fn field_unknown_is_ignored() {
    // format-field-unknown
    check(
        "data:test\n data\ndata\nfoobar:xxx\njustsometext\n:thisisacommentyay\ndata:test\n\n",
        &[comment("thisisacommentyay"), message("test\n\ntest")],
        "",
    );
}

#[test]
fn field_value_may_hold_colons() {
    check("data:a:b: c\nid::\n\n", &[event("message", "a:b: c", ":")], ":");
}

#[test]
fn leading_space_is_dropped_once_and_a_tab_is_kept() {
    // format-leading-space
    check("data:\ttest\rdata: \ndata:test\n\n", &[message("\ttest\n\ntest")], "");
    check("data:  two\nid: \t1\nevent:  e\n\n", &[event(" e", " two", "\t1")], "\t1");
}

#[test]
fn newlines_of_all_kinds_may_be_mixed() {
    // format-newlines
    check("data:test\r\ndata\ndata:test\r\n\r", &[message("test\n\ntest")], "");
}

#[test]
fn newlines_of_one_kind_end_lines_and_events() {
    for end in ["\n", "\r\n", "\r"] {
        let stream = "id:1|event:e|data:a|data:b||data:c||||data:d||".replace('|', end);
        check(stream, &[event("e", "a\nb", "1"), event("message", "c", "1"), event("message", "d", "1")], "1");
    }
}

#[test]
fn newlines_cr_dispatches_before_a_line_feed_that_may_follow() {
    let mut decoder = Decoder::new();
    let mut events = 0;
    decoder.feed(b"data:1\r\r", |_| events += 1).expect("far below the limit");
    assert_eq!(events, 1, "the blank line is complete");
    decoder.feed(b"\ndata:2\n", |_| events += 1).expect("far below the limit");
    assert_eq!(events, 1, "the line feed belongs to the carriage return");
    decoder.feed(b"\n", |_| events += 1).expect("far below the limit");
    assert_eq!(events, 2);
}

#[test]
fn newlines_reversed_are_two() {
    check("data:1\n\rdata:2\n\r", &[message("1"), message("2")], "");
}

#[test]
fn null_character_in_data_passes() {
    // format-null-character
    check("data:\0\n\n\n\n", &[message("\0")], "");
}

#[test]
fn retry_is_decimal_also_with_leading_zeros() {
    // format-field-retry
    check("retry:03000\ndata:x\n\n", &[Seen::Retry(3000), message("x")], "");
}

#[test]
fn retry_with_anything_but_digits_is_ignored() {
    // format-field-retry-bogus
    check("retry:3000\nretry:1000x\ndata:x\n\n", &[Seen::Retry(3000), message("x")], "");
    check("retry:+1\nretry:-1\nretry:1.0\nretry:  1\nretry:1 \nretry:0x1\nretry:١\n", &[], "");
}

#[test]
fn retry_without_value_is_ignored() {
    // format-field-retry-empty
    check("retry\ndata:test\n\n", &[message("test")], "");
    check("retry:\nretry: \ndata:test\n\n", &[message("test")], "");
}

#[test]
fn retry_needs_its_line_end_but_no_blank_line() {
    check("retry:1", &[], "");
    check("retry:1\n", &[Seen::Retry(1)], "");
}

#[test]
fn retry_beyond_all_numbers_is_the_greatest() {
    check("retry:18446744073709551615\n", &[Seen::Retry(u64::MAX)], "");
    check("retry:18446744073709551616\n", &[Seen::Retry(u64::MAX)], "");
    check(format!("retry:1{}\n", "0".repeat(50)), &[Seen::Retry(u64::MAX)], "");
}

#[test]
fn utf8_is_passed_on_and_so_is_what_is_not() {
    // format-utf-8
    check("data:ok…\n\n", &[message("ok…")], "");
    let raw = Seen::Event { name: b"\xfe".into(), data: b"\xff\xe2\x80".into(), id: b"\xe2".into() };
    check(b"event:\xfe\ndata:\xff\xe2\x80\nid:\xe2\n\nid\n\n", &[raw], "");
}

#[test]
fn stream_of_nothing_tells_nothing() {
    check("", &[], "");
    check("\n\n\r\r\n\r", &[], "");
}

#[test]
fn example_stock_price() {
    check("data: YHOO\ndata: +2\ndata: 10\n\n", &[message("YHOO\n+2\n10")], "");
}

#[test]
fn example_four_blocks() {
    check(
        ": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n",
        &[
            comment("test stream"),
            event("message", "first event", "1"),
            event("message", "second event", ""),
            event("message", " third event", ""),
        ],
        "",
    );
}

#[test]
fn example_two_events_and_one_cut_off() {
    check("data\n\ndata\ndata\n\ndata:", &[message(""), message("\n")], "");
}

#[test]
fn example_space_after_the_colon_makes_no_difference() {
    check("data:test\n\ndata: test\n\n", &[message("test"), message("test")], "");
}
