//! History for connections that stand further back than tails go: read from the journal in pages, a bounded number at a
//! time, each connection in its turn. A page lives until it was gathered from, so that nobody's past makes the process grow.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use fantail_hub::history::{self, Wanted};
use fantail_hub::{Batch, Hub};
use tokio::runtime::Handle;

use super::inbox::{Command, Inbox};

/// Connections of a shard for which something is read at a time.
const AT_ONCE: usize = 8;
/// What is read for a connection at a time, in bytes: about what leaves in one write.
const BYTES: usize = Batch::MAX_BYTES;
/// When a connection's turn comes again for which nothing could be read.
const AGAIN: Duration = Duration::from_secs(1);

/// A connection, by its key and by its number: the key may be another's when the answer comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reader {
    pub(super) key: u32,
    pub(super) number: u64,
}

/// What a shard has read for its connections.
pub(super) struct Replay {
    /// Each connection at most once.
    waiting: VecDeque<Reader>,
    under_way: usize,
    hub: Arc<Hub>,
    inbox: Arc<Inbox>,
    runtime: Handle,
}

impl Replay {
    pub(super) fn new(hub: Arc<Hub>, inbox: Arc<Inbox>, runtime: Handle) -> Self {
        Self { waiting: VecDeque::new(), under_way: 0, hub, inbox, runtime }
    }

    /// Notes that something is to be read for a connection.
    pub(super) fn wait(&mut self, reader: Reader) {
        self.waiting.push_back(reader);
    }

    /// The next connection for which something may be read now.
    pub(super) fn next(&mut self) -> Option<Reader> {
        if self.under_way < AT_ONCE { self.waiting.pop_front() } else { None }
    }

    /// Reads for a connection. The answer comes as a letter.
    pub(super) fn read(&mut self, reader: Reader, wanted: Vec<Wanted>) {
        self.under_way += 1;
        let (hub, inbox) = (Arc::clone(&self.hub), Arc::clone(&self.inbox));
        self.runtime.spawn(async move {
            let pages = match history::read(&hub, &wanted, BYTES).await {
                Ok(pages) => pages,
                Err(error) => {
                    tracing::warn!(%error, "history cannot be read; its subscriber waits");
                    tokio::time::sleep(AGAIN).await;
                    Vec::new()
                }
            };
            // The channels go before the letter: when the shard answers it, nobody else holds them.
            drop(wanted);
            // A shard that has stopped needs no pages.
            let _ = inbox.send(Command::Pages(reader, pages));
        });
    }

    /// An answer has come.
    pub(super) fn done(&mut self) {
        self.under_way -= 1;
    }
}
