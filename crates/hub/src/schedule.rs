//! When each channel has to be looked at again: for age, and for being idle. A plain function of `now`.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use crate::channel::Channel;
use crate::clock::Millis;

/// Granularity: what is due within the same second is looked at together.
const SLOT: u64 = 1000;

/// Channels by the second in which they are due. A channel that became due sooner leaves its later entry behind, and knows
/// which one counts.
#[derive(Debug, Default)]
pub struct Schedule {
    /// Weak, so that an entry which no longer counts does not keep a channel that could go.
    slots: BTreeMap<u64, Vec<Weak<Channel>>>,
}

impl Schedule {
    /// Puts a channel at the first whole second that is not before `due`.
    pub fn add(&mut self, channel: &Arc<Channel>, due: Millis) {
        self.slots.entry(due.0.div_ceil(SLOT)).or_default().push(Arc::downgrade(channel));
    }

    /// Takes the channels of one second that has come, oldest first.
    pub fn due(&mut self, now: Millis) -> Option<Vec<Weak<Channel>>> {
        let slot = self.slots.first_entry()?;
        (*slot.key() <= now.0 / SLOT).then(|| slot.remove())
    }
}
