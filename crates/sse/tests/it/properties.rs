//! What must hold for all input: what is encoded is decoded again, nothing forges a field, and where chunks end means nothing.

use fantail_sse::{Blocks, Decoder, EventId, EventName, Facts, blocks, encode};
use proptest::prelude::*;

use crate::seen::Seen;

/// Decodes `stream` in pieces of the lengths given, over and over.
fn decode(stream: &[u8], lengths: &[usize]) -> (Vec<Seen>, Vec<u8>) {
    let mut decoder = Decoder::new();
    let mut seen = Vec::new();
    let mut rest = stream;
    for length in lengths.iter().cycle() {
        let (piece, after) = rest.split_at(rest.len().min(*length));
        decoder.feed(piece, |item| seen.push(item.into())).expect("far below the limit");
        rest = after;
        if rest.is_empty() {
            break;
        }
    }
    (seen, decoder.last_event_id().into())
}

/// WHATWG HTML §9.2.6 word for word, on a whole stream, with no thought for speed.
fn decode_by_the_book(stream: &[u8]) -> (Vec<Seen>, Vec<u8>) {
    let stream = stream.strip_prefix(b"\xef\xbb\xbf").unwrap_or(stream);
    let mut lines = vec![Vec::new()];
    for (at, byte) in stream.iter().enumerate() {
        match byte {
            b'\n' if at > 0 && stream[at - 1] == b'\r' => {}
            b'\r' | b'\n' => lines.push(Vec::new()),
            _ => lines.last_mut().expect("there is always a last line").push(*byte),
        }
    }
    lines.pop();

    let (mut seen, mut last_id) = (Vec::new(), Vec::new());
    let (mut data, mut name, mut id) = (Vec::new(), Vec::new(), Vec::new());
    for line in lines {
        if line.is_empty() {
            last_id.clone_from(&id);
            if data.pop().is_some() {
                let name = if name.is_empty() { b"message".to_vec() } else { name.clone() };
                seen.push(Seen::Event { name, data: data.clone(), id: last_id.clone() });
            }
            data.clear();
            name.clear();
            continue;
        }
        let colon = line.iter().position(|byte| *byte == b':');
        let (field, mut value) = line.split_at(colon.unwrap_or(line.len()));
        for dropped in [b':', b' '] {
            value = value.strip_prefix(&[dropped]).unwrap_or(value);
        }
        match field {
            b"" => seen.push(Seen::Comment(value.into())),
            b"data" => data.extend([value, b"\n"].concat()),
            b"event" => name = value.into(),
            b"id" if !value.contains(&0) => id = value.into(),
            b"retry" if value.iter().all(u8::is_ascii_digit) => {
                seen.extend(str::from_utf8(value).ok().and_then(|digits| digits.parse().ok()).map(Seen::Retry));
            }
            _ => {}
        }
    }
    (seen, last_id)
}

fn break_as_lf(text: &str) -> Vec<u8> {
    text.replace("\r\n", "\n").replace('\r', "\n").into_bytes()
}

fn first_line(text: &str) -> &str {
    text.split(['\r', '\n']).next().expect("a split has a first part")
}

fn pieces() -> impl Strategy<Value = Vec<usize>> {
    prop_oneof![Just(vec![usize::MAX]), Just(vec![1]), prop::collection::vec(1..12_usize, 1..20)]
}

/// Text made of what means something on the wire, and of anything else.
fn text() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        4 => prop::sample::select(vec![
            "\n", "\r", "\r\n", "\n\n", "\0", ":", " ", "\t", "\u{feff}", "data", "data: x", "id: 1", "event: e", "retry: 1", "…",
        ])
        .prop_map(String::from),
        1 => any::<String>(),
        1 => any::<char>().prop_map(String::from),
    ];
    prop::collection::vec(part, 0..12).prop_map(|parts| parts.concat())
}

fn stream() -> impl Strategy<Value = Vec<u8>> {
    let part = prop_oneof![
        8 => prop::sample::select(vec![
            "\n", "\r", "\r\n", "\0", ":", " ", "data", "data:", "data: x\n", "id", "id:", "id: 1\n", "event:", "event: e\n", "retry:",
            "7", "x", "\u{feff}", "\n\n",
        ])
        .prop_map(|part| part.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 1..4),
    ];
    let start = prop::sample::select(vec![&b""[..], b"\xef\xbb\xbf", b"\xef\xbb", b"\xef"]);
    (start, prop::collection::vec(part, 0..40)).prop_map(|(start, parts)| [start, &parts.concat()].concat())
}

fn config() -> ProptestConfig {
    ProptestConfig { cases: 1024, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn round_trip_parsed_fields_come_back_under_any_split(
        messages in prop::collection::vec((text(), text(), text(), text(), any::<u64>()), 1..4),
        lengths in pieces(),
    ) {
        let (mut wire, mut expected, mut last_id) = (Vec::new(), Vec::new(), Vec::new());
        for (id, name, data, comment, retry) in &messages {
            let id = EventId::parse(id).ok();
            let name = EventName::parse(name).ok();
            encode::comment(&mut wire, comment);
            encode::retry(&mut wire, *retry);
            if let Some(id) = &id {
                encode::id(&mut wire, id.as_str());
                last_id = id.as_str().into();
            }
            if let Some(name) = &name {
                encode::event(&mut wire, name.as_str());
            }
            encode::data(&mut wire, data.as_bytes());
            encode::end(&mut wire);

            expected.extend(break_as_lf(comment).split(|byte| *byte == b'\n').map(|line| Seen::Comment(line.into())));
            expected.push(Seen::Retry(*retry));
            let name = name.as_ref().map_or("message", EventName::as_str).into();
            expected.push(Seen::Event { name, data: break_as_lf(data), id: last_id.clone() });
        }
        prop_assert_eq!(decode(&wire, &lengths), (expected, last_id));
    }

    #[test]
    fn injection_unparsed_values_make_no_second_field(id in text(), name in text(), data in text(), lengths in pieces()) {
        let mut wire = Vec::new();
        encode::id(&mut wire, &id);
        encode::event(&mut wire, &name);
        encode::data(&mut wire, data.as_bytes());
        encode::end(&mut wire);

        let id = Some(first_line(&id)).filter(|id| !id.contains('\0')).unwrap_or_default().as_bytes().to_vec();
        let name = Some(first_line(&name)).filter(|name| !name.is_empty()).unwrap_or("message").into();
        let expected = Seen::Event { name, data: break_as_lf(&data), id: id.clone() };
        prop_assert_eq!(decode(&wire, &lengths), (vec![expected], id));
    }

    #[test]
    fn field_parse_accepts_just_what_the_wire_can_carry(value in text()) {
        let carried = !value.is_empty() && value.len() <= EventId::MAX_BYTES && !value.contains(['\r', '\n', '\0']);
        prop_assert_eq!(EventId::parse(&value).is_ok(), carried);
        prop_assert_eq!(EventName::parse(&value).is_ok(), carried);
    }

    #[test]
    fn blocks_any_stream_under_any_split_are_the_same_events(stream in stream(), lengths in pieces()) {
        let mut cutter = Blocks::with_limit(1 << 20);
        let (mut relayed, mut noted) = (Vec::new(), Vec::new());
        let mut rest = &stream[..];
        for length in lengths.iter().cycle() {
            let (piece, after) = rest.split_at(rest.len().min(*length));
            let mut keep = |block: &[u8]| {
                prop_assert!(block.ends_with(b"\n"));
                relayed.extend_from_slice(block);
                // What is put between two blocks must reach clients as it is, and change nothing else; nor must a blank
                // line that is left out.
                noted.extend_from_slice(b": between\n");
                noted.extend_from_slice(if Facts::of(block).blank_line { block } else { blocks::trim(block) });
                Ok(())
            };
            let mut kept = Ok(());
            cutter.feed(piece, |block| kept = kept.clone().and_then(|()| keep(block))).expect("far below the limit");
            kept?;
            rest = after;
            if rest.is_empty() {
                break;
            }
        }
        relayed.extend_from_slice(cutter.rest());
        noted.extend_from_slice(cutter.rest());
        let without_comments = |(mut seen, last_id): (Vec<Seen>, Vec<u8>)| {
            seen.retain(|seen| !matches!(seen, Seen::Comment(_)));
            (seen, last_id)
        };
        let expected = without_comments(decode_by_the_book(&stream));
        prop_assert_eq!(&without_comments(decode(&relayed, &[usize::MAX])), &expected);
        prop_assert_eq!(without_comments(decode(&noted, &[usize::MAX])), expected);
    }

    #[test]
    fn decoder_any_stream_under_any_split_is_read_by_the_book(stream in stream(), lengths in pieces()) {
        prop_assert_eq!(decode(&stream, &lengths), decode_by_the_book(&stream));
    }
}
