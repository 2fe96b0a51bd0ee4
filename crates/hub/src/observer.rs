//! Somebody outside who wants to know which channels there are, as they come and go.

use crate::name::ChannelName;

/// Is told of channels in memory. Of one name always in turn: it was made, it was collected, it was made …
///
/// Called under the lock of the name, so it must only take a note.
pub trait Observer: Send + Sync {
    /// A channel was made. If it is `stored`, the journal may have known it before.
    fn made(&self, name: &ChannelName, stored: bool);
    /// It was idle, and is gone. If it is `stored`, the journal may know it still.
    fn collected(&self, name: &ChannelName, stored: bool);
}
