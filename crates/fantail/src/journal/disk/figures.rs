//! What the disk journal has done and found, for operators.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use fantail_hub::AppendError;

/// Counts of one journal since its start. Written by its threads, read by anybody.
#[derive(Debug, Default)]
pub struct Counts {
    batches: AtomicU64,
    messages: AtomicU64,
    largest: AtomicUsize,
    bytes: AtomicU64,
    syncs: AtomicU64,
    sync_nanos: AtomicU64,
    refused_full: AtomicU64,
    refused_failing: AtomicU64,
    cleaned: AtomicU64,
    damaged: AtomicU64,
    holes: AtomicU64,
}

/// The same at one moment, and what there is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Figures {
    /// Writes to the log.
    pub batches: u64,
    /// Messages in them.
    pub messages: u64,
    /// Messages in the largest of them.
    pub largest_batch: usize,
    /// Bytes that were written to the log.
    pub written: u64,
    /// Waits for the disk.
    pub syncs: u64,
    /// How long they took in all.
    pub sync_time: Duration,
    /// Messages that were refused for want of room.
    pub refused_full: u64,
    /// Messages that were refused because the disk fails.
    pub refused_failing: u64,
    /// Bytes that the cleaner gave back.
    pub cleaned: u64,
    /// Stretches of logs that were found damaged at the start.
    pub damaged: u64,
    /// Stretches of the order in which messages may have been lost.
    pub holes: u64,
    /// Publishers that wait for room or an answer.
    pub waiting: usize,
    /// Segments on the disk.
    pub segments: usize,
    /// Bytes on the disk.
    pub bytes: u64,
}

impl Counts {
    /// A batch was written.
    pub fn wrote(&self, messages: usize, bytes: usize) {
        self.batches.fetch_add(1, Ordering::Relaxed);
        self.messages.fetch_add(messages as u64, Ordering::Relaxed);
        self.largest.fetch_max(messages, Ordering::Relaxed);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// The disk was waited for.
    pub fn synced(&self, took: Duration) {
        self.syncs.fetch_add(1, Ordering::Relaxed);
        self.sync_nanos.fetch_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// A message was refused.
    pub fn refused(&self, why: &AppendError) {
        let count = if matches!(why, AppendError::Full(_)) { &self.refused_full } else { &self.refused_failing };
        count.fetch_add(1, Ordering::Relaxed);
    }

    /// The cleaner gave bytes back.
    pub fn cleaned(&self, bytes: u64) {
        self.cleaned.fetch_add(bytes, Ordering::Relaxed);
    }

    /// A log was found damaged in one place.
    pub fn damaged(&self) {
        self.damaged.fetch_add(1, Ordering::Relaxed);
    }

    /// So many stretches of the order may miss something.
    pub fn holes(&self, holes: usize) {
        self.holes.store(holes as u64, Ordering::Relaxed);
    }

    /// All counts at once; what there is at present is for the caller to add.
    pub fn figures(&self) -> Figures {
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Figures {
            batches: load(&self.batches),
            messages: load(&self.messages),
            largest_batch: self.largest.load(Ordering::Relaxed),
            written: load(&self.bytes),
            syncs: load(&self.syncs),
            sync_time: Duration::from_nanos(load(&self.sync_nanos)),
            refused_full: load(&self.refused_full),
            refused_failing: load(&self.refused_failing),
            cleaned: load(&self.cleaned),
            damaged: load(&self.damaged),
            holes: load(&self.holes),
            ..Figures::default()
        }
    }
}
