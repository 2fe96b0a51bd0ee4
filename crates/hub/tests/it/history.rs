//! Channels whose history lies in a journal behind their tails: whatever is published, forgotten, lost, collected and
//! evicted meanwhile, a subscriber sees everything once and in order, or is told of what it lost, and of nothing else.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use fantail_hub::hub::Publish;
use fantail_hub::{
    Batch, ChannelName, Clock, Framing, Gap, Hub, HubLimits, Journal, Limits, Message, Millis, NewMessage, Position,
    Profile, Render, Retention, StartAt, SubscribeError, Subscription, Traits,
};
use proptest::prelude::*;

use crate::archive::Archive;
use crate::now;

const CHANNELS: usize = 3;
const CLIENTS: usize = 3;

#[derive(Debug, Clone, Copy)]
enum Op {
    Publish {
        channel: usize,
        bytes: usize,
        ends: bool,
    },
    Forget {
        channel: usize,
        messages: usize,
    },
    /// The process ends, and what comes after it finds that the next offsets are lost.
    Restart {
        offsets: u64,
    },
    Pass(u64),
    Subscribe {
        who: usize,
        channels: usize,
        start: Begin,
    },
    /// Takes so many batches.
    Take {
        who: usize,
        batches: usize,
    },
    /// Comes back with its last id.
    Return {
        who: usize,
    },
}

#[derive(Debug, Clone, Copy)]
enum Begin {
    Live,
    Last(usize),
    Oldest,
    Unknown,
}

fn op() -> impl Strategy<Value = Op> {
    let begin =
        prop_oneof![Just(Begin::Live), (0..9_usize).prop_map(Begin::Last), Just(Begin::Oldest), Just(Begin::Unknown)];
    let channel = 0..CHANNELS;
    prop_oneof![
        8 => (channel.clone(), prop_oneof![8 => 0..40_usize, 1 => Just(5000), 1 => Just(60_000)], prop::bool::weighted(0.03))
            .prop_map(|(channel, bytes, ends)| Op::Publish { channel, bytes, ends }),
        1 => (channel, 1..6_usize).prop_map(|(channel, messages)| Op::Forget { channel, messages }),
        1 => (0..4_u64).prop_map(|offsets| Op::Restart { offsets }),
        1 => (0..5_000_u64).prop_map(Op::Pass),
        2 => (0..CLIENTS, 1..1_usize << CHANNELS, begin)
            .prop_map(|(who, channels, start)| Op::Subscribe { who, channels, start }),
        3 => (0..CLIENTS, 1..4_usize).prop_map(|(who, batches)| Op::Take { who, batches }),
        2 => (0..CLIENTS).prop_map(|who| Op::Return { who }),
    ]
}

/// `CHANNEL OFFSET`, and for gaps `CHANNEL gap OFFSET`, each behind the id that it carries, if any.
struct Lines;

impl Render for Lines {
    fn message(&self, out: &mut Vec<u8>, channel: &ChannelName, position: Position, _: u64, _: &Message) {
        out.extend_from_slice(format!("{position} {channel} {}\n", position.offset).as_bytes());
    }

    fn gap(&self, out: &mut Vec<u8>, gap: &Gap<'_>) {
        let id = if gap.with_id { gap.lost_to.to_string() } else { "-".to_owned() };
        out.extend_from_slice(format!("{id} {} gap {}\n", gap.channel, gap.lost_to.offset).as_bytes());
    }
}

/// A client: what it has seen, and what it is owed.
struct Client {
    subscription: Option<Subscription>,
    channels: Vec<usize>,
    id: Option<String>,
    /// By channel, the last offset that is accounted for: seen, told as lost, or before its beginning.
    settled: HashMap<usize, u64>,
    /// It came with an id that nobody knows, and is owed a gap before anything else.
    owed: bool,
}

struct World {
    hub: Arc<Hub>,
    limits: HubLimits,
    archive: Arc<Archive>,
    names: Vec<ChannelName>,
    /// By channel, every offset ever published.
    published: Vec<Vec<u64>>,
    /// By channel, what is gone up to here.
    floors: Vec<u64>,
    clients: HashMap<usize, Client>,
}

fn hub(archive: &Arc<Archive>, limits: HubLimits) -> Arc<Hub> {
    let retention = Retention::new(Limits { age: Duration::from_hours(9), ..Limits::default() }, []);
    let journal: Arc<dyn Journal> = Arc::clone(archive) as _;
    Arc::new(Hub::new(journal, retention, limits, Clock::manual(Millis(1_000_000))))
}

impl World {
    fn new(page: usize, tail: usize, memory: usize, idle: u64) -> Self {
        let archive = Arc::new(Archive::new(page));
        let limits = HubLimits { tail, memory, channel_idle: Duration::from_secs(idle), ..HubLimits::default() };
        let names = (0..CHANNELS).map(|n| ChannelName::parse(&n.to_string()).unwrap()).collect();
        let (published, floors) = (vec![Vec::new(); CHANNELS], vec![0; CHANNELS]);
        Self { hub: hub(&archive, limits), limits, archive, names, published, floors, clients: HashMap::new() }
    }

    fn run(&mut self, op: Op) {
        match op {
            Op::Publish { channel, bytes, ends } => {
                let data = "x".repeat(bytes);
                let said = NewMessage { data: &data, event: None, id: None };
                let one = Publish { channel: &self.names[channel], said, key: None, ends, traits: Traits::default() };
                let offset = now(self.hub.publish(one)).unwrap().position.offset.0;
                self.published[channel].push(offset);
                self.published[channel].extend(ends.then_some(offset + 1));
            }
            Op::Forget { channel, messages } => {
                self.archive.forget(self.names[channel].as_str(), messages);
                let floor = self.floors[channel];
                let kept: Vec<_> = self.published[channel].iter().copied().filter(|offset| *offset > floor).collect();
                if let Some(last) = kept[..messages.min(kept.len())].last() {
                    self.floors[channel] = *last;
                }
            }
            Op::Restart { offsets } => {
                self.clients.values_mut().for_each(|client| client.subscription = None);
                self.archive.lose(offsets);
                self.hub = hub(&self.archive, self.limits);
                (0..CLIENTS).for_each(|who| self.come_back(who));
            }
            Op::Pass(millis) => {
                self.hub.clock().advance(Duration::from_millis(millis));
                self.hub.maintain();
            }
            Op::Subscribe { who, channels, start } => self.subscribe(who, channels, start),
            Op::Take { who, batches } => self.take(who, batches),
            Op::Return { who } => self.come_back(who),
        }
    }

    fn subscribe(&mut self, who: usize, mask: usize, begin: Begin) {
        let channels: Vec<_> = (0..CHANNELS).filter(|channel| mask >> channel & 1 == 1).collect();
        let counter = self.archive.counter().0;
        let settled = |channel: usize| {
            let floor = self.floors[channel];
            let kept: Vec<_> = self.published[channel].iter().copied().filter(|at| *at > floor).collect();
            match begin {
                Begin::Live => counter,
                Begin::Oldest => floor,
                Begin::Last(0) => *kept.last().unwrap_or(&floor),
                Begin::Last(n) => kept.len().checked_sub(n).map_or(floor, |at| kept[at] - 1),
                Begin::Unknown => 0,
            }
        };
        let settled = channels.iter().map(|channel| (*channel, settled(*channel))).collect();
        let owed = matches!(begin, Begin::Unknown);
        let start = match begin {
            Begin::Live => StartAt::Live,
            Begin::Last(n) => StartAt::Last(n),
            Begin::Oldest => StartAt::Oldest,
            Begin::Unknown => StartAt::After(b"unheard of".as_slice().into()),
        };
        let client = Client { subscription: None, channels, id: None, settled, owed };
        self.clients.insert(who, client);
        self.begin(who, start);
    }

    fn begin(&mut self, who: usize, start: StartAt) {
        let client = self.clients.get_mut(&who).unwrap();
        // One subscription at a time, as a connection has.
        client.subscription = None;
        let names: Vec<_> = client.channels.iter().map(|channel| self.names[*channel].clone()).collect();
        match now(self.hub.plan(&names, start)) {
            Ok(plan) => {
                client.id = plan.announce.map(|position| position.to_string()).or(client.id.take());
                let profile = Arc::new(Profile::new(Lines));
                client.subscription = Some(Subscription::new(Arc::clone(&self.hub), plan, profile, Framing::Raw));
            }
            Err(error) => {
                assert_eq!(error, SubscribeError::Ended);
                self.check_complete(who);
            }
        }
    }

    fn come_back(&mut self, who: usize) {
        let Some(client) = self.clients.get(&who) else { return };
        let Some(id) = client.id.clone() else { return };
        // Where it asked for the last few of each channel, its id says one place for all: it may be given more than it asked for.
        let place = Position::parse(id.as_bytes()).unwrap().offset.0;
        let client = self.clients.get_mut(&who).unwrap();
        for (channel, settled) in &mut client.settled {
            let passed = *settled + 1..=place;
            let passed: Vec<_> = self.published[*channel].iter().filter(|at| passed.contains(at)).collect();
            // What is lost is told at the place up to which all is lost, where the id has not come yet.
            let floor = self.floors[*channel];
            assert!(passed.iter().all(|at| **at <= floor), "an id says that more of {channel} was seen than was");
            if passed.is_empty() {
                *settled = place;
            }
        }
        self.begin(who, StartAt::After(id.into_bytes().into()));
    }

    fn take(&mut self, who: usize, batches: usize) {
        for _ in 0..batches {
            let Some(client) = self.clients.get_mut(&who) else { return };
            let Some(subscription) = &mut client.subscription else { return };
            let next = pin!(subscription.next()).poll(&mut Context::from_waker(Waker::noop()));
            match next {
                Poll::Ready(Ok(Some(batch))) => self.see(who, &batch),
                Poll::Ready(Ok(None)) => {
                    client.subscription = None;
                    return self.check_complete(who);
                }
                Poll::Ready(Err(error)) => panic!("{error}"),
                Poll::Pending => return self.check_complete(who),
            }
        }
    }

    fn see(&mut self, who: usize, batch: &Batch) {
        let client = self.clients.get_mut(&who).unwrap();
        for line in String::from_utf8_lossy(&batch.bytes).lines() {
            let words: Vec<_> = line.split(' ').collect();
            let channel: usize = words[1].parse().unwrap();
            let settled = client.settled[&channel];
            let owed = |upto: u64| {
                let all = self.published[channel].iter().copied();
                all.filter(|at| (settled + 1..upto).contains(at)).collect::<Vec<_>>()
            };
            if words[2] == "gap" {
                let to: u64 = words[3].parse().unwrap();
                let lost = |at: &u64| *at <= self.floors[channel];
                let in_hole =
                    self.archive.holes().iter().any(|(from, hole)| settled <= *hole && *from < to && to <= *hole);
                let is_owed = std::mem::take(&mut client.owed) || to == 0 || in_hole;
                assert!(owed(to + 1).iter().all(lost), "told that something is lost which is kept: {line}");
                assert!(is_owed || !owed(to + 1).is_empty(), "told of a gap where nothing is lost: {line}");
                client.settled.insert(channel, settled.max(to));
            } else {
                let at: u64 = words[2].parse().unwrap();
                assert!(at > settled, "seen again or out of order: {line} behind {settled}");
                assert_eq!(owed(at), [0; 0], "left out without a word before {line}");
                assert!(!client.owed, "nothing was said of the unknown past before {line}");
                client.settled.insert(channel, at);
            }
            if words[0] != "-" {
                client.id = Some(words[0].to_owned());
            }
        }
    }

    /// A client that waits has seen everything.
    fn check_complete(&self, who: usize) {
        let client = &self.clients[&who];
        for channel in &client.channels {
            let missing: Vec<_> = self.published[*channel].iter().filter(|at| **at > client.settled[channel]).collect();
            assert!(missing.is_empty(), "{missing:?} of channel {channel} are due");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]
    #[test]
    fn history_behind_a_tail_is_seen_once_and_in_order_or_told_as_lost(
        ops in prop::collection::vec(op(), 1..150),
        page in 1..6_usize,
        tail in prop_oneof![Just(1), Just(400), Just(1 << 20)],
        memory in prop_oneof![1 => Just(1_200), 3 => Just(1 << 30)],
        idle in prop_oneof![Just(0), Just(2), Just(30)],
    ) {
        let mut world = World::new(page, tail, memory, idle);
        for op in ops {
            world.run(op);
        }
        for who in 0..CLIENTS {
            world.take(who, usize::MAX);
            world.come_back(who);
            world.take(who, usize::MAX);
        }
    }
}
