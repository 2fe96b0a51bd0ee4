//! Files that are kept open, the least recently used of them closed when there are too many. Descriptors are precious.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;

/// Open files, by the number of the segment that they belong to.
#[derive(Debug)]
pub struct Handles {
    most: usize,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    /// With the moment of its last use.
    files: HashMap<u64, (Arc<File>, u64)>,
    /// Counts uses.
    moment: u64,
}

impl Handles {
    /// At most so many at once, besides those that somebody is reading.
    pub fn new(most: usize) -> Self {
        Self { most, open: Mutex::default() }
    }

    /// The file of `number`, which is at `path`.
    pub fn open(&self, number: u64, path: &Path) -> io::Result<Arc<File>> {
        if let Some(file) = self.open.lock().get(number) {
            return Ok(file);
        }
        let file = Arc::new(File::open(path)?);
        let mut open = self.open.lock();
        if open.files.len() >= self.most
            && let Some(&oldest) = open.files.iter().min_by_key(|(_, (_, moment))| *moment).map(|(number, _)| number)
        {
            open.files.remove(&oldest);
        }
        open.moment += 1;
        let moment = open.moment;
        open.files.insert(number, (Arc::clone(&file), moment));
        Ok(file)
    }

    /// Closes the file of `number` as soon as nobody reads it.
    pub fn close(&self, number: u64) {
        self.open.lock().files.remove(&number);
    }
}

impl Open {
    fn get(&mut self, number: u64) -> Option<Arc<File>> {
        self.moment += 1;
        let (file, moment) = self.files.get_mut(&number)?;
        *moment = self.moment;
        Some(Arc::clone(file))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handles_beyond_the_limit_close_the_least_recently_used() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        std::fs::write(&path, "x").unwrap();
        let handles = Handles::new(2);
        let first = handles.open(1, &path).unwrap();
        handles.open(2, &path).unwrap();
        assert!(Arc::ptr_eq(&first, &handles.open(1, &path).unwrap()));
        handles.open(3, &path).unwrap();
        let left: std::collections::BTreeSet<_> = handles.open.lock().files.keys().copied().collect();
        assert_eq!(left, [1, 3].into());
        handles.close(1);
        assert_eq!(Arc::strong_count(&first), 1);
    }
}
