//! What a message carries in its data so that whoever reads it can check it: run, channel, sequence and the time at
//! which it was due. Fixed width, so that reading one costs a few nanoseconds.

/// First bytes of every stamped payload; no other line of a stream begins like this.
pub(crate) const MARK: &[u8; 4] = b"~fb:";
/// Bytes of a stamp; the smallest message.
pub(crate) const LEN: usize = 4 + 8 + 8 + 8 + 16;

/// The facts about one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// Tells this run's messages from what an earlier one left in the server.
    pub(crate) run: u32,
    /// Index of the channel it was published to.
    pub(crate) channel: u32,
    /// Counts from 1 in each channel, without holes.
    pub(crate) sequence: u32,
    /// When it was due to be sent, on [`crate::clock`].
    pub(crate) scheduled: u64,
}

impl Stamp {
    /// Appends the stamp, padded to `size` bytes.
    pub(crate) fn write(&self, out: &mut Vec<u8>, size: usize) {
        let end = out.len() + size.max(LEN);
        out.extend_from_slice(MARK);
        push_hex(out, u64::from(self.run), 8);
        push_hex(out, u64::from(self.channel), 8);
        push_hex(out, u64::from(self.sequence), 8);
        push_hex(out, self.scheduled, 16);
        out.resize(end, b'.');
    }

    /// Reads a payload; `None` if it is not a stamped one.
    pub(crate) fn parse(payload: &[u8]) -> Option<Self> {
        let digits = payload.strip_prefix(MARK)?.get(..LEN - MARK.len())?;
        Some(Self {
            run: hex8(digits, 0)?,
            channel: hex8(digits, 8)?,
            sequence: hex8(digits, 16)?,
            scheduled: u64::from(hex8(digits, 24)?) << 32 | u64::from(hex8(digits, 32)?),
        })
    }
}

fn push_hex(out: &mut Vec<u8>, value: u64, digits: u32) {
    for place in (0..digits).rev() {
        out.push(b"0123456789abcdef"[(value >> (place * 4) & 15) as usize]);
    }
}

/// Eight lower-case hex digits at `at`, all at once. Bytes that are no digits give a wrong number, which the checks of
/// run and sequence then catch.
fn hex8(digits: &[u8], at: usize) -> Option<u32> {
    let bytes: [u8; 8] = digits.get(at..at + 8)?.try_into().ok()?;
    let x = u64::from_be_bytes(bytes);
    let nibbles = (x & 0x0f0f_0f0f_0f0f_0f0f) + 9 * (x >> 6 & 0x0101_0101_0101_0101);
    let pairs = (nibbles | nibbles >> 4) & 0x00ff_00ff_00ff_00ff;
    let quads = (pairs | pairs >> 8) & 0x0000_ffff_0000_ffff;
    Some((quads | quads >> 16) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamp_written_and_read_is_the_same() {
        for n in [0u32, 1, 0x9abc_def0, u32::MAX] {
            let stamp =
                Stamp { run: n, channel: !n, sequence: n ^ 0x1234, scheduled: u64::from(n) << 29 | 0x00ab_cdef };
            let mut payload = Vec::new();
            stamp.write(&mut payload, 100);
            assert_eq!(payload.len(), 100);
            assert_eq!(Stamp::parse(&payload), Some(stamp));
        }
    }

    #[test]
    fn stamp_smaller_than_itself_keeps_its_length() {
        let mut payload = Vec::new();
        Stamp { run: 1, channel: 2, sequence: 3, scheduled: 4 }.write(&mut payload, 10);
        assert_eq!(payload.len(), LEN);
        assert!(Stamp::parse(&payload).is_some());
    }

    #[test]
    fn stamp_of_other_payloads_is_none() {
        assert_eq!(Stamp::parse(b""), None);
        assert_eq!(Stamp::parse(b"hello"), None);
        assert_eq!(Stamp::parse(b"~fb:0011"), None);
    }
}
