//! How far the slowest subscriber of a channel has come, known at the cost of one counter a delivery, so that a
//! publisher can go as fast as everybody follows and no faster.

use std::collections::VecDeque;

/// One channel's slowest subscriber.
#[derive(Debug)]
pub(crate) struct Slowest {
    pub(crate) channel: u32,
    listeners: u32,
    /// The first message that somebody has not read.
    first: u32,
    /// How many have read it and those behind it.
    counts: VecDeque<u32>,
}

impl Slowest {
    /// From this message on.
    pub(crate) fn new(channel: u32, listeners: u32, first: u32) -> Self {
        Self { channel, listeners, first, counts: VecDeque::new() }
    }

    /// One subscriber has read a message, for the first time.
    pub(crate) fn read(&mut self, sequence: u32) {
        let Some(place) = sequence.checked_sub(self.first).map(|place| place as usize) else { return };
        if self.counts.len() <= place {
            self.counts.resize(place + 1, 0);
        }
        self.counts[place] += 1;
        while self.counts.front().is_some_and(|&count| count >= self.listeners) {
            self.counts.pop_front();
            self.first += 1;
        }
    }

    /// Messages that somebody has not read, if so many were published.
    pub(crate) fn behind(&self, sequence: u32) -> u32 {
        (sequence + 1).saturating_sub(self.first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slowest_is_the_last_of_all_readers() {
        let mut slowest = Slowest::new(0, 2, 5);
        for sequence in [5, 6, 7, 5] {
            slowest.read(sequence);
        }
        assert_eq!(slowest.behind(7), 2);
        slowest.read(6);
        slowest.read(7);
        assert_eq!(slowest.behind(7), 0);
        assert_eq!(slowest.behind(9), 2);
    }
}
