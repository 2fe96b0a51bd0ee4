//! One message as bytes: what a log consists of. Pure.
//!
//! Little-endian: `u32` length of what follows the checksum, `u32` checksum of that, begun with the segment's salt; then
//! `u64` offset, `u64` time, and a byte each for kind, flags and the lengths of name, event, id and key; then, if there is
//! a key, its `u64` digest and its bytes; then name, data, event and id.

use std::fmt;

use fantail_hub::{Kind, Millis, Offset};

/// One message, with its place and its channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// Where it stands.
    pub offset: Offset,
    /// When it was accepted.
    pub time: Millis,
    /// What kind of entry it is.
    pub kind: Kind,
    /// It stands for two entries: itself and an empty end at the next offset.
    pub then_end: bool,
    /// Everything older in its channel is dropped.
    pub clears: bool,
    /// Its data were no text; see [`fantail_hub::Traits::bytes`].
    pub bytes: bool,
    /// The channel's name, at most 255 bytes, as are event, id and key.
    pub channel: &'a str,
    /// The payload.
    pub data: &'a str,
    /// The event name.
    pub event: Option<&'a str>,
    /// The publisher's own id.
    pub id: Option<&'a str>,
    /// The publisher's name for the publish.
    pub key: Option<Keyed<'a>>,
}

/// An idempotency key and what it stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keyed<'a> {
    /// Never empty.
    pub key: &'a [u8],
    /// Tells a repeated request from another one with the same key.
    pub digest: u64,
}

/// What a segment's checksums begin with, so that a record of an older file in the same place does not pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Salt(pub u32);

/// Why bytes are no record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Damage {
    /// More bytes are needed than there are.
    Short,
    /// The checksum is of other bytes.
    Checksum,
    /// The checksum is right and the content is not.
    Malformed(&'static str),
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short => f.write_str("it ends in the middle of a record"),
            Self::Checksum => f.write_str("its checksum is wrong"),
            Self::Malformed(what) => write!(f, "its checksum is right, but {what}"),
        }
    }
}

/// Length and checksum.
const FRAME: usize = 8;
/// What every record has behind them.
const FIXED: usize = 22;

const THEN_END: u8 = 1;
const CLEARS: u8 = 2;
const BYTES: u8 = 8;
const KEYED: u8 = 4;

impl Record<'_> {
    /// The fewest bytes that a record has.
    pub const LEAST: usize = FRAME + FIXED + 1;

    /// The most bytes that a record of a message with `text` bytes of data, event and id has beside that text: frame, name and key.
    pub const AROUND: usize = FRAME + FIXED + 255 + 8 + 255;

    /// Its last entry: `offset`, or the end behind it.
    pub fn last(&self) -> Offset {
        Offset(self.offset.0 + u64::from(self.then_end))
    }

    /// Appends its bytes to `out`.
    ///
    /// # Panics
    /// If name, event, id or key have more than 255 bytes, or all together more than 4 GiB: they are checked at the border.
    pub fn encode(&self, salt: Salt, out: &mut Vec<u8>) {
        let length =
            |bytes: &[u8]| u8::try_from(bytes.len()).expect("names, events, ids and keys have at most 255 bytes");
        let (event, id) = (self.event.unwrap_or_default(), self.id.unwrap_or_default());
        let key = self.key.map_or(&[][..], |keyed| keyed.key);
        let flag = |is: bool, flag: u8| if is { flag } else { 0 };
        let flags = flag(self.then_end, THEN_END)
            | flag(self.clears, CLEARS)
            | flag(self.bytes, BYTES)
            | flag(self.key.is_some(), KEYED);
        let mut fixed = [0; FRAME + FIXED];
        fixed[8..16].copy_from_slice(&self.offset.0.to_le_bytes());
        fixed[16..24].copy_from_slice(&self.time.0.to_le_bytes());
        fixed[24..].copy_from_slice(&[
            kind_to_byte(self.kind),
            flags,
            length(self.channel.as_bytes()),
            length(event.as_bytes()),
            length(id.as_bytes()),
            length(key),
        ]);
        let start = out.len();
        out.reserve(FRAME + FIXED + 8 + key.len() + self.channel.len() + self.data.len() + event.len() + id.len());
        out.extend_from_slice(&fixed);
        if let Some(keyed) = self.key {
            out.extend_from_slice(&keyed.digest.to_le_bytes());
            out.extend_from_slice(keyed.key);
        }
        for text in [self.channel, self.data, event, id] {
            out.extend_from_slice(text.as_bytes());
        }
        let body = start + FRAME;
        let bytes = u32::try_from(out.len() - body).expect("a record has less than 4 GiB");
        let checksum = checksum(salt, &out[body..]);
        out[start..start + 4].copy_from_slice(&bytes.to_le_bytes());
        out[start + 4..body].copy_from_slice(&checksum.to_le_bytes());
    }
}

impl<'a> Record<'a> {
    /// Reads the record that `bytes` begin with, and says how many bytes it has.
    ///
    /// # Errors
    /// [`Damage`].
    pub fn decode(bytes: &'a [u8], salt: Salt) -> Result<(Self, usize), Damage> {
        let (length, expected) = (u32_at(bytes, 0).ok_or(Damage::Short)?, u32_at(bytes, 4).ok_or(Damage::Short)?);
        if (length as usize) < FIXED {
            return Err(Damage::Malformed("it is too short"));
        }
        let total = FRAME + length as usize;
        let body = bytes.get(FRAME..total).ok_or(Damage::Short)?;
        if checksum(salt, body) != expected {
            return Err(Damage::Checksum);
        }
        let u64_at = |at: usize| u64_at(body, at).expect("its length was checked");
        let (offset, time) = (Offset(u64_at(0)), Millis(u64_at(8)));
        let &[kind, flags, name, event, id, key] = &body[16..FIXED] else { unreachable!("six bytes") };
        let mut rest = &body[FIXED..];
        let mut take = |bytes: usize| {
            let (taken, left) =
                rest.split_at_checked(bytes).ok_or(Damage::Malformed("its parts are longer than itself"))?;
            rest = left;
            Ok(taken)
        };
        let key = if flags & KEYED == 0 {
            None
        } else {
            let digest = take(8)?;
            Some(Keyed { digest: u64::from_le_bytes(digest.try_into().expect("eight bytes")), key: take(key.into())? })
        };
        let channel = take(name.into())?;
        let text = rest;
        let tail = usize::from(event) + usize::from(id);
        let data = text.len().checked_sub(tail).ok_or(Damage::Malformed("its parts are longer than itself"))?;
        let (data, tail) = text.split_at(data);
        let (event, id) = tail.split_at(event.into());
        let utf8 = |bytes| std::str::from_utf8(bytes).map_err(|_| Damage::Malformed("its text is not UTF-8"));
        let some = |text: &'a str| (!text.is_empty()).then_some(text);
        let record = Record {
            offset,
            time,
            kind: kind_from_byte(kind).ok_or(Damage::Malformed("its kind is unknown"))?,
            then_end: flags & THEN_END != 0,
            clears: flags & CLEARS != 0,
            bytes: flags & BYTES != 0,
            channel: utf8(channel)?,
            data: utf8(data)?,
            event: some(utf8(event)?),
            id: some(utf8(id)?),
            key,
        };
        if record.channel.is_empty() || flags & !(THEN_END | CLEARS | KEYED | BYTES) != 0 {
            return Err(Damage::Malformed("it has no channel, or flags that are unknown"));
        }
        Ok((record, total))
    }
}

/// The bytes that the record at the start of `bytes` claims to have, and its offset, before anything is checked.
pub(super) fn claim(bytes: &[u8]) -> Option<(usize, Offset)> {
    let length = u32_at(bytes, 0)? as usize;
    (length > FIXED).then_some((FRAME + length, Offset(u64_at(bytes, FRAME)?)))
}

fn checksum(salt: Salt, body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(salt.0);
    hasher.update(body);
    hasher.finalize()
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

pub(super) fn kind_to_byte(kind: Kind) -> u8 {
    match kind {
        Kind::Data => 0,
        Kind::End => 1,
        Kind::Broken => 2,
    }
}

pub(super) fn kind_from_byte(byte: u8) -> Option<Kind> {
    [Kind::Data, Kind::End, Kind::Broken].get(usize::from(byte)).copied()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SALT: Salt = Salt(0x5a17);

    fn full() -> Record<'static> {
        Record {
            offset: Offset(u64::MAX >> 1),
            time: Millis(7),
            kind: Kind::Broken,
            then_end: true,
            clears: true,
            bytes: true,
            channel: "Straße",
            data: "a\nb",
            event: Some("tick"),
            id: Some("ü7"),
            key: Some(Keyed { key: b"\xffk", digest: u64::MAX }),
        }
    }

    proptest! {
        #[test]
        fn record_of_anything_reads_back(
            (offset, time, kind, [then_end, clears, bytes]) in (0..u64::MAX >> 1, any::<u64>(), 0..3_u8, any::<[bool; 3]>()),
            (channel, data) in ("\\PC{1,60}", "(?s).{0,300}"),
            (event, id) in (proptest::option::of("\\PC{1,60}"), proptest::option::of("\\PC{1,60}")),
            key in proptest::option::of((proptest::collection::vec(any::<u8>(), 1..=255), any::<u64>())),
        ) {
            let record = Record {
                offset: Offset(offset),
                time: Millis(time),
                kind: kind_from_byte(kind).unwrap(),
                then_end,
                clears,
                bytes,
                channel: &channel,
                data: &data,
                event: event.as_deref(),
                id: id.as_deref(),
                key: key.as_ref().map(|(key, digest)| Keyed { key, digest: *digest }),
            };
            let mut bytes = vec![9; 3];
            record.encode(SALT, &mut bytes);
            let length = bytes.len() - 3;
            let text = data.len() + event.as_deref().map_or(0, str::len) + id.as_deref().map_or(0, str::len);
            prop_assert!(length <= text + Record::AROUND && length >= Record::LEAST);
            bytes.extend_from_slice(b"what follows");
            prop_assert_eq!(claim(&bytes[3..]), Some((length, Offset(offset))));
            prop_assert_eq!(Record::decode(&bytes[3..], SALT), Ok((record, length)));
        }
    }

    #[test]
    fn record_cut_or_flipped_anywhere_is_none() {
        let mut bytes = Vec::new();
        full().encode(SALT, &mut bytes);
        for at in 0..bytes.len() {
            assert_eq!(Record::decode(&bytes[..at], SALT), Err(Damage::Short));
            for bit in 0..8 {
                let mut flipped = bytes.clone();
                flipped[at] ^= 1 << bit;
                assert!(Record::decode(&flipped, SALT).is_err(), "bit {bit} of byte {at}");
            }
        }
        assert_eq!(Record::decode(&bytes, Salt(SALT.0 + 1)), Err(Damage::Checksum));
    }

    #[test]
    fn record_with_a_right_checksum_and_wrong_content_is_named() {
        let mut whole = Vec::new();
        full().encode(SALT, &mut whole);
        for (at, byte, what) in [
            (24, 3, "its kind is unknown"),
            (25, 31, "it has no channel, or flags that are unknown"),
            (26, 255, "its parts are longer than itself"),
            (28, 255, "its parts are longer than itself"),
            (29, 255, "its parts are longer than itself"),
            (26, 1, "its text is not UTF-8"),
        ] {
            let mut bytes = whole.clone();
            bytes[at] = byte;
            if at == 26 && byte == 1 {
                bytes[40] = 0xff;
            }
            let checksum = checksum(SALT, &bytes[FRAME..]);
            bytes[4..8].copy_from_slice(&checksum.to_le_bytes());
            assert_eq!(Record::decode(&bytes, SALT), Err(Damage::Malformed(what)));
        }
    }
}
