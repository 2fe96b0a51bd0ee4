//! The books of a run: what was published, what every subscriber has read, and what is wrong between the two. Knows no
//! sockets.

use hdrhistogram::Histogram;

use crate::clock;
use crate::slowest::Slowest;
use crate::stamp::Stamp;

/// Latencies above this are counted as this; in microseconds.
const LONGEST: u64 = 600_000_000;

/// An empty histogram of microseconds, three digits.
pub(crate) fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LONGEST, 3).expect("the bounds are constants")
}

/// Records nanoseconds in a histogram of microseconds.
pub(crate) fn record(histogram: &mut Histogram<u64>, nanos: u64) {
    histogram.saturating_record((nanos / 1000).max(1));
}

/// A channel, as the publishers see it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Channel {
    /// The last message's number.
    pub(crate) sequence: u32,
    /// Subscribers that must get each message.
    pub(crate) listeners: u32,
    /// The [`Group`] in which its deliveries are counted.
    pub(crate) group: u8,
}

/// How far a subscriber has come in one of its channels.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cursor {
    pub(crate) channel: u32,
    /// The number of the message that must come next; 0 until the first has come.
    pub(crate) next: u32,
}

/// A subscriber's cursors; the common case has no allocation, and so no cache miss.
#[derive(Debug)]
pub(crate) enum Cursors {
    One(Cursor),
    Many(Box<[Cursor]>),
}

impl Cursors {
    pub(crate) fn new(channels: &[u32]) -> Self {
        let start = |&channel: &u32| Cursor { channel, next: 0 };
        match channels {
            [one] => Self::One(start(one)),
            many => Self::Many(many.iter().map(start).collect()),
        }
    }

    pub(crate) fn as_slice(&self) -> &[Cursor] {
        match self {
            Self::One(cursor) => std::slice::from_ref(cursor),
            Self::Many(cursors) => cursors,
        }
    }

    pub(crate) fn as_mut_slice(&mut self) -> &mut [Cursor] {
        match self {
            Self::One(cursor) => std::slice::from_mut(cursor),
            Self::Many(cursors) => cursors,
        }
    }
}

/// Deliveries that are counted together.
#[derive(Debug)]
pub(crate) struct Group {
    /// Scheduled time to the read of the last byte.
    pub(crate) latency: Histogram<u64>,
    /// Deliveries that what was published calls for.
    pub(crate) expected: u64,
    /// Messages read in their order.
    pub(crate) delivered: u64,
    /// Messages that were skipped.
    pub(crate) lost: u64,
    /// Messages read again, or after a later one.
    pub(crate) repeated: u64,
    /// When the last of them was read.
    pub(crate) last_read: u64,
}

impl Group {
    fn new() -> Self {
        Self { latency: histogram(), expected: 0, delivered: 0, lost: 0, repeated: 0, last_read: 0 }
    }

    /// Deliveries that are still to come.
    pub(crate) fn outstanding(&self) -> u64 {
        self.expected.saturating_sub(self.delivered + self.lost)
    }
}

/// The books.
#[derive(Debug)]
pub(crate) struct Ledger {
    pub(crate) run: u32,
    /// Bytes that a message's data must have.
    pub(crate) size: usize,
    pub(crate) channels: Vec<Channel>,
    pub(crate) groups: Vec<Group>,
    /// Of a channel that is published to flat out.
    pub(crate) slowest: Option<Slowest>,
    /// Messages of another length than was sent, or of channels that were not asked for.
    pub(crate) corrupt: u64,
    /// Events that are not ours.
    pub(crate) foreign: u64,
    /// Comments: pings.
    pub(crate) comments: u64,
    /// Connections that the server ended or refused, and why the first of them.
    pub(crate) ended: u64,
    pub(crate) first_end: Option<String>,
    /// Connections that were tried again before the run, and why the first of them.
    pub(crate) retried: u64,
    pub(crate) first_retry: Option<String>,
    /// Streams whose head has been read and that have not ended.
    pub(crate) open: u64,
    /// Connections that were started and have no head yet.
    pub(crate) waiting: u64,
    /// Start of the connecting to each stream's head.
    pub(crate) opening: Histogram<u64>,
    /// Where [`Self::opening`] counts from.
    pub(crate) opened_from: u64,
}

impl Ledger {
    pub(crate) fn new(run: u32, size: usize, channels: usize, groups: usize) -> Self {
        Self {
            run,
            size,
            channels: vec![Channel::default(); channels],
            groups: (0..groups).map(|_| Group::new()).collect(),
            slowest: None,
            corrupt: 0,
            foreign: 0,
            comments: 0,
            ended: 0,
            first_end: None,
            retried: 0,
            first_retry: None,
            open: 0,
            waiting: 0,
            opening: histogram(),
            opened_from: 0,
        }
    }

    /// A message is being sent: its stamp.
    pub(crate) fn publish(&mut self, channel: u32, scheduled: u64) -> Stamp {
        let entry = &mut self.channels[channel as usize];
        entry.sequence += 1;
        self.groups[entry.group as usize].expected += u64::from(entry.listeners);
        Stamp { run: self.run, channel, sequence: entry.sequence, scheduled }
    }

    /// A subscriber has read a message.
    pub(crate) fn deliver(&mut self, group: u8, cursors: &mut Cursors, stamp: Stamp, len: usize, now: u64) {
        let cursor = cursors.as_mut_slice().iter_mut().find(|cursor| cursor.channel == stamp.channel);
        let (Some(cursor), true) = (cursor, stamp.run == self.run && len == self.size) else {
            self.corrupt += 1;
            return;
        };
        let group = &mut self.groups[group as usize];
        if stamp.sequence < cursor.next {
            group.repeated += 1;
            return;
        }
        if cursor.next != 0 {
            group.lost += u64::from(stamp.sequence - cursor.next);
        }
        cursor.next = stamp.sequence + 1;
        group.delivered += 1;
        group.last_read = now;
        if let Some(slowest) = self.slowest.as_mut().filter(|slowest| slowest.channel == stamp.channel) {
            slowest.read(stamp.sequence);
        }
        record(&mut group.latency, now.saturating_sub(stamp.scheduled));
    }

    /// Follows the slowest subscriber of a channel from here on.
    pub(crate) fn follow_slowest(&mut self, channel: u32) {
        let Channel { sequence, listeners, .. } = self.channels[channel as usize];
        self.slowest = Some(Slowest::new(channel, listeners, sequence + 1));
    }

    /// Messages of a load's channels that are still on their way: to the slowest subscriber if it is followed, else to
    /// the average one.
    pub(crate) fn on_their_way(&self, channels: &[u32]) -> u64 {
        let first = self.channels[channels[0] as usize];
        match &self.slowest {
            Some(slowest) if slowest.channel == channels[0] => u64::from(slowest.behind(first.sequence)),
            _ => self.groups[first.group as usize].outstanding() / u64::from(first.listeners.max(1)),
        }
    }

    /// A connection has come to its end, and it was not us who ended it.
    pub(crate) fn end(&mut self, why: &str) {
        self.ended += 1;
        self.first_end.get_or_insert_with(|| why.to_owned());
    }

    /// Forgets what was counted, and starts counting: the warm-up is over.
    pub(crate) fn restart(&mut self) {
        for group in &mut self.groups {
            *group = Group::new();
        }
        (self.corrupt, self.foreign, self.comments) = (0, 0, 0);
    }

    /// What a group was still to get is not expected of the server any more: its subscribers were sent away.
    pub(crate) fn excuse(&mut self, group: usize) {
        let group = &mut self.groups[group];
        group.expected -= group.outstanding();
    }

    /// Deliveries that are still to come, of all groups.
    pub(crate) fn outstanding(&self) -> u64 {
        self.groups.iter().map(Group::outstanding).sum()
    }

    pub(crate) fn delivered(&self) -> u64 {
        self.groups.iter().map(|group| group.delivered).sum()
    }

    /// What went wrong, a sentence each; empty if every subscriber got every message once and in order.
    pub(crate) fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let total = |count: fn(&Group) -> u64| self.groups.iter().map(count).sum::<u64>();
        let mut tell = |count: u64, what: &str| {
            if count > 0 {
                faults.push(format!("{count} {what}"));
            }
        };
        tell(total(|group| group.lost), "messages skipped");
        tell(self.outstanding(), "messages not delivered");
        tell(total(|group| group.repeated), "messages repeated or out of order");
        tell(self.corrupt, "messages corrupt or of other channels");
        tell(self.foreign, "events that were not published (gaps told?)");
        if let Some(why) = &self.first_end {
            tell(self.ended, &format!("connections ended by the server ({why})"));
        }
        faults
    }

    /// A stream that was waited for is open.
    pub(crate) fn opened(&mut self) {
        self.open += 1;
        self.waiting -= 1;
        record(&mut self.opening, clock::now().saturating_sub(self.opened_from));
    }

    /// Starts the count of opening streams.
    pub(crate) fn restart_opening(&mut self) {
        self.opening = histogram();
        self.opened_from = clock::now();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger() -> (Ledger, Cursors) {
        let mut ledger = Ledger::new(1, 100, 2, 1);
        ledger.channels[1].listeners = 1;
        (ledger, Cursors::new(&[1]))
    }

    #[test]
    fn deliver_all_in_order_has_no_fault() {
        let (mut ledger, mut cursors) = ledger();
        for n in 0..3 {
            let stamp = ledger.publish(1, n * 1000);
            ledger.deliver(0, &mut cursors, stamp, 100, 5000);
        }
        assert_eq!((ledger.faults(), ledger.delivered()), (vec![], 3));
        assert_eq!(ledger.groups[0].latency.max(), 5);
    }

    #[test]
    fn excuse_takes_what_is_outstanding_and_nothing_else() {
        let (mut ledger, mut cursors) = ledger();
        let stamps: Vec<_> = (0..3).map(|n| ledger.publish(1, n)).collect();
        ledger.deliver(0, &mut cursors, stamps[1], 100, 5);
        ledger.deliver(0, &mut cursors, stamps[0], 100, 5);
        ledger.excuse(0);
        assert_eq!(ledger.outstanding(), 0);
        assert_eq!(ledger.faults(), ["1 messages repeated or out of order"]);
    }

    #[test]
    fn deliver_hole_repeat_and_stranger_are_faults() {
        let (mut ledger, mut cursors) = ledger();
        let stamps: Vec<_> = (0..4).map(|n| ledger.publish(1, n)).collect();
        for (n, len) in [(0, 100), (2, 100), (1, 100), (2, 100), (3, 99)] {
            ledger.deliver(0, &mut cursors, stamps[n], len, 5);
        }
        ledger.deliver(0, &mut cursors, Stamp { channel: 0, ..stamps[3] }, 100, 5);
        ledger.deliver(0, &mut cursors, Stamp { run: 9, ..stamps[3] }, 100, 5);
        let group = &ledger.groups[0];
        assert_eq!((group.delivered, group.lost, group.repeated, ledger.corrupt), (2, 1, 2, 3));
        assert_eq!(ledger.outstanding(), 1);
        assert_eq!(ledger.faults().len(), 4);
    }
}
