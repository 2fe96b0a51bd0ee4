//! The decoder of event streams and the splitter into blocks: in pieces or at once, the outcome is the same; and what the encoder
//! writes is read back.

use fantail_sse::blocks::{Blocks, Facts, trim};
use fantail_sse::{DecodeError, Decoder, Item, encode};

/// The first byte says how long the pieces are, the second how small the limits.
pub fn run(bytes: &[u8]) {
    let [piece, limit, stream @ ..] = bytes else { return };
    let piece = usize::from(*piece).max(1);
    let limit = usize::from(*limit) * 4 + 1;
    let (whole, end) = decode(limit, [stream]);
    let (pieces, same) = decode(limit, stream.chunks(piece));
    assert_eq!(end, same);
    if end.is_ok() {
        assert_eq!(whole, pieces);
    }
    let events = heard(stream);
    for blocks in [blocks(limit, [stream]), blocks(limit, stream.chunks(piece))].into_iter().flatten() {
        assert_eq!(heard(&blocks), events, "cutting changes nothing of what clients hear");
    }
    round_trip(stream);
}

fn decode<'a>(limit: usize, pieces: impl IntoIterator<Item = &'a [u8]>) -> (String, Result<Vec<u8>, DecodeError>) {
    let mut decoder = Decoder::with_limit(limit);
    let mut said = String::new();
    for piece in pieces {
        if let Err(error) = decoder.feed(piece, |item| said += &format!("{item:?}")) {
            return (said, Err(error));
        }
    }
    (said, Ok(decoder.last_event_id().to_vec()))
}

/// All blocks, one behind the other, and the one that has no end; nothing if one is too large.
fn blocks<'a>(limit: usize, pieces: impl IntoIterator<Item = &'a [u8]>) -> Option<Vec<u8>> {
    let mut blocks = Blocks::with_limit(limit);
    let mut all = Vec::new();
    for piece in pieces {
        let each = |block: &[u8]| {
            let _ = (Facts::of(block), trim(block));
            all.extend_from_slice(block);
        };
        blocks.feed(piece, each).ok()?;
    }
    all.extend_from_slice(blocks.rest());
    Some(all)
}

/// What a client hears: no comments.
fn heard(stream: &[u8]) -> (String, Vec<u8>) {
    let mut decoder = Decoder::new();
    let mut said = String::new();
    let each = |item: Item<'_>| {
        if !matches!(item, Item::Comment(_)) {
            said += &format!("{item:?}");
        }
    };
    decoder.feed(stream, each).expect("no line is that long");
    (said, decoder.last_event_id().to_vec())
}

/// A text that is sent is the text that arrives, with the three line breaks as one.
fn round_trip(text: &[u8]) {
    let Ok(text) = std::str::from_utf8(text) else { return };
    let mut stream = Vec::new();
    encode::data(&mut stream, text.as_bytes());
    encode::end(&mut stream);
    let expected = text.replace("\r\n", "\n").replace('\r', "\n");
    let mut decoder = Decoder::new();
    let mut events = 0;
    let read = decoder.feed(&stream, |item| {
        let Item::Event(event) = item else { panic!("{item:?} was not sent") };
        assert_eq!(event.data, expected.as_bytes());
        events += 1;
    });
    assert!(read.is_ok() && events == 1);
}
