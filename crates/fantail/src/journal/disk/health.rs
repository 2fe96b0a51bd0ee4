//! Whether the journal accepts messages at present, and if not, why. Said once in the log for each change.

use std::io;
use std::path::{Path, PathBuf};

use fantail_hub::AppendError;
use parking_lot::Mutex;

/// The journal's state, as operators and publishers see it.
#[derive(Debug)]
pub struct Health {
    directory: PathBuf,
    trouble: Mutex<Option<AppendError>>,
}

impl Health {
    /// All is well.
    pub fn new(directory: &Path) -> Self {
        Self { directory: directory.to_owned(), trouble: Mutex::default() }
    }

    /// What publishers are told.
    pub fn get(&self) -> Result<(), AppendError> {
        self.trouble.lock().clone().map_or(Ok(()), Err)
    }

    /// Messages are accepted.
    pub fn is_well(&self) {
        if self.trouble.lock().take().is_some() {
            tracing::info!(directory = %self.directory.display(), "the journal accepts messages again");
        }
    }

    /// They are not.
    pub fn is_ill(&self, why: &AppendError) {
        let mut trouble = self.trouble.lock();
        let alike = |old: &AppendError| std::mem::discriminant(old) == std::mem::discriminant(why);
        if !trouble.as_ref().is_some_and(alike) {
            tracing::error!(directory = %self.directory.display(), reason = %why, "the journal refuses messages");
        }
        *trouble = Some(why.clone());
    }
}

/// What publishers are told of an error of the disk.
pub fn refusal(error: &io::Error) -> AppendError {
    let text = format!("{error} (data directory)").into();
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            AppendError::Full(text)
        }
        _ => AppendError::Failing(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusal_tells_a_full_disk_from_a_failing_one() {
        let said = |code| refusal(&io::Error::from_raw_os_error(code)).to_string();
        assert_eq!(said(28), "the journal has no room: No space left on device (os error 28) (data directory)");
        assert!(said(122).starts_with("the journal has no room: "), "a quota");
        assert!(said(5).starts_with("the journal cannot keep messages: "), "an error of the device");
    }
}
