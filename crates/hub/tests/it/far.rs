//! How much is read for one who is far behind in many channels at once.

use std::sync::Arc;

use fantail_hub::gather::missing;
use fantail_hub::history::{self, Wanted};
use fantail_hub::hub::Publish;
use fantail_hub::journal::Page;
use fantail_hub::{
    ChannelName, Clock, Framing, Hub, HubLimits, Journal, Limits, Millis, NewMessage, Offset, Retention, StartAt,
    Subscription, Traits,
};

use crate::archive::Archive;
use crate::dress::{Dress, Tellings};
use crate::now;

/// What is asked for.
const BYTES: usize = 64 << 10;

fn hub(archive: &Arc<Archive>) -> Hub {
    let journal: Arc<dyn Journal> = Arc::clone(archive) as _;
    Hub::new(
        journal,
        Retention::new(Limits { messages: usize::MAX, ..Limits::default() }, []),
        HubLimits::default(),
        Clock::manual(Millis(1_000_000)),
    )
}

fn names(count: usize) -> Vec<ChannelName> {
    (0..count).map(|number| ChannelName::parse(&format!("c{number}")).unwrap()).collect()
}

fn say(hub: &Hub, channel: &ChannelName, bytes: usize) {
    let data = "x".repeat(bytes);
    let said = NewMessage { data: &data, event: None, id: None };
    now(hub.publish(Publish { channel, said, key: None, ends: false, traits: Traits::default() })).unwrap();
}

/// What a start after all this reads first for somebody who wants all of it.
fn first_pages(archive: &Arc<Archive>, names: &[ChannelName], start: StartAt) -> Vec<(usize, Page)> {
    let hub = hub(archive);
    let plan = now(hub.plan(names, start)).unwrap();
    let behind = missing(plan.channels.iter().map(|channel| &**channel).enumerate(), &plan.progress);
    let wanted: Vec<Wanted> =
        behind.into_iter().map(|(index, next)| (index, Arc::clone(&plan.channels[index]), next)).collect();
    assert_eq!(wanted.len(), names.len(), "all are behind");
    now(history::read(&hub, &wanted, BYTES)).unwrap()
}

fn cost(pages: &[(usize, Page)]) -> usize {
    pages.iter().flat_map(|(_, page)| &page.entries).map(|entry| entry.message.cost()).sum()
}

#[test]
fn pages_of_many_channels_with_large_messages_hold_little_more_than_was_asked_for() {
    let archive = Arc::new(Archive::new(usize::MAX));
    let (before, names) = (hub(&archive), names(64));
    for _ in 0..3 {
        // The last is the oldest: what is read first is what is sent last.
        for name in names.iter().rev() {
            say(&before, name, 100_000);
        }
    }
    for start in [StartAt::Oldest, StartAt::Last(3), StartAt::Last(1)] {
        let pages = first_pages(&archive, &names, start.clone());
        assert!(cost(&pages) <= 3 * 101_000, "{} bytes for {start:?}", cost(&pages));
        let ends = pages.iter().map(|(_, page)| page.until).min().unwrap();
        let first = pages.iter().flat_map(|(_, page)| &page.entries).map(|entry| entry.offset).min();
        assert!(first.is_some_and(|first| first <= ends), "nothing of it can be gathered for {start:?}");
    }
}

#[test]
fn pages_beside_silent_channels_are_as_long_as_alone() {
    let archive = Arc::new(Archive::new(usize::MAX));
    let (before, names) = (hub(&archive), names(64));
    for name in &names {
        say(&before, name, 1);
    }
    (0..5000).for_each(|_| say(&before, &names[40], 100));
    let before = archive.reads();
    let pages = first_pages(&archive, &names, StartAt::Oldest);
    let ends = pages.iter().map(|(_, page)| page.until).min().unwrap();
    let due = pages.iter().flat_map(|(_, page)| &page.entries).filter(|entry| entry.offset <= ends);
    let due: usize = due.map(|entry| entry.message.cost()).sum();
    assert!(due > BYTES / 2, "{due} bytes can be gathered, up to {ends}");
    assert!(archive.reads() - before <= 64 + 4, "{} reads", archive.reads() - before);
}

#[test]
fn pages_of_channels_of_unlike_density_come_to_about_what_was_asked_for() {
    let archive = Arc::new(Archive::new(usize::MAX));
    let (before, names) = (hub(&archive), names(16));
    for turn in 0..4000 {
        say(&before, &names[0], 100);
        if turn % 3 == 0 {
            say(&before, &names[1], 100);
        }
        if turn % 500 == 0 {
            say(&before, &names[2], 100);
        }
    }
    let pages = first_pages(&archive, &names, StartAt::Oldest);
    let ends = pages.iter().map(|(_, page)| page.until).min().unwrap();
    let due = pages.iter().flat_map(|(_, page)| &page.entries).filter(|entry| entry.offset <= ends);
    let due: usize = due.map(|entry| entry.message.cost()).sum();
    assert!(due > BYTES / 2 && ends > Offset(0), "{due} bytes can be gathered, up to {ends}");
    assert!(cost(&pages) <= BYTES + BYTES / 8, "{} bytes", cost(&pages));
}

#[test]
fn gathering_beside_silent_channels_takes_what_was_read_at_once() {
    let archive = Arc::new(Archive::new(usize::MAX));
    let (before, names) = (hub(&archive), names(64));
    for name in &names {
        say(&before, name, 1);
    }
    (0..5000).for_each(|_| say(&before, &names[40], 100));
    let after = Arc::new(hub(&archive));
    let plan = now(after.plan(&names, StartAt::Oldest)).unwrap();
    let mut subscription = Subscription::new(after, plan, Dress::profile(true, &Tellings::default()), Framing::Raw);
    let batch = now(subscription.next()).unwrap().unwrap();
    assert!(batch.messages > 200, "{} messages", batch.messages);
}
