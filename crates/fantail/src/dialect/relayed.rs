//! Streams of an upstream that are kept in a channel: each message is a block of raw bytes and is written as it came, with an
//! id in front where it has none. Knows neither where blocks come from nor who may resume.

use std::hash::{BuildHasher, RandomState};
use std::io::Write as _;
use std::sync::Arc;

use fantail_hub::{ChannelName, Gap, Message, Offset, Position, Render};
use fantail_sse::blocks::trim;
use fantail_sse::{Facts, encode};

use super::native::GAP_EVENT;

/// A heartbeat: one comment line with a single LF. Several clients take a blank line behind a comment for an empty event.
pub const HEARTBEAT: &[u8] = b": hb\n";

/// How a sealed id begins: the mark of all generated ids, and a version of its own.
const SEALED: &str = "~2.";

/// Renders blocks.
///
/// Only a block that dispatches an event gets an id, and one that needs no blank line is written without: to several clients every
/// blank line that comes once there was an id is an event, if an empty one.
#[derive(Debug, Clone, Default)]
pub struct Relayed {
    /// Where it is given, ids tell the channel as well, and nobody can make one up; else they are plain positions.
    pub seal: Option<Arc<Seal>>,
}

impl Render for Relayed {
    fn message(&self, out: &mut Vec<u8>, channel: &ChannelName, position: Position, _: u64, message: &Message) {
        if message.kind().ends() {
            // The end of the body says it, in good order or not.
            return;
        }
        let block = message.data().as_bytes();
        if message.id().is_some() {
            out.extend_from_slice(block);
            return;
        }
        let facts = Facts::of(block);
        if facts.data && facts.id.is_none() {
            match self.seal.as_ref().zip(channel.number()) {
                Some((seal, number)) => seal.write(out, Sealed { number, offset: position.offset }),
                // Writing to a Vec cannot fail.
                None => drop(writeln!(out, "id: {position}")),
            }
        }
        out.extend_from_slice(if facts.blank_line { block } else { trim(block) });
    }

    fn gap(&self, out: &mut Vec<u8>, _: &Gap<'_>) {
        encode::comment(out, GAP_EVENT);
    }
}

/// What a sealed id says: everything up to `offset` of the internal channel `number` has been seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sealed {
    /// Which channel.
    pub number: u64,
    /// Where in it.
    pub offset: Offset,
}

/// Makes ids that nobody else can make: `~2.CHANNEL.OFFSET.PROOF`, numbers in hex, at most 54 bytes. It lasts as long as the
/// process, like what its ids speak of.
#[derive(Debug, Default)]
pub struct Seal {
    /// SECURITY: `SipHash` under a random key of 128 bits. Its 64 bits can only be guessed by asking this server.
    key: RandomState,
}

impl Seal {
    /// Appends the `id:` line.
    fn write(&self, out: &mut Vec<u8>, sealed: Sealed) {
        let Sealed { number, offset } = sealed;
        // Writing to a Vec cannot fail.
        let _ = writeln!(out, "id: {SEALED}{number:x}.{:x}.{:016x}", offset.0, self.proof(sealed));
    }

    /// Reads an id that this seal made; `None` for any other.
    pub fn open(&self, id: &[u8]) -> Option<Sealed> {
        let mut parts = std::str::from_utf8(id).ok()?.strip_prefix(SEALED)?.split('.');
        let mut number = || u64::from_str_radix(parts.next()?, 16).ok();
        let sealed = Sealed { number: number()?, offset: Offset(number()?) };
        (number()? == self.proof(sealed) && parts.next().is_none()).then_some(sealed)
    }

    fn proof(&self, sealed: Sealed) -> u64 {
        self.key.hash_one((sealed.number, sealed.offset.0))
    }
}

#[cfg(test)]
mod tests {
    use fantail_hub::{Epoch, Kind, Millis, NewMessage};
    use fantail_sse::EventId;

    use super::*;

    const AT: Position = Position { epoch: Epoch::new(0xab), offset: Offset(7) };

    fn rendered(relayed: &Relayed, kind: Kind, data: &str, id: Option<&str>) -> String {
        let id = id.map(|id| EventId::parse(id).unwrap());
        let message = Message::new(Millis(0), kind, NewMessage { data, event: None, id: id.as_ref() });
        let mut out = Vec::new();
        relayed.message(&mut out, &ChannelName::internal("record", 0x1f), AT, 1, &message);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn block_is_written_as_it_came_with_an_id_where_a_client_needs_one() {
        for (block, id, expected) in [
            ("event: a\ndata: x\r\n\r\n", None, "id: ~1.ab.7\nevent: a\ndata: x\r\n\r\n"),
            ("id: 5\ndata: x\n\n", Some("5"), "id: 5\ndata: x\n\n"),
            // An id that cannot be found again, and one that makes the client forget.
            ("id: ~1.cd.9\ndata: x\n\n", None, "id: ~1.cd.9\ndata: x\n\n"),
            ("id\ndata: x\n\n", None, "id\ndata: x\n\n"),
            (": comment\n\n", None, ": comment\n"),
            ("retry: 5\r\n\r\n", None, "retry: 5\r\n"),
            ("\n", None, ""),
            ("event: x\n\n", None, "event: x\n\n"),
        ] {
            assert_eq!(rendered(&Relayed::default(), Kind::Data, block, id), expected);
        }
        for end in [Kind::End, Kind::Broken] {
            assert_eq!(rendered(&Relayed::default(), end, "", None), "");
        }
    }

    #[test]
    fn gap_is_a_comment_without_a_blank_line() {
        let channel = ChannelName::internal("share", 1);
        let gap = Gap { channel: &channel, asked: None, seen: None, lost_to: AT, with_id: true };
        let mut out = Vec::new();
        Relayed::default().gap(&mut out, &gap);
        assert_eq!(out, b": fantail-gap\n");
    }

    #[test]
    fn sealed_id_reads_back_and_every_other_is_refused() {
        let seal = Arc::new(Seal::default());
        let line = rendered(&Relayed { seal: Some(Arc::clone(&seal)) }, Kind::Data, "data: x\n\n", None);
        let id = line.strip_prefix("id: ").and_then(|rest| rest.split_once('\n')).unwrap().0;
        assert!(id.starts_with("~2.1f.7.") && id.len() <= 54, "{id}");
        assert_eq!(seal.open(id.as_bytes()), Some(Sealed { number: 0x1f, offset: Offset(7) }));
        assert_eq!(Seal::default().open(id.as_bytes()), None, "another process made it");
        let mut other = id.to_owned().into_bytes();
        for at in 0..other.len() {
            let was = std::mem::replace(&mut other[at], if id.as_bytes()[at] == b'0' { b'1' } else { b'0' });
            assert_eq!(seal.open(&other), None, "changed at {at}");
            other[at] = was;
        }
        assert_eq!(seal.open(format!("{id}.0").as_bytes()), None);
        assert_eq!(seal.open(b""), None);
    }
}
