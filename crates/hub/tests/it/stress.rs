//! Threads against each other. Nothing here depends on how long anything takes: readers go on until every channel has ended.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fantail_hub::gather::Progress;
use fantail_hub::hub::Publish;
use fantail_hub::journal::MemoryJournal;
use fantail_hub::subscription::has_ended;
use fantail_hub::{
    Batch, Channel, ChannelName, Clock, Framing, Gap, Gatherer, Hub, HubLimits, Limits, Message, Millis, NewMessage,
    Position, Profile, Render, Retention, StartAt, Subscription, Traits,
};

use crate::{due_of, now};

const PUBLISHERS: usize = 2;
/// Messages of each publisher to each of its channels.
const EACH: usize = 1500;
/// Only a lost wake-up takes that long.
const PATIENCE: Duration = Duration::from_mins(1);

/// Nothing but offsets, as lines; a gap is `gap CHANNEL OFFSET`.
struct Offsets;

impl Render for Offsets {
    fn message(&self, out: &mut Vec<u8>, _: &ChannelName, position: Position, _: u64, _: &Message) {
        out.extend_from_slice(position.offset.to_string().as_bytes());
        out.push(b'\n');
    }

    fn gap(&self, out: &mut Vec<u8>, gap: &Gap<'_>) {
        out.extend_from_slice(format!("gap {} {}\n", gap.channel, gap.lost_to.offset).as_bytes());
    }
}

fn hub(limits: Limits) -> Arc<Hub> {
    let journal = Arc::new(MemoryJournal::new(Duration::from_mins(1), 10));
    Arc::new(Hub::new(journal, Retention::new(limits, []), HubLimits::default(), Clock::manual(Millis(1000))))
}

fn everything() -> Limits {
    Limits { messages: usize::MAX, bytes: usize::MAX, ..Limits::default() }
}

fn names() -> Vec<ChannelName> {
    (0..4).map(|n| ChannelName::parse(&format!("c{n}")).unwrap()).collect()
}

fn say(hub: &Hub, channel: &ChannelName, data: &str, ends: bool) -> u64 {
    let said = NewMessage { data, event: None, id: None };
    now(hub.publish(Publish { channel, said, key: None, ends, traits: Traits::default() })).unwrap().position.offset.0
}

/// Says that nothing comes any more, also if that is because a publisher panicked.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Two publishers, each to all the channels; the last to be ready ends them. Every offset by channel.
fn publish(hub: &Hub, names: &[ChannelName], over: &AtomicBool) -> Vec<Vec<u64>> {
    let _over = Over(over);
    let publisher = || {
        let mut said = vec![Vec::new(); names.len()];
        for n in 0..EACH * names.len() {
            // Some frames larger than others, so that batches end at any place.
            let data = if n % 97 == 0 { "x".repeat(Message::LARGE + 1) } else { n.to_string() };
            said[n % names.len()].push(say(hub, &names[n % names.len()], &data, false));
        }
        said
    };
    let mut all = vec![Vec::new(); names.len()];
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..PUBLISHERS).map(|_| scope.spawn(publisher)).collect();
        for said in threads.into_iter().map(|thread| thread.join().unwrap()) {
            all.iter_mut().zip(said).for_each(|(all, said)| all.extend(said));
        }
    });
    for (all, name) in all.iter_mut().zip(names) {
        let last = say(hub, name, "last", true);
        all.extend([last, last + 1]);
        all.sort_unstable();
    }
    all
}

fn lines(batch: &Batch) -> impl Iterator<Item = &str> {
    std::str::from_utf8(&batch.bytes).unwrap().lines()
}

fn offsets(batch: &Batch) -> impl Iterator<Item = u64> {
    lines(batch).map(|line| line.parse().unwrap_or_else(|_| panic!("{line} where everything is kept")))
}

/// What a subscriber of `names` sees from `start` to the end, coming back at its last id after every `patience` batches.
fn follow(hub: &Hub, names: &[ChannelName], start: StartAt, patience: usize, over: &AtomicBool) -> Vec<u64> {
    let profile = Profile::new(Offsets);
    let mut gatherer = Gatherer::default();
    let mut seen: Vec<u64> = Vec::new();
    let begin = |start| now(hub.plan(names, start)).map(|plan| (plan.channels, plan.progress));
    let Ok((mut channels, mut progress)): Result<(Vec<Arc<Channel>>, Progress), _> = begin(start) else { return seen };
    let mut batches = 0;
    loop {
        let is_over = over.load(Ordering::SeqCst);
        let view = hub.view();
        let all = channels.iter().map(|channel| &**channel).enumerate();
        let Some(batch) = due_of(gatherer.gather(view, &all, &[], &progress, &profile, Framing::Raw)) else {
            if has_ended(channels.iter().map(|channel| &**channel), &progress) {
                return seen;
            }
            assert!(!is_over, "nothing is due, and yet it has not ended");
            std::thread::yield_now();
            continue;
        };
        // Not always all of it.
        let frames = if batches % 3 == 0 { batch.frames.len().div_ceil(2) } else { batch.frames.len() };
        seen.extend(offsets(&batch).take(frames));
        progress.advance(batch.frames[frames - 1].next);
        batches += 1;
        if batches % patience == 0 {
            let last = seen.last().unwrap();
            let id = crate::book::position(view.epoch, *last).into_bytes();
            let Ok(again) = begin(StartAt::After(id.into())) else { return seen };
            (channels, progress) = again;
        }
    }
}

fn merged(all: &[Vec<u64>], channels: &[usize]) -> Vec<u64> {
    let mut merged: Vec<_> = channels.iter().flat_map(|&channel| all[channel].iter().copied()).collect();
    merged.sort_unstable();
    merged
}

#[test]
fn readers_of_several_channels_see_everything_once_while_two_publish() {
    let (hub, names, over) = (hub(everything()), names(), &AtomicBool::new(false));
    let sets = [vec![0, 1, 2, 3], vec![1, 3], vec![2]];
    let pick = |set: &[usize]| set.iter().map(|&channel| names[channel].clone()).collect::<Vec<_>>();
    let all = std::thread::scope(|scope| {
        let follow_set = |(n, set): (usize, &Vec<usize>)| {
            let (hub, chosen) = (&hub, pick(set));
            scope.spawn(move || follow(hub, &chosen, StartAt::Oldest, n * 3 + 1, over))
        };
        let readers: Vec<_> = sets.iter().enumerate().map(follow_set).collect();
        let all = publish(&hub, &names, over);
        for (reader, set) in readers.into_iter().zip(&sets) {
            assert!(reader.join().unwrap() == merged(&all, set), "{set:?} saw something else than was said");
        }
        all
    });
    for set in &sets {
        let merged = merged(&all, set);
        for at in (0..merged.len()).step_by(331).chain([merged.len() - 2, merged.len() - 1]) {
            let id = crate::book::position(hub.journal().epoch(), merged[at]).into_bytes();
            let rest = follow(&hub, &pick(set), StartAt::After(id.into()), usize::MAX, over);
            assert!(rest == merged[at + 1..], "{set:?} behind {} got something else than the rest", merged[at]);
        }
    }
}

#[test]
fn subscriptions_are_woken_for_everything_while_two_publish() {
    let (hub, names) = (hub(everything()), names());
    let wait = || {
        let plan = now(hub.plan(&names, StartAt::Live)).unwrap();
        let profile = Arc::new(Profile::new(Offsets));
        let mut subscription = Subscription::new(Arc::clone(&hub), plan, profile, Framing::Raw);
        move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            runtime.block_on(async move {
                let mut seen = Vec::new();
                let lost = "nobody was woken";
                while let Some(batch) = tokio::time::timeout(PATIENCE, subscription.next()).await.expect(lost).unwrap()
                {
                    seen.extend(offsets(&batch));
                }
                seen
            })
        }
    };
    std::thread::scope(|scope| {
        let readers = [scope.spawn(wait()), scope.spawn(wait())];
        let all = publish(&hub, &names, &AtomicBool::new(false));
        for reader in readers {
            assert!(reader.join().unwrap() == merged(&all, &[0, 1, 2, 3]), "a subscription saw something else");
        }
    });
}

#[test]
fn readers_of_channels_that_trim_are_told_of_every_loss_while_two_publish() {
    let (hub, names, over) = (hub(Limits { messages: 3, ..Limits::default() }), names(), &AtomicBool::new(false));
    let read = || {
        // Behind nothing at all: what is lost before the reader comes is told as well.
        let id = crate::book::position(hub.journal().epoch(), 0).into_bytes();
        let plan = now(hub.plan(&names, StartAt::After(id.into()))).unwrap();
        let (mut gatherer, mut progress, profile) = (Gatherer::default(), plan.progress, Profile::new(Offsets));
        let mut seen: Vec<String> = Vec::new();
        loop {
            let is_over = over.load(Ordering::SeqCst);
            let all = plan.channels.iter().map(|channel| &**channel).enumerate();
            if let Some(batch) = due_of(gatherer.gather(hub.view(), &all, &[], &progress, &profile, Framing::Raw)) {
                seen.extend(lines(&batch).map(str::to_owned));
                progress.advance(batch.next());
            } else if has_ended(plan.channels.iter().map(|channel| &**channel), &progress) {
                return seen;
            } else {
                assert!(!is_over, "nothing is due, and yet it has not ended");
                std::thread::yield_now();
            }
        }
    };
    let (all, read) = std::thread::scope(|scope| {
        let readers = [scope.spawn(read), scope.spawn(read)];
        let all = publish(&hub, &names, over);
        (all, readers.map(|reader| reader.join().unwrap()))
    });
    for seen in read {
        let mut done = vec![0; names.len()];
        let mut wire = 0;
        for line in seen {
            let gap = line.strip_prefix("gap c").and_then(|gap| gap.split_once(' '));
            let (channel, offset) = if let Some((channel, lost_to)) = gap {
                (channel.parse().unwrap(), lost_to.parse().unwrap())
            } else {
                let offset: u64 = line.parse().unwrap();
                (all.iter().position(|all| all.binary_search(&offset).is_ok()).unwrap(), offset)
            };
            let from = all[channel].partition_point(|&other| other <= done[channel]);
            let next = all[channel][from];
            assert!(if gap.is_some() { next <= offset } else { next == offset }, "{line} where {next} is next");
            assert!(offset > wire, "{offset} after {wire}");
            (wire, done[channel]) = (offset, offset);
        }
        let last: Vec<_> = all.iter().map(|all| *all.last().unwrap()).collect();
        assert_eq!(done, last);
    }
}
