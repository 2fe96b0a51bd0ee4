//! What each message says: its bytes, its size and whether it has an id of its own follow from its number and the run's
//! seed, so that whoever reads it can tell that nothing was changed, and nothing has to be kept to know it.

use std::fmt;

/// Bytes that the messages' texts are cut from.
const FILLER: usize = 64 << 10;
/// What they are made of: also line breaks, quotes and backslashes, which the encodings have to carry.
const LETTERS: &[u8] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789   :.,{}\"\\\n\t";
/// The most bytes of a text that follows the label.
pub(super) const LARGEST: u64 = 400 << 10;

/// One message: the nth that one publisher says to one channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Said {
    /// Which publisher and channel; an index of [`super::books::Books::flows`].
    pub(super) flow: u16,
    /// From 1, without holes.
    pub(super) number: u32,
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "flow {} number {}", self.flow, self.number)
    }
}

/// Data that is not what was said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Garbled {
    /// No message of this run.
    Foreign,
    /// It says which message it is, and holds other bytes than that one.
    Changed(Said),
}

/// Knows all messages of a run.
#[derive(Debug)]
pub(super) struct Sayings {
    run: u32,
    seed: u64,
    filler: Vec<u8>,
}

impl Sayings {
    pub(super) fn new(seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let filler = (0..FILLER).map(|_| LETTERS[rng.usize(..LETTERS.len())]).collect();
        Self { run: rng.u32(..), seed, filler }
    }

    /// The data of a message.
    pub(super) fn text(&self, said: Said, out: &mut Vec<u8>) {
        out.extend_from_slice(self.label(said).as_bytes());
        let (mut at, mut left) = self.stretch(said);
        while left > 0 {
            let piece = &self.filler[at..FILLER.min(at + left)];
            out.extend_from_slice(piece);
            left -= piece.len();
            at = 0;
        }
    }

    /// The id that the publisher gives it, if it does.
    pub(super) fn own_id(&self, said: Said) -> Option<String> {
        let has = said.flow.is_multiple_of(3) && self.draw(said, 1).is_multiple_of(4);
        has.then(|| format!("own-{:08x}-{}-{}", self.run, said.flow, said.number))
    }

    /// The key under which it may be published again and again.
    pub(super) fn key(&self, said: Said) -> String {
        format!("key-{:08x}-{}-{}", self.run, said.flow, said.number)
    }

    /// The name of a channel.
    pub(super) fn channel(&self, channel: u16) -> String {
        format!("t{:08x}.{channel}", self.run)
    }

    /// The channel of this name.
    pub(super) fn channel_of(&self, name: &str) -> Option<u16> {
        name.strip_prefix(&format!("t{:08x}.", self.run))?.parse().ok()
    }

    /// Which message this is; an error unless it is that one to the byte.
    pub(super) fn read(&self, data: &[u8]) -> Result<Said, Garbled> {
        let (said, label) = self.parse(data).ok_or(Garbled::Foreign)?;
        let (mut at, left) = self.stretch(said);
        let mut rest = &data[label..];
        if rest.len() != left {
            return Err(Garbled::Changed(said));
        }
        while !rest.is_empty() {
            let piece = &self.filler[at..FILLER.min(at + rest.len())];
            rest = rest.strip_prefix(piece).ok_or(Garbled::Changed(said))?;
            at = 0;
        }
        Ok(said)
    }

    fn label(&self, said: Said) -> String {
        format!("{:08x}:{}:{}:", self.run, said.flow, said.number)
    }

    fn parse(&self, data: &[u8]) -> Option<(Said, usize)> {
        let head = std::str::from_utf8(data.get(..data.len().min(32))?).ok()?;
        let mut parts = head.splitn(4, ':');
        let (run, flow, number) = (parts.next()?, parts.next()?, parts.next()?);
        let rest = parts.next()?;
        let said = Said { flow: flow.parse().ok()?, number: number.parse().ok().filter(|&n| n > 0)? };
        (run == format!("{:08x}", self.run)).then_some((said, head.len() - rest.len()))
    }

    /// Where in the filler a text begins, and its length.
    fn stretch(&self, said: Said) -> (usize, usize) {
        let size = self.draw(said, 2);
        let within = |from: u64, to: u64| from + (size >> 16) % (to - from);
        let len = match size % 10_000 {
            0..5 => within(100 << 10, LARGEST),
            5..300 => within(1 << 10, 8 << 10),
            300..400 => 0,
            _ => within(10, 160),
        };
        ((self.draw(said, 3) % FILLER as u64) as usize, len as usize)
    }

    /// A number that looks random, always the same for a message and a purpose (the finaliser of `splitmix64`).
    fn draw(&self, said: Said, purpose: u64) -> u64 {
        let message = u64::from(said.flow) << 40 | u64::from(said.number) << 2 | purpose;
        let mut x = (self.seed ^ message).wrapping_add(0x9e37_79b9_7f4a_7c15);
        x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ x >> 31
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(sayings: &Sayings, said: Said) -> Vec<u8> {
        let mut out = Vec::new();
        sayings.text(said, &mut out);
        out
    }

    #[test]
    fn saying_is_read_back_and_differs_from_all_others() {
        let sayings = Sayings::new(7);
        for number in 1..3000 {
            let said = Said { flow: 3, number };
            assert_eq!(sayings.read(&text(&sayings, said)), Ok(said));
        }
        let sizes = (1..3000).map(|number| text(&sayings, Said { flow: 3, number }).len());
        assert!(sizes.clone().any(|size| size > FILLER), "some are large");
        assert!(sizes.clone().any(|size| size < 20), "some are all but empty");
    }

    #[test]
    fn saying_that_was_changed_is_noticed_at_every_byte() {
        let sayings = Sayings::new(7);
        let said = Said { flow: 1, number: 17 };
        let whole = text(&sayings, said);
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            assert_ne!(sayings.read(&changed), Ok(said), "byte {at}");
            assert_ne!(sayings.read(&whole[..at]), Ok(said), "cut at {at}");
        }
        assert_eq!(sayings.read(b"hello"), Err(Garbled::Foreign));
        assert_eq!(Sayings::new(8).read(&whole), Err(Garbled::Foreign));
    }

    #[test]
    fn saying_names_its_channel() {
        let sayings = Sayings::new(7);
        assert_eq!(sayings.channel_of(&sayings.channel(12)), Some(12));
        assert_eq!(sayings.channel_of("t0.1"), None);
    }
}
