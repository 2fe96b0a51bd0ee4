//! The fence: how far the journal had come when it last answered, in a small file of its own, so that a log that has lost
//! its end is told from one that never had it. Plain facts; what follows from them is for `recover`.
//!
//! Two slots of 4096 bytes are written in turn, so that one of them is whole whatever happens. Each holds, little-endian, a
//! checksum and a [`Mark`].

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};

use fantail_hub::Offset;

use super::checked::read_most;

/// The file's name in the data directory.
pub const NAME: &str = "fence";

const SLOT: usize = 4096;
/// Bytes of a slot that mean something.
const USED: usize = 90;
const MAGIC: [u8; 8] = *b"fence\n01";
/// How far ahead offsets are reserved.
pub const AHEAD: u64 = 1 << 20;

/// What is known of a run of the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// The last offset that was accepted and stored.
    pub stored: Offset,
    /// The last that was given out, stored or not.
    pub given: Offset,
    /// None was given out above it. It is on the disk before that could be.
    pub reserved: Offset,
    /// Whether records were on the disk before they were acknowledged.
    pub fsync: bool,
    /// The run came to an orderly end.
    pub clean: bool,
    /// Which of the machine's starts it ran in.
    pub boot: Boot,
}

/// The id of one of the machine's starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Boot([u8; 36]);

impl Boot {
    /// The present one. Where the system does not say, no two are the same: too much is thought lost, never too little.
    pub fn current() -> Self {
        let mut id = [0; 36];
        match std::fs::read("/proc/sys/kernel/random/boot_id") {
            Ok(text) if text.len() >= id.len() => id.copy_from_slice(&text[..36]),
            _ => id.fill_with(|| fastrand::u8(..)),
        }
        Self(id)
    }

    /// Another one than the present, for tests.
    #[cfg(test)]
    pub fn other() -> Self {
        Self([b'x'; 36])
    }
}

/// What was found in a fence's file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// There is none.
    Missing,
    /// Neither slot is whole.
    Damaged,
    /// The newer slot, and whether the other one is damaged: it may have been the newest.
    Whole(Mark, bool),
}

/// The file, for writing.
#[derive(Debug)]
pub struct Fence {
    file: Arc<File>,
    /// How often it was written.
    writes: u64,
    mark: Mark,
    /// The reservation that is on the disk.
    reserved: Offset,
    /// A further one, and the thread that waits for the disk.
    ahead: Option<(Offset, JoinHandle<io::Result<()>>)>,
}

impl Fence {
    /// Reads what the last run left in `directory`.
    pub fn read(directory: &Path) -> io::Result<Found> {
        let file = match File::open(directory.join(NAME)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Missing),
            file => file?,
        };
        let slots = slots(&file)?;
        Ok(match newest(&slots) {
            Some((_, mark)) => Found::Whole(mark, slots.contains(&None)),
            None => Found::Damaged,
        })
    }

    /// Begins a run with `mark`, which is on the disk when this returns. The directory is for the caller to sync.
    pub fn begin(directory: &Path, mark: Mark) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(directory.join(NAME))?;
        let slots = slots(&file)?;
        let writes = newest(&slots).map_or(0, |(writes, _)| writes);
        let mut fence = Self { file: Arc::new(file), writes, mark, reserved: mark.reserved, ahead: None };
        fence.write(mark)?;
        // Both: what a damaged slot said is over, and the other one's is, too.
        fence.write(mark)?;
        fence.file.sync_all()?;
        Ok(fence)
    }

    /// Notes how far the journal has come, in one write.
    pub fn advance(&mut self, stored: Offset, given: Offset) -> io::Result<()> {
        self.write(Mark { stored, given, ..self.mark })
    }

    /// Sees to it that offsets up to `upto` are reserved on the disk. When half of a stretch is used, a thread begins to wait
    /// for the disk to have the next one; it is waited for here only if nothing is left.
    pub fn reserve(&mut self, upto: Offset) -> io::Result<()> {
        if self.ahead.as_ref().is_some_and(|(_, waiting)| waiting.is_finished()) {
            // Where it failed, it is tried again, and nobody has to know as long as something is left.
            let _ = self.settle();
        }
        if self.ahead.is_none() && upto.0 + AHEAD / 2 > self.reserved.0 {
            let _ = self.reach(Offset(upto.0 + AHEAD));
        }
        while upto > self.reserved {
            if self.ahead.is_none() {
                self.reach(Offset(upto.0 + AHEAD))?;
            }
            self.settle()?;
        }
        Ok(())
    }

    /// Notes an orderly end, on the disk. All that was stored has to be there already.
    pub fn close(&mut self, given: Offset) -> io::Result<()> {
        self.settle()?;
        self.write(Mark { clean: true, given, ..self.mark })?;
        self.file.sync_data()
    }

    /// Writes a further reservation and has a thread wait until it is on the disk.
    fn reach(&mut self, upto: Offset) -> io::Result<()> {
        let mark = Mark { reserved: upto, ..self.mark };
        // Both: whichever half is damaged later, the other one knows of it.
        self.write(mark)?;
        self.write(mark)?;
        let file = Arc::clone(&self.file);
        let waiting = Builder::new().name("journal-fence".to_owned()).spawn(move || file.sync_data())?;
        self.ahead = Some((upto, waiting));
        Ok(())
    }

    /// Waits for the further reservation, if there is one.
    fn settle(&mut self) -> io::Result<()> {
        let Some((upto, waiting)) = self.ahead.take() else { return Ok(()) };
        waiting.join().map_err(|_| io::Error::other("the thread that waits for the fence has failed"))??;
        self.reserved = upto;
        Ok(())
    }

    fn write(&mut self, mark: Mark) -> io::Result<()> {
        let writes = self.writes + 1;
        self.file.write_all_at(&encode(writes, &mark), (writes % 2) * SLOT as u64)?;
        (self.writes, self.mark) = (writes, mark);
        Ok(())
    }
}

/// How often the file had been written, and what was; `None` if it is damaged.
type Slot = Option<(u64, Mark)>;

fn slots(file: &File) -> io::Result<[Slot; 2]> {
    let mut slots = [None; 2];
    for (slot, at) in slots.iter_mut().zip([0, SLOT as u64]) {
        let mut bytes = [0; USED];
        let read = read_most(file, at, &mut bytes)?;
        *slot = decode(&bytes[..read]);
    }
    Ok(slots)
}

/// The newer one, with the higher of both reservations: the one that was reserved last may not be on the disk twice.
fn newest(slots: &[Slot; 2]) -> Option<(u64, Mark)> {
    let (writes, mark) = slots.iter().flatten().max_by_key(|(writes, _)| *writes)?;
    let reserved = slots.iter().flatten().map(|(_, mark)| mark.reserved).max()?;
    Some((*writes, Mark { reserved, ..*mark }))
}

fn encode(writes: u64, mark: &Mark) -> [u8; USED] {
    let mut bytes = [0; USED];
    bytes[4..12].copy_from_slice(&MAGIC);
    for (at, word) in [(12, writes), (20, mark.stored.0), (28, mark.given.0), (36, mark.reserved.0)] {
        bytes[at..at + 8].copy_from_slice(&word.to_le_bytes());
    }
    bytes[44] = u8::from(mark.fsync);
    bytes[45] = u8::from(mark.clean);
    bytes[46..82].copy_from_slice(&mark.boot.0);
    let checksum = crc32fast::hash(&bytes[4..]);
    bytes[..4].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

fn decode(bytes: &[u8]) -> Slot {
    if bytes.len() < USED || crc32fast::hash(&bytes[4..]).to_le_bytes() != bytes[..4] || bytes[4..12] != MAGIC {
        return None;
    }
    let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
    let boot = Boot(bytes[46..82].try_into().expect("36 bytes"));
    let [stored, given, reserved] = [20, 28, 36].map(|at| Offset(word(at)));
    let mark = Mark { stored, given, reserved, fsync: bytes[44] == 1, clean: bytes[45] == 1, boot };
    Some((word(12), mark))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn mark() -> Mark {
        Mark {
            stored: Offset(5),
            given: Offset(7),
            reserved: Offset(100),
            fsync: true,
            clean: false,
            boot: Boot::current(),
        }
    }

    #[test]
    fn fence_gives_back_what_was_written_last() {
        let temp = tempfile::tempdir().unwrap();
        assert_eq!(Fence::read(temp.path()).unwrap(), Found::Missing);
        let mut fence = Fence::begin(temp.path(), mark()).unwrap();
        for n in 8..13 {
            fence.advance(Offset(n), Offset(n + 1)).unwrap();
            let expected = Mark { stored: Offset(n), given: Offset(n + 1), ..mark() };
            assert_eq!(Fence::read(temp.path()).unwrap(), Found::Whole(expected, false));
        }
        fence.reserve(Offset(90)).unwrap();
        fence.close(Offset(14)).unwrap();
        let Found::Whole(found, false) = Fence::read(temp.path()).unwrap() else { panic!("it is whole") };
        assert_eq!((found.stored, found.given, found.reserved), (Offset(12), Offset(14), Offset(90 + AHEAD)));
        assert!(found.clean);
    }

    #[test]
    fn fence_with_one_damaged_slot_gives_the_other_and_says_so() {
        let temp = tempfile::tempdir().unwrap();
        let mut fence = Fence::begin(temp.path(), mark()).unwrap();
        fence.advance(Offset(8), Offset(8)).unwrap();
        fence.advance(Offset(9), Offset(9)).unwrap();
        let path = temp.path().join(NAME);
        let whole = fs::read(&path).unwrap();
        let newer = if fence.writes % 2 == 1 { SLOT } else { 0 };
        for at in 0..USED {
            let mut bytes = whole.clone();
            bytes[newer + at] ^= 1 << (at % 8);
            fs::write(&path, &bytes).unwrap();
            let Found::Whole(found, true) = Fence::read(temp.path()).unwrap() else { panic!("byte {at}") };
            assert_eq!(found.stored, Offset(8), "byte {at}");
        }
        fs::write(&path, &whole[..SLOT - 10]).unwrap();
        assert!(matches!(Fence::read(temp.path()).unwrap(), Found::Whole(_, true)), "both were there once");
        fs::write(&path, [7; 100]).unwrap();
        assert_eq!(Fence::read(temp.path()).unwrap(), Found::Damaged);
        Fence::begin(temp.path(), mark()).unwrap();
        assert_eq!(Fence::read(temp.path()).unwrap(), Found::Whole(mark(), false), "a new run puts both right");
    }

    #[test]
    fn fence_of_which_half_is_used_reserves_more_without_waiting_for_it() {
        let temp = tempfile::tempdir().unwrap();
        let mut fence = Fence::begin(temp.path(), Mark { reserved: Offset(2 * AHEAD), ..mark() }).unwrap();
        let writes = fence.writes;
        fence.reserve(Offset(AHEAD)).unwrap();
        assert_eq!((fence.writes, fence.ahead.is_none()), (writes, true), "there is enough");
        fence.reserve(Offset(AHEAD / 2 * 3 + 1)).unwrap();
        assert!(fence.ahead.is_some() && fence.reserved == Offset(2 * AHEAD), "somebody else waits");
        fence.reserve(Offset(9 * AHEAD)).unwrap();
        assert_eq!(fence.reserved, Offset(10 * AHEAD), "nothing was left, so this one waited");
    }

    #[test]
    fn reservation_is_known_whichever_half_is_damaged() {
        let temp = tempfile::tempdir().unwrap();
        let mut fence = Fence::begin(temp.path(), mark()).unwrap();
        fence.reserve(Offset(200)).unwrap();
        let path = temp.path().join(NAME);
        let whole = fs::read(&path).unwrap();
        for at in [0, SLOT] {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            fs::write(&path, &bytes).unwrap();
            let Found::Whole(found, true) = Fence::read(temp.path()).unwrap() else { panic!("half is damaged") };
            assert_eq!(found.reserved, Offset(200 + AHEAD));
        }
    }
}
