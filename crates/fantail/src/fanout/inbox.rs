//! What other threads tell a shard: that channels have news, and what it is to do. Bounded by what exists: a channel stands
//! here once until the shard has looked, and every subscriber on its way holds a connection's permit.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use fantail_hub::Watcher;
use fantail_hub::journal::Page;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::replay::Reader;
use super::{Attach, Farewell, Slow};

/// Something to do for a shard.
pub(super) enum Command {
    Attach(Box<Attach>),
    Slowest(usize, oneshot::Sender<Vec<Slow>>),
    KnownAs(Arc<str>, usize, oneshot::Sender<Vec<Slow>>),
    End(u64, oneshot::Sender<bool>),
    EndKnownAs(Arc<str>, oneshot::Sender<usize>),
    Stop(Farewell, oneshot::Sender<()>),
    /// What was read for a connection: pages of its channels, by their places. None if it could not be read.
    Pages(Reader, Vec<(usize, Page)>),
}

/// A shard's letter box.
pub(super) struct Inbox {
    letters: Mutex<Letters>,
    /// The shard is, or is about to be, asleep in its poller.
    asleep: AtomicBool,
    waker: mio::Waker,
}

#[derive(Default)]
pub(super) struct Letters {
    /// Rooms whose channels have news.
    pub(super) dirty: Vec<usize>,
    pub(super) commands: Vec<Command>,
    /// The shard is gone: what those who come too late are told.
    closed: Option<Farewell>,
}

impl Inbox {
    pub(super) fn new(waker: mio::Waker) -> Arc<Self> {
        Arc::new(Self { letters: Mutex::default(), asleep: AtomicBool::new(false), waker })
    }

    /// Hands a command over, or gives it back where the shard is gone.
    pub(super) fn send(&self, command: Command) -> Result<(), (Command, Farewell)> {
        let mut letters = self.letters.lock();
        if let Some(farewell) = letters.closed {
            return Err((command, farewell));
        }
        letters.commands.push(command);
        drop(letters);
        self.rouse();
        Ok(())
    }

    /// Takes no more commands; false if there are some to be obeyed first.
    pub(super) fn close(&self, farewell: Farewell) -> bool {
        let mut letters = self.letters.lock();
        if !letters.commands.is_empty() {
            return false;
        }
        *letters = Letters { closed: Some(farewell), ..Letters::default() };
        true
    }

    /// Exchanges the letters for empty ones, whose room is used again.
    pub(super) fn collect(&self, into: &mut Letters) {
        debug_assert!(into.dirty.is_empty() && into.commands.is_empty(), "letters would be lost");
        std::mem::swap(&mut *self.letters.lock(), into);
    }

    /// Announces that the shard is about to sleep; true if it may, false if there are letters.
    pub(super) fn doze(&self) -> bool {
        self.asleep.store(true, Ordering::SeqCst);
        let letters = self.letters.lock();
        let empty = letters.dirty.is_empty() && letters.commands.is_empty();
        if !empty {
            self.asleep.store(false, Ordering::SeqCst);
        }
        empty
    }

    pub(super) fn woken(&self) {
        self.asleep.store(false, Ordering::SeqCst);
    }

    fn rouse(&self) {
        if self.asleep.swap(false, Ordering::SeqCst)
            && let Err(error) = self.waker.wake()
        {
            // An eventfd can only fail to be written when it is full, and then the shard is awake.
            tracing::error!(%error, "cannot wake a shard");
        }
    }
}

impl Watcher for Inbox {
    fn wake(&self, room: usize) {
        self.letters.lock().dirty.push(room);
        self.rouse();
    }
}
