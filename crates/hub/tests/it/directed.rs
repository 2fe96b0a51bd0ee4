//! Single cases, one for each fault that the model or the threads found.

use std::sync::Arc;
use std::time::Duration;

use fantail_hub::hub::Publish;
use fantail_hub::journal::MemoryJournal;
use fantail_hub::subscription::has_ended;
use fantail_hub::{
    Batch, Channel, ChannelName, Clock, Framing, Gatherer, Hub, HubLimits, Limits, Millis, NewMessage, Retention,
    StartAt, SubscribeError,
};

use crate::dress::{Dress, Tellings};
use crate::now;

fn hub(limits: Limits) -> Hub {
    let journal = Arc::new(MemoryJournal::new(Duration::from_mins(1), 10));
    Hub::new(journal, Retention::new(limits, []), HubLimits::default(), Clock::manual(Millis(1_000_000)))
}

fn names<const N: usize>(names: [&str; N]) -> [ChannelName; N] {
    names.map(|name| ChannelName::parse(name).unwrap())
}

fn say(hub: &Hub, channel: &ChannelName, data: &str, ends: bool) {
    let said = NewMessage { data, event: None, id: None };
    now(hub.publish(Publish { channel, said, key: None, ends })).unwrap();
}

#[test]
fn gather_that_leaves_messages_out_of_its_room_says_that_it_is_full() {
    let hub = hub(Limits::default());
    let [a] = names(["a"]);
    // What messages cost is more than what their frames take: the room is used up before the bytes are.
    (0..=Batch::MAX_BYTES / 128).for_each(|_| say(&hub, &a, "", false));
    let plan = now(hub.plan(&[a], StartAt::Oldest)).unwrap();
    let profile = Dress::profile(false, &Tellings::default());
    let channels = plan.channels.iter().map(|channel| &**channel).enumerate();
    let mut progress = plan.progress;
    let mut due = || {
        let batch = Gatherer::default().gather(hub.view(), &channels, &progress, &profile, Framing::Raw)?;
        progress.advance(batch.next());
        Some((batch.messages, batch.full))
    };
    assert_eq!([due(), due(), due()], [Some((512, true)), Some((1, false)), None]);
}

#[test]
fn start_behind_everything_in_ended_channels_is_over() {
    let hub = hub(Limits::default());
    let [a, b] = names(["a", "b"]);
    say(&hub, &a, "x", true);
    say(&hub, &b, "x", true);
    for start in [StartAt::Last(0), StartAt::Since(Millis(2_000_000)), StartAt::Live] {
        let both = [a.clone(), b.clone()];
        assert_eq!(now(hub.plan(&both, start.clone())).unwrap_err(), SubscribeError::Ended, "{start:?}");
    }
    let plan = now(hub.plan(&[a, b], StartAt::Last(1))).unwrap();
    let channels: Vec<&Channel> = plan.channels.iter().map(|channel| &**channel).collect();
    assert!(!has_ended(channels.into_iter(), &plan.progress), "two ends are due");
}

#[test]
fn age_below_the_idle_time_is_kept_from_the_first_message_on() {
    let hub = hub(Limits { age: Duration::from_secs(2), ..Limits::default() });
    let [a] = names(["a"]);
    let messages = || hub.find(&a).map_or(0, |channel| channel.info().messages);
    for idle in [0, 5, 12] {
        hub.clock().advance(Duration::from_secs(idle));
        hub.maintain();
        say(&hub, &a, "x", false);
        assert_eq!(messages(), 1);
        hub.clock().advance(Duration::from_secs(3));
        hub.maintain();
        assert_eq!(messages(), 0, "after {idle} idle seconds");
    }
}

#[test]
fn end_of_a_channel_without_a_limit_of_messages_keeps_them() {
    let hub = hub(Limits { messages: usize::MAX, ..Limits::default() });
    let [a] = names(["a"]);
    say(&hub, &a, "x", true);
    assert_eq!(hub.find(&a).unwrap().info().messages, 2);
}
