//! A data directory as it lies there, for people who look into it: also while a server has it, and without changing a byte.
//! What a server would hide, for it is no longer to be kept, is not shown.

pub mod audit;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fantail_hub::journal::{Head, Page, Seek};
use fantail_hub::{Epoch, Limits, Millis, Offset};
use thiserror::Error;

use super::census::{Census, Resident};
use super::directory::{self, DirectoryError};
use super::holes;
use super::log::LogError;
use super::query::{Query, Trouble};
use super::segment::View;
use super::segments::{List, Segments};

/// How often it is tried again as files went in the middle of a question.
const TRIES: usize = 20;

/// A look at a data directory.
#[derive(Debug)]
pub struct Inspection {
    dir: PathBuf,
    epoch: Epoch,
    segments: Segments,
}

/// Why a directory could not be looked at.
#[derive(Debug, Error)]
pub enum InspectError {
    /// There is no journal, or not one of ours.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// A log cannot be read.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The system's words.
    #[error("cannot read {path}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A server changes its files faster than they can be read.
    #[error("the files of {path} go while they are read; try again")]
    Restless {
        /// Which directory.
        path: PathBuf,
    },
}

/// A channel of a journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its name.
    pub name: Box<str>,
    /// What is known of it; at least one entry is kept.
    pub head: Head,
    /// When the oldest of them was accepted.
    pub oldest: Millis,
    /// When the newest was.
    pub newest: Millis,
}

impl Inspection {
    /// Looks at `dir`.
    ///
    /// # Errors
    /// [`InspectError`].
    pub fn open(dir: &Path) -> Result<Self, InspectError> {
        let epoch = directory::epoch(dir)?;
        let segments = view(dir)?;
        Ok(Self { dir: dir.to_owned(), epoch, segments })
    }

    /// The incarnation of its sequence.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Channels of which something is kept and whose names begin with `prefix`, by name.
    ///
    /// # Errors
    /// [`InspectError`].
    pub fn channels(
        &mut self,
        prefix: &str,
        limits: impl Fn(&str) -> Limits,
        now: Millis,
    ) -> Result<Vec<Listed>, InspectError> {
        let mut channels = self.ask(|list| {
            let mut channels = Vec::new();
            let census = Census { segments: list.segments(), general: list.general(), limits: &limits, now };
            census.take(|resident| {
                if !resident.name.is_empty() && resident.name.starts_with(prefix) {
                    channels.extend(listed(list, &resident)?);
                }
                Ok(())
            })?;
            Ok(channels)
        })?;
        channels.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(channels)
    }

    /// What is known of a channel.
    ///
    /// # Errors
    /// [`InspectError`].
    pub fn head(&mut self, name: &str, limits: Limits, now: Millis) -> Result<Head, InspectError> {
        self.ask(|list| Query::new(list, name, limits, now).head())
    }

    /// A place in a channel's history.
    ///
    /// # Errors
    /// [`InspectError`].
    pub fn find(
        &mut self,
        name: &str,
        seek: Seek<'_>,
        limits: Limits,
        now: Millis,
    ) -> Result<Option<u64>, InspectError> {
        self.ask(|list| Query::new(list, name, limits, now).seek(seek))
    }

    /// A page of a channel's history, none of it above `until`.
    ///
    /// # Errors
    /// [`InspectError`].
    pub fn page(
        &mut self,
        name: &str,
        next: u64,
        bytes: usize,
        (limits, now): (Limits, Millis),
        until: Offset,
    ) -> Result<Page, InspectError> {
        self.ask(|list| Query::new(list, name, limits, now).page(next, bytes, until))
    }

    fn ask<T>(&mut self, question: impl Fn(&List) -> Result<T, Trouble>) -> Result<T, InspectError> {
        for _ in 0..TRIES {
            let list = self.segments.list();
            let Trouble { segment, source } = match question(&list) {
                Ok(answer) => return Ok(answer),
                Err(trouble) => trouble,
            };
            let of = |source| InspectError::Io { path: segment.index_path().to_owned(), source };
            match source.kind() {
                io::ErrorKind::NotFound => self.segments = view(&self.dir)?,
                io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof if segment.is_sealed() => {
                    self.segments.reread(&segment).map_err(of)?;
                }
                _ => return Err(of(source)),
            }
        }
        Err(InspectError::Restless { path: self.dir.clone() })
    }
}

fn listed(list: &List, resident: &Resident<'_>) -> io::Result<Option<Listed>> {
    let mut kept = resident.places.iter().filter(|place| place.start < place.part.count);
    let Some(head) = kept.next() else { return Ok(None) };
    let back = kept.next_back().unwrap_or(head);
    let segment = |place: usize| Arc::clone(&list.segments()[place]);
    let (older, newer) = (segment(back.segment), segment(head.segment));
    let oldest = View::new(&older).posting(&back.part, back.start)?.time;
    let newest = View::new(&newer).posting(&head.part, head.part.count - 1)?.time;
    Ok(Some(Listed { name: resident.name.into(), head: resident.sweep.head(), oldest, newest }))
}

/// The segments of `dir`, with what is known to be lost.
fn view(dir: &Path) -> Result<Segments, InspectError> {
    for _ in 0..TRIES {
        let lost = match holes::read(dir) {
            Err(error) if error.kind() != io::ErrorKind::InvalidData => {
                return Err(InspectError::Io { path: dir.to_owned(), source: error });
            }
            // A list that is damaged is for `audit` to tell.
            lost => lost.unwrap_or_default(),
        };
        match Segments::view(dir) {
            Ok(viewed) => {
                for hole in lost {
                    viewed.segments.add_hole(hole);
                }
                return Ok(viewed.segments);
            }
            Err(LogError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(InspectError::Restless { path: dir.to_owned() })
}
