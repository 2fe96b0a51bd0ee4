//! What a publisher is to send: to which channels, at what pace, and for how long. Pure arithmetic on the clock.

use crate::clock;

/// When messages are due.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pace {
    /// Open loop: message n is due at `first` and n intervals, in seconds, whatever the server does.
    Every { first: u64, interval: f64 },
    /// Open loop: so many messages at a time, each time an interval, in seconds, after the last.
    Bursts { first: u64, interval: f64, size: u64 },
    /// As fast as answers come back, while no more than `window` messages of a channel are on their way.
    FlatOut { window: Option<u64> },
}

/// When the load is over.
#[derive(Clone, Copy, Debug)]
pub(crate) enum End {
    Count(u64),
    /// No message is due at this time or after it.
    At(u64),
}

/// A load, and how far it has come.
#[derive(Debug)]
pub(crate) struct Load {
    /// Published to in turn.
    pub(crate) channels: Vec<u32>,
    pub(crate) pace: Pace,
    pub(crate) end: End,
    pub(crate) sent: u64,
}

impl Load {
    pub(crate) fn new(channels: Vec<u32>, pace: Pace, end: End) -> Self {
        Self { channels, pace, end, sent: 0 }
    }

    /// When the next message is due; `None` if the load is over.
    pub(crate) fn due(&self, now: u64) -> Option<u64> {
        let due = match self.pace {
            Pace::Every { first, interval } => first + clock::from_seconds(self.sent as f64 * interval),
            Pace::Bursts { first, interval, size } => first + clock::from_seconds((self.sent / size) as f64 * interval),
            Pace::FlatOut { .. } => now,
        };
        let over = match self.end {
            End::Count(count) => self.sent >= count,
            End::At(end) => due >= end,
        };
        (!over).then_some(due)
    }

    /// The channel of the next message, which counts as sent.
    pub(crate) fn take(&mut self) -> u32 {
        let channel = self.channels[(self.sent % self.channels.len() as u64) as usize];
        self.sent += 1;
        channel
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn load_open_loop_is_due_by_the_clock_alone() {
        let mut load = Load::new(vec![4, 5], Pace::Every { first: 100, interval: 3e-9 }, End::At(108));
        let mut due = Vec::new();
        while let Some(at) = load.due(0) {
            due.push((at, load.take()));
        }
        assert_eq!(due, [(100, 4), (103, 5), (106, 4)]);
    }

    #[test]
    fn load_in_bursts_is_due_together() {
        let mut load = Load::new(vec![4, 5], Pace::Bursts { first: 100, interval: 3e-9, size: 2 }, End::At(104));
        let mut due = Vec::new();
        while let Some(at) = load.due(0) {
            due.push((at, load.take()));
        }
        assert_eq!(due, [(100, 4), (100, 5), (103, 4), (103, 5)]);
    }

    #[test]
    fn load_counted_ends_with_the_count() {
        let mut load = Load::new(vec![0], Pace::FlatOut { window: None }, End::Count(1));
        assert_eq!(load.due(7), Some(7));
        load.take();
        assert_eq!(load.due(8), None);
    }
}
