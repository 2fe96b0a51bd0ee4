//! Which offsets may have been lost with no index to say so, in a small file. Told to whoever reads across them.
//!
//! Kept twice: without it a loss would be silent, and everything would have to be taken for lost.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use fantail_hub::Offset;

use super::directory::replace;
use super::index::Hole;

const NAMES: [&str; 2] = ["holes", "holes.copy"];
/// More are not told apart: neighbours become one.
const MOST: usize = 64;

/// The list, ascending, on the disk and here.
#[derive(Debug)]
pub struct Holes {
    directory: PathBuf,
    list: Vec<Hole>,
}

impl Holes {
    /// Reads the list of `directory`. What lies before `oldest`, the first offset that any segment may hold, becomes one, for
    /// there is nothing between; it is never dropped, since no channel's floor says what it says.
    ///
    /// # Errors
    /// The system's words; of kind `InvalidData` if the file is damaged.
    pub fn open(directory: &Path, oldest: Offset) -> io::Result<Self> {
        let mut list = read(directory)?;
        list.dedup_by(|next, hole| {
            let is_before = next.upto < oldest;
            if is_before {
                hole.upto = next.upto;
            }
            is_before
        });
        Ok(Self { directory: directory.to_owned(), list })
    }

    /// An empty list in place of a damaged one.
    pub fn anew(directory: &Path) -> Self {
        Self { directory: directory.to_owned(), list: Vec::new() }
    }

    /// All of them, ascending.
    pub fn list(&self) -> &[Hole] {
        &self.list
    }

    /// Whether all of it is known to be missing.
    pub fn cover(&self, hole: Hole) -> bool {
        self.list.iter().any(|known| known.after <= hole.after && hole.upto <= known.upto)
    }

    /// Adds one, on the disk.
    pub fn add(&mut self, hole: Hole) -> io::Result<()> {
        self.list.push(hole);
        self.list.sort_by_key(|hole| hole.after);
        self.list.dedup_by(|next, hole| {
            let touch = next.after <= hole.upto;
            if touch {
                hole.upto = hole.upto.max(next.upto);
            }
            touch
        });
        while self.list.len() > MOST {
            self.join_nearest();
        }
        self.save()
    }

    fn join_nearest(&mut self) {
        let between = |at: &usize| self.list[at + 1].after.0 - self.list[*at].upto.0;
        if let Some(at) = (0..self.list.len() - 1).min_by_key(between) {
            self.list[at].upto = self.list.remove(at + 1).upto;
        }
    }

    fn save(&self) -> io::Result<()> {
        let lines = self.list.iter().map(|hole| format!("{} {}\n", hole.after, hole.upto));
        let text: String = lines.collect();
        let checksum = crc32fast::hash(text.as_bytes());
        let text = format!("{text}checksum {checksum:08x}\n");
        NAMES.iter().try_for_each(|name| replace(&self.directory, name, text.as_bytes()))
    }
}

/// The list of the first file that is whole; an empty one if there is no file.
///
/// # Errors
/// The system's words; of kind `InvalidData` if no file is whole.
pub fn read(directory: &Path) -> io::Result<Vec<Hole>> {
    let mut damaged = None;
    for name in NAMES {
        match fs::read(directory.join(name)) {
            Ok(bytes) => match std::str::from_utf8(&bytes).ok().and_then(parse) {
                Some(list) => return Ok(list),
                None => damaged = Some(format!("the list of what was lost, `{name}`, is damaged")),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    damaged.map_or(Ok(Vec::new()), |what| Err(io::Error::new(io::ErrorKind::InvalidData, what)))
}

fn parse(text: &str) -> Option<Vec<Hole>> {
    let (lines, checksum) = text.strip_suffix('\n')?.rsplit_once("checksum ")?;
    if checksum.len() != 8 || u32::from_str_radix(checksum, 16).ok()? != crc32fast::hash(lines.as_bytes()) {
        return None;
    }
    let hole = |line: &str| {
        let (after, upto) = line.split_once(' ')?;
        Some(Hole { after: Offset(after.parse().ok()?), upto: Offset(upto.parse().ok()?) })
    };
    lines.lines().map(hole).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hole(after: u64, upto: u64) -> Hole {
        Hole { after: Offset(after), upto: Offset(upto) }
    }

    #[test]
    fn holes_are_there_again_and_become_one_before_the_oldest_segment() {
        let temp = tempfile::tempdir().unwrap();
        let mut holes = Holes::open(temp.path(), Offset(0)).unwrap();
        for (after, upto) in [(20, 30), (5, 7), (25, 40), (7, 8)] {
            holes.add(hole(after, upto)).unwrap();
        }
        let expected = [hole(5, 8), hole(20, 40)];
        for (oldest, expected) in [(0, &expected[..]), (40, &expected), (41, &[hole(5, 40)])] {
            assert_eq!(Holes::open(temp.path(), Offset(oldest)).unwrap().list(), expected, "oldest {oldest}");
        }
    }

    #[test]
    fn holes_beyond_the_bound_become_one_with_their_nearest() {
        let temp = tempfile::tempdir().unwrap();
        let mut holes = Holes::anew(temp.path());
        for n in 0..=MOST as u64 {
            holes.add(hole(100 * n, 100 * n + if n == 7 { 90 } else { 10 })).unwrap();
        }
        assert_eq!(holes.list().len(), MOST);
        assert!(holes.list().contains(&hole(700, 810)), "{:?}", holes.list());
    }

    #[test]
    fn holes_file_cut_or_flipped_anywhere_is_read_from_its_copy_or_refused() {
        let temp = tempfile::tempdir().unwrap();
        let mut holes = Holes::anew(temp.path());
        holes.add(hole(5, 7)).unwrap();
        let [path, copy] = NAMES.map(|name| temp.path().join(name));
        let whole = fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut flipped = whole.clone();
            flipped[at] ^= 1;
            for bytes in [&flipped, &whole[..at]] {
                fs::write(&path, bytes).unwrap();
                fs::write(&copy, &whole).unwrap();
                assert_eq!(Holes::open(temp.path(), Offset(0)).unwrap().list(), [hole(5, 7)], "byte {at}");
                fs::write(&copy, bytes).unwrap();
                assert!(Holes::open(temp.path(), Offset(0)).is_err(), "byte {at}");
            }
        }
    }
}
