//! Segments beside the hub's own tail, which they must agree with: whatever was said, wherever segments begin, and
//! whether they are open, sealed or found again.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use fantail_hub::journal::Seek;
use fantail_hub::tail::{Entry, Tail};
use fantail_hub::{Kind, Limits, Message, Millis, Offset, Retention};
use proptest::prelude::*;

use super::super::cleaner::{Cleaner, Outcome};
use super::super::index::{Index, id_hash};
use super::super::log::START;
use super::super::record::Record;
use super::super::segments::Segments;

const NAMES: [&str; 3] = ["a", "b", "channel.of.somebody"];
const IDS: [Option<&str>; 4] = [None, None, Some("one"), Some("two")];

/// What a journal is told.
#[derive(Debug, Clone)]
pub(in crate::journal::disk) enum Step {
    Say {
        channel: usize,
        text: usize,
        end: bool,
        then_end: bool,
        clears: bool,
        id: usize,
        later: u64,
    },
    /// A new segment, while the last one is sealed or stays in memory.
    Roll {
        seal: bool,
    },
    /// The process ends, and another finds what is there.
    Restart,
    /// What is not kept is taken away.
    Clean,
}

/// Segments and what they should say.
pub(in crate::journal::disk) struct Twin {
    pub(in crate::journal::disk) segments: Segments,
    /// Everything that was said, by channel; the flag says whether it clears.
    pub(in crate::journal::disk) said: [Vec<(Entry, bool)>; 3],
    pub(in crate::journal::disk) counter: u64,
    pub(in crate::journal::disk) now: u64,
    pub(in crate::journal::disk) limits: Limits,
    cleaner: Cleaner,
    end: u64,
}

impl Twin {
    pub(in crate::journal::disk) fn new(dir: &Path, limits: Limits) -> Self {
        let segments = Segments::open(dir).unwrap().segments;
        segments.begin(Offset(1), Offset(0), Millis(0), false).unwrap();
        let cleaner = Cleaner::new(3000, 1000);
        Self { segments, said: Default::default(), counter: 0, now: 1_000_000, limits, cleaner, end: START }
    }

    /// Nothing is dropped by age, count or bytes.
    pub(in crate::journal::disk) fn unlimited(dir: &Path) -> Self {
        let limits = Limits { messages: 1 << 30, bytes: 1 << 30, age: Duration::from_hours(9000), stored: true };
        Self::new(dir, limits)
    }

    /// A plain message of so many bytes.
    pub(in crate::journal::disk) fn say_plain(&mut self, channel: usize, text: usize) {
        let (end, then_end, clears, id, later) = (false, false, false, 2, 1);
        self.apply(&Step::Say { channel, text, end, then_end, clears, id, later });
    }

    /// Goes through a channel as a reader does: the entries' offsets, and what it was told to have lost.
    pub(in crate::journal::disk) fn walk(&self, channel: usize) -> (Vec<u64>, Vec<u64>) {
        let (mut next, mut seen, mut lost) = (1, Vec::new(), Vec::new());
        while next <= self.counter {
            let until = Offset(self.counter);
            let page = self.segments.page(NAMES[channel], next, 300, self.limits, Millis(self.now), until).unwrap();
            assert!(page.until.0 >= next, "a page goes on");
            lost.extend(page.lost.map(|lost| lost.0));
            for entry in &page.entries {
                let said = self.said[channel].iter().find(|(said, _)| said.offset == entry.offset);
                assert_eq!(said.map(|(said, _)| said), Some(entry), "only what was said is given");
                assert!(entry.offset.0 >= next && entry.offset <= page.until);
            }
            seen.extend(page.entries.iter().map(|entry| entry.offset.0));
            next = page.until.0 + 1;
        }
        (seen, lost)
    }

    /// Cleans, with segments of so many bytes and so many floors.
    pub(in crate::journal::disk) fn clean(&mut self, segment: u64, floors: usize) -> Outcome {
        let retention = Retention::new(self.limits, []);
        Cleaner::new(segment, floors).pass(&self.segments, &retention, Millis(self.now)).unwrap()
    }

    pub(in crate::journal::disk) fn apply(&mut self, step: &Step) {
        match *step {
            Step::Say { channel, text, end, then_end, clears, id, later } => {
                self.now += later;
                self.counter += 1;
                let data = "x".repeat(text);
                let record = Record {
                    offset: Offset(self.counter),
                    time: Millis(self.now),
                    kind: if end { Kind::End } else { Kind::Data },
                    then_end: then_end && !end,
                    clears,
                    bytes: false,
                    channel: NAMES[channel],
                    data: &data,
                    event: Some("tick"),
                    id: IDS[id],
                    key: None,
                };
                self.say(&record, channel);
            }
            Step::Roll { seal } => {
                let last = Arc::clone(self.segments.list().segments().last().unwrap());
                if last.last() < last.base() {
                    return;
                }
                // What is not stored takes offsets too.
                self.counter += 2;
                self.segments.begin(Offset(self.counter + 1), Offset(self.counter), Millis(self.now), false).unwrap();
                self.end = START;
                if seal {
                    self.segments.seal(&last).unwrap();
                }
            }
            Step::Clean => {
                let retention = Retention::new(self.limits, []);
                self.cleaner.pass(&self.segments, &retention, Millis(self.now)).unwrap();
                self.check();
            }
            Step::Restart => {
                let found = Segments::open(self.segments.dir()).unwrap();
                assert!(found.broken.is_empty());
                for log in found.bare {
                    let rebuilt = Index::rebuild(&log, Offset(self.counter)).unwrap();
                    assert!(rebuilt.damaged.is_empty());
                    self.end = rebuilt.end;
                    found.segments.push(log, rebuilt.index, rebuilt.end);
                }
                self.segments = found.segments;
            }
        }
    }

    fn say(&mut self, record: &Record<'_>, channel: usize) {
        let segment = Arc::clone(self.segments.list().segments().last().unwrap());
        let mut bytes = Vec::new();
        let log = segment.log().unwrap();
        record.encode(log.salt(), &mut bytes);
        log.append(self.end, &bytes).unwrap();
        let at = self.end;
        self.end += bytes.len() as u64;
        segment.extend(self.end, |index| {
            assert!(index.fits(record.offset, record.time, at));
            index.add(record, at);
        });
        let message = Message::kept(record.time, record.kind, record.data, record.event, record.id);
        self.said[channel].push((
            Entry {
                offset: record.offset,
                number: if record.kind.ends() { 0 } else { record.offset.0 },
                message: Arc::new(message),
            },
            record.clears,
        ));
        if record.then_end {
            self.counter += 1;
            let message = Message::kept(record.time, Kind::End, "", None, None);
            self.said[channel].push((Entry { offset: record.last(), number: 0, message: Arc::new(message) }, false));
        }
    }

    pub(in crate::journal::disk) fn tail(&self, channel: usize, limits: Limits) -> Tail {
        let mut tail = Tail::new(Offset(0));
        for (entry, clears) in &self.said[channel] {
            if *clears {
                tail.clear();
            }
            tail.push(entry.clone(), limits);
        }
        tail.expire(Millis(self.now), limits);
        tail
    }

    /// Compares all that can be asked.
    pub(in crate::journal::disk) fn check(&self) {
        let limits = self.limits;
        for (channel, name) in NAMES.into_iter().enumerate() {
            let tail = self.tail(channel, limits);
            let now = Millis(self.now);
            let head = self.segments.head(name, limits, now).unwrap();
            // What the newest one was is forgotten with it.
            let newest = if tail.is_empty() { head.newest } else { tail.newest() };
            let expected = (tail.last(), tail.floor(), newest, tail.len() as u64, tail.bytes() as u64);
            assert_eq!((head.last, head.floor, head.newest, head.messages, head.bytes), expected, "{name}");
            for bytes in [1, 500, 1 << 20] {
                let mut next = 0;
                while next <= self.counter {
                    next = self.check_page(channel, limits, &tail, next, bytes);
                }
            }
            for next in 0..=self.counter + 1 {
                self.check_page(channel, limits, &tail, next, 300);
            }
            let find = |seek| self.segments.find(name, seek, limits, now).unwrap();
            assert_eq!(find(Seek::Oldest), Some(tail.floor().0 + 1));
            for wanted in 0..=tail.len() + 1 {
                assert_eq!(find(Seek::Last(wanted)), Some(tail.start_of_last(wanted)), "{name}, last {wanted}");
            }
            for time in self
                .said
                .iter()
                .flatten()
                .map(|(entry, _)| entry.message.time())
                .chain([now, now.plus(Duration::from_secs(1))])
            {
                assert_eq!(find(Seek::Time(time)), Some(tail.start_at(time)), "{name}, time {time:?}");
            }
            for id in ["one", "two", "three"] {
                assert_eq!(find(Seek::Id(id)), tail.find_id(id).map(|offset| offset.0 + 1), "{name}, id {id}");
            }
        }
    }

    fn check_page(&self, channel: usize, limits: Limits, tail: &Tail, next: u64, bytes: usize) -> u64 {
        let until = Offset(self.counter);
        let page = self.segments.page(NAMES[channel], next, bytes, limits, Millis(self.now), until).unwrap();
        let (mut room, mut expected) = (bytes, Vec::new());
        for entry in tail.from(next) {
            if room == 0 {
                break;
            }
            room = room.saturating_sub(entry.message.cost());
            expected.push(entry.clone());
        }
        let end = if room == 0 { expected.last().unwrap().offset } else { until };
        assert_eq!(page.entries, expected, "{channel} from {next}");
        assert_eq!(page.lost, (next <= tail.floor().0).then(|| tail.floor()), "{channel} from {next}");
        assert_eq!((page.next, page.until), (next, end.max(page.lost.unwrap_or_default())));
        page.until.0 + 1
    }
}

pub(in crate::journal::disk) fn steps(most: usize) -> impl Strategy<Value = Vec<Step>> {
    let rarely = || prop::bool::weighted(0.07);
    let say = (0..3_usize, 0..200_usize, rarely(), rarely(), rarely(), 0..4_usize, 0..300_u64).prop_map(
        |(channel, text, end, then_end, clears, id, later)| Step::Say {
            channel,
            text,
            end,
            then_end,
            clears,
            id,
            later,
        },
    );
    let step = prop_oneof![
        20 => say,
        2 => any::<bool>().prop_map(|seal| Step::Roll { seal }),
        1 => Just(Step::Restart),
        1 => Just(Step::Clean),
    ];
    prop::collection::vec(step, most / 4..most)
}

pub(in crate::journal::disk) fn limits() -> impl Strategy<Value = Limits> {
    let or_many = |few: std::ops::Range<usize>| prop_oneof![2 => Just(1 << 30), 1 => few];
    (or_many(0..8), or_many(0..2000), prop_oneof![2 => Just(1 << 40), 1 => 0..3000_u64]).prop_map(
        |(messages, bytes, age)| Limits { messages, bytes, age: Duration::from_millis(age), ..Limits::default() },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    #[test]
    fn segments_say_what_a_tail_of_everything_would(steps in steps(120), limits in limits()) {
        let dir = tempfile::tempdir().unwrap();
        let mut twin = Twin::new(dir.path(), limits);
        for step in &steps {
            twin.apply(step);
        }
        twin.check();
    }
}

#[test]
fn own_ids_hash_alike_only_in_the_same_channel() {
    assert_ne!(id_hash("a", "b"), id_hash("a", "c"));
    assert_ne!(id_hash("a", "b"), id_hash("ab", ""));
}
