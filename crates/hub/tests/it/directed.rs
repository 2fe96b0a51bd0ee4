//! Single cases: the faults that the model or the threads found, and moments between two threads, held still.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Waker};
use std::time::Duration;

use fantail_hub::channel::{Addition, Draft};
use fantail_hub::gather::View;
use fantail_hub::hub::Publish;
use fantail_hub::journal::{
    Append, AppendError, Head, Journal, MemoryJournal, Page, Pending, ReadError, Receipt, Seek,
};
use fantail_hub::subscription::{has_ended, is_broken};
use fantail_hub::{
    Batch, Channel, ChannelEnd, ChannelName, Clock, Epoch, Framing, Gap, Gatherer, Hub, HubLimits, Kind, Limits,
    Message, Millis, NewMessage, Observer, Offset, Position, Profile, PublishError, Render, Retention, StartAt,
    SubscribeError, Subscription, Traits,
};
use fantail_sse::EventId;

use crate::dress::{Dress, Tellings};
use crate::{due_of, now};

fn hub(limits: Limits) -> Hub {
    let journal = Arc::new(MemoryJournal::new(Duration::from_mins(1), 10));
    Hub::new(journal, Retention::new(limits, []), HubLimits::default(), Clock::manual(Millis(1_000_000)))
}

fn names<const N: usize>(names: [&str; N]) -> [ChannelName; N] {
    names.map(|name| ChannelName::parse(name).unwrap())
}

fn say(hub: &Hub, channel: &ChannelName, data: &str, ends: bool) {
    let said = NewMessage { data, event: None, id: None };
    now(hub.publish(Publish { channel, said, key: None, ends, traits: Traits::default() })).unwrap();
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
        let batch = due_of(Gatherer::default().gather(hub.view(), &channels, &[], &progress, &profile, Framing::Raw))?;
        progress.advance(batch.next());
        Some((batch.messages, batch.full))
    };
    assert_eq!([due(), due(), due()], [Some((512, true)), Some((1, false)), None]);
}

/// Shows data as it is; what begins with "close" closes.
struct Closing;

impl Render for Closing {
    fn message(&self, out: &mut Vec<u8>, _: &ChannelName, _: Position, _: u64, message: &Message) {
        out.extend_from_slice(message.data().as_bytes());
    }

    fn gap(&self, _: &mut Vec<u8>, _: &Gap<'_>) {}

    fn closes(&self, _: &ChannelName, message: &Message) -> bool {
        message.data().starts_with("close")
    }
}

#[test]
fn message_that_closes_is_a_subscribers_last_and_not_the_channels() {
    for close in ["close".to_owned(), format!("close{}", "x".repeat(Message::LARGE))] {
        let hub = Arc::new(hub(Limits::default()));
        let [a] = names(["a"]);
        for data in ["1", &close, "2"] {
            say(&hub, &a, data, false);
        }
        let profile = Arc::new(Profile::new(Closing));
        let subscribe = |start| {
            let plan = now(hub.plan(std::slice::from_ref(&a), start)).unwrap();
            Subscription::new(Arc::clone(&hub), plan, Arc::clone(&profile), Framing::Raw)
        };
        let mut first = subscribe(StartAt::Oldest);
        let mut said = Vec::new();
        let mut closed = false;
        while let Some(batch) = first.take() {
            assert!(!closed, "nothing comes behind it");
            said.extend_from_slice(&batch.bytes);
            closed = batch.closes;
            assert!(batch.full || !closed, "what stands behind it is left for others");
        }
        assert_eq!((String::from_utf8(said).unwrap(), closed), (format!("1{close}"), true));
        assert!(first.has_ended() && now(first.next()).unwrap().is_none());
        let behind = subscribe(StartAt::Last(1)).take().unwrap();
        assert_eq!((&*behind.bytes, behind.closes), (&b"2"[..], false));
    }
}

/// Shows data as it is; a channel that has ended is left.
struct Leaving;

impl Render for Leaving {
    fn message(&self, out: &mut Vec<u8>, _: &ChannelName, _: Position, _: u64, message: &Message) {
        out.extend_from_slice(message.data().as_bytes());
    }

    fn gap(&self, _: &mut Vec<u8>, _: &Gap<'_>) {}

    fn leaves_ends(&self) -> bool {
        true
    }

    fn forgets_ends(&self) -> bool {
        true
    }
}

/// Also what was said behind the end before the subscriber came to it is not for it; the other channels' places stay theirs.
#[test]
fn channel_that_has_ended_is_left_and_the_others_go_on() {
    for last_word in ["end".to_owned(), format!("end{}", "x".repeat(Message::LARGE))] {
        let hub = Arc::new(hub(Limits::default()));
        let all = names(["a", "b", "c"]);
        let [a, b, c] = &all;
        for name in &all {
            say(&hub, name, "before ", false);
        }
        // From a's end on, b from its beginning, c from what comes: places that outlast the leaving.
        let mut starts = [None, Some(1), None].into_iter();
        let plan = hub.plan_each(&all, |_| starts.next().flatten()).unwrap();
        let mut subscription = Subscription::new(Arc::clone(&hub), plan, Arc::new(Profile::new(Leaving)), Framing::Raw);
        now(hub.delete(a, &last_word, false)).unwrap();
        now(hub.reopen(a)).unwrap();
        say(&hub, a, "again ", false);
        say(&hub, c, "c ", false);
        let mut said = Vec::new();
        let mut left = Vec::new();
        let mut take = |subscription: &mut Subscription| {
            while let Some(batch) = subscription.take() {
                said.extend_from_slice(&batch.bytes);
                assert!(left.len() < 3 && (batch.left.is_none() || batch.ends));
                left.extend(batch.left.map(|name| name.to_string()));
            }
            (String::from_utf8(std::mem::take(&mut said)).unwrap(), left.clone())
        };
        assert_eq!(take(&mut subscription), (format!("before {last_word}c "), vec!["a".to_owned()]));
        let subscribers = |name| hub.find(name).map(|channel| channel.info().subscribers);
        assert_eq!((subscribers(a), subscribers(b)), (Some(0), Some(1)));
        now(hub.delete(c, "c's end", false)).unwrap();
        say(&hub, b, "b ", false);
        assert_eq!(take(&mut subscription).0, "c's endb ");
        assert!(!subscription.has_ended());
        now(hub.delete(b, "b's end", false)).unwrap();
        assert_eq!(take(&mut subscription), ("b's end".to_owned(), ["a", "c", "b"].map(str::to_owned).to_vec()));
        assert!(subscription.has_ended() && now(subscription.next()).unwrap().is_none());
    }
}

#[test]
fn plan_each_begins_in_each_channel_where_it_is_told() {
    let hub = Arc::new(hub(Limits::default()));
    let all = names(["a", "b", "c"]);
    for n in 1..=3 {
        for name in &all {
            say(&hub, name, &format!("{name}{n} "), false);
        }
    }
    // Behind a2, from the first of b on, and c from now on.
    let next = |channel: &Channel| match channel.name().as_str() {
        "a" => channel.read(|tail| tail.from(0).nth(2).map(|entry| entry.offset.0)),
        "b" => Some(1),
        _ => None,
    };
    let plan = hub.plan_each(&all, next).unwrap();
    assert_eq!(plan.announce, None);
    let mut subscription = Subscription::new(Arc::clone(&hub), plan, Arc::new(Profile::new(Closing)), Framing::Raw);
    let mut due = || String::from_utf8(subscription.take().unwrap().bytes.to_vec()).unwrap();
    assert_eq!(due(), "b1 b2 a3 b3 ");
    for name in &all {
        say(&hub, name, &format!("{name}4 "), false);
    }
    assert_eq!(due(), "a4 b4 c4 ");
    let live = hub.plan_each(&all, |_| None).unwrap();
    assert!(live.progress.is_plain(), "who begins live everywhere is like all others");
}

#[test]
fn due_does_not_wait_for_what_is_not_there() {
    let hub = Arc::new(hub(Limits::default()));
    let [a] = names(["a"]);
    let plan = now(hub.plan(std::slice::from_ref(&a), StartAt::Live)).unwrap();
    let mut subscription = Subscription::new(Arc::clone(&hub), plan, Arc::new(Profile::new(Closing)), Framing::Raw);
    assert!(now(subscription.due()).unwrap().is_none());
    say(&hub, &a, "1", true);
    assert_eq!(now(subscription.due()).unwrap().map(|batch| batch.messages), Some(2));
    assert!(now(subscription.due()).unwrap().is_none());
    assert!(now(subscription.next()).unwrap().is_none(), "it has ended");
}

/// A client that has seen all that came before a source broke off must not take it for the whole.
#[test]
fn start_behind_everything_in_a_broken_channel_gets_its_end_again() {
    for (end, gone) in [(ChannelEnd::Clean, false), (ChannelEnd::Broken, false), (ChannelEnd::Broken, true)] {
        let hub = hub(Limits::default());
        let name = ChannelName::internal("kept", 1);
        say(&hub, &name, "x", false);
        let channel = hub.find(&name).unwrap();
        now(hub.close(&channel, end));
        if gone {
            hub.clear(&channel);
            assert_eq!(hub.held(), 0);
        }
        for start in [StartAt::Live, StartAt::Last(0)] {
            let plan = now(hub.plan(std::slice::from_ref(&name), start));
            if end == ChannelEnd::Clean {
                assert_eq!(plan.unwrap_err(), SubscribeError::Ended);
                continue;
            }
            let plan = plan.unwrap();
            let profile = Dress::profile(true, &Tellings::default());
            let channels = [(0, &*channel)].into_iter();
            let mut gatherer = Gatherer::default();
            let batch = gatherer.gather(hub.view(), &channels, &[], &plan.progress, &profile, Framing::Raw);
            let batch = due_of(batch).unwrap();
            assert_eq!((batch.ends, batch.gaps), (!gone, gone.into()));
            let mut progress = plan.progress;
            progress.advance(batch.next());
            let channels = || [&*channel].into_iter();
            assert!(has_ended(channels(), &progress) && is_broken(channels()));
        }
    }
}

#[test]
fn start_behind_an_id_of_another_hub_is_found_where_it_is_kept() {
    let hub = hub(Limits::default());
    let id = EventId::parse("~1.abc.7").unwrap();
    let said = NewMessage { data: "x", event: None, id: Some(&id) };
    let publish = |channel: &ChannelName| {
        now(hub.publish(Publish { channel, said, key: None, ends: false, traits: Traits::default() }))
    };
    let name = ChannelName::internal("kept", 1);
    publish(&name).unwrap();
    let plan = now(hub.plan(&[name], StartAt::After(id.as_str().as_bytes().into()))).unwrap();
    assert_eq!(plan.progress.cursor().seen(), Some(Offset(1)));
    assert_eq!(plan.announce, None, "the client keeps the id that it has");
    let [a] = names(["a"]);
    assert_eq!(publish(&a), Err(PublishError::ReservedId), "nobody may publish such ids from outside");
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

#[test]
fn append_under_way_is_not_overlooked_by_who_saw_its_offset_counted() {
    let hub = hub(Limits::default());
    let [a, b] = names(["a", "b"]);
    let channels = now(hub.plan(&[a, b], StartAt::Live)).unwrap().channels;
    let said = NewMessage { data: "x", event: None, id: None };
    let addition = Addition { said, kind: Kind::Data, then_end: false, clears: false, traits: Traits::default() };
    let append = |channel: &Channel, next: &dyn Fn() -> Offset| {
        channel.append(&Draft::new(addition, Millis(1)), Limits::default(), next);
    };
    append(&channels[0], &|| {
        // The first offset is taken, and before its message is there the second is taken and its message is.
        append(&channels[1], &|| Offset(2));
        assert!(channels[0].reaches(1) && channels[1].reaches(1), "a reader who skips one of them loses a message");
        Offset(1)
    });
    assert!(channels[0].reaches(1) && !channels[0].reaches(2) && channels[1].reaches(2));
}

#[test]
fn gather_of_several_channels_stops_at_the_view() {
    let hub = hub(Limits { messages: 1, ..Limits::default() });
    let both = names(["a", "b"]);
    let mut plan = now(hub.plan(&both, StartAt::Live)).unwrap();
    // Offsets 1 to 4. The first is trimmed by the third and that by the fourth, both after a reader has loaded the counter.
    for name in [&both[0], &both[1], &both[0], &both[0]] {
        say(&hub, name, "x", false);
    }
    let told = Tellings::default();
    let profile = Dress::profile(false, &told);
    let channels = plan.channels.iter().map(|channel| &**channel).enumerate();
    let mut due = |until| {
        let view = View { until: Offset(until), ..hub.view() };
        let batch = due_of(Gatherer::default().gather(view, &channels, &[], &plan.progress, &profile, Framing::Raw))?;
        plan.progress.advance(batch.next());
        Some((batch.gaps, batch.messages, batch.next().next()))
    };
    assert_eq!(due(1), None, "what is lost ends beyond the view");
    assert_eq!(due(2), Some((0, 1, 3)));
    assert_eq!(due(3), Some((1, 0, 4)));
    assert_eq!(due(4), Some((0, 1, 5)));
    assert_eq!(told.take().len(), 1);
}

/// A memory journal that takes its time to say that it has accepted a large message.
struct Slow(MemoryJournal);

impl Journal for Slow {
    fn describe(&self) -> String {
        "slow".to_owned()
    }

    fn epoch(&self) -> Epoch {
        self.0.epoch()
    }

    fn counter(&self) -> Offset {
        self.0.counter()
    }

    fn append<'a>(&'a self, batch: &'a [Append<'a>]) -> Pending<'a, Vec<Result<Receipt, AppendError>>> {
        Box::pin(async move {
            let receipts = self.0.append(batch).await;
            if batch.iter().any(|one| one.addition.said.data.len() > 1000) {
                tokio::task::yield_now().await;
            }
            receipts
        })
    }

    fn stores(&self) -> bool {
        self.0.stores()
    }

    fn health(&self) -> Result<(), AppendError> {
        self.0.health()
    }

    fn read<'a>(
        &'a self,
        channel: &'a Channel,
        next: u64,
        until: Offset,
        bytes: usize,
    ) -> Pending<'a, Result<Page, ReadError>> {
        self.0.read(channel, next, until, bytes)
    }

    fn find<'a>(&'a self, channel: &'a Channel, what: Seek<'a>) -> Pending<'a, Result<Option<u64>, ReadError>> {
        self.0.find(channel, what)
    }

    fn head<'a>(&'a self, channel: &'a Channel) -> Pending<'a, Result<Head, ReadError>> {
        self.0.head(channel)
    }
}

#[test]
fn message_that_is_trimmed_before_it_is_counted_does_not_make_the_hub_look_full() {
    let journal = Arc::new(Slow(MemoryJournal::new(Duration::from_mins(1), 10)));
    let retention = Retention::new(Limits { messages: 1, ..Limits::default() }, []);
    let hub = Hub::new(journal, retention, HubLimits::default(), Clock::manual(Millis(1_000_000)));
    let [bystander, busy] = names(["bystander", "busy"]);
    say(&hub, &bystander, "kept", false);
    let large = "x".repeat(100_000);
    let said = NewMessage { data: &large, event: None, id: None };
    let mut first = std::pin::pin!(hub.publish(Publish {
        channel: &busy,
        said,
        key: None,
        ends: false,
        traits: Traits::default()
    }));
    assert!(first.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    say(&hub, &busy, "", false);
    now(first).unwrap();
    let held: usize = [&bystander, &busy].map(|name| hub.find(name).unwrap().info().bytes).iter().sum();
    assert_eq!(hub.counters().bytes.load(Ordering::Relaxed), held);
    assert_eq!(hub.counters().evicted.load(Ordering::Relaxed), 0, "there is room for everything");
}

/// Shows the number and the data of each.
struct Numbers;

impl Render for Numbers {
    fn message(&self, out: &mut Vec<u8>, _: &ChannelName, _: Position, number: u64, message: &Message) {
        out.extend_from_slice(format!("{number}{} ", message.data()).as_bytes());
    }

    fn gap(&self, _: &mut Vec<u8>, _: &Gap<'_>) {}

    fn forgets_ends(&self) -> bool {
        true
    }
}

#[test]
fn transient_message_is_for_the_connected_and_for_those_just_cut_off() {
    let hub = Arc::new(hub(Limits::default()));
    let [a] = names(["a"]);
    let subscribe = |start| {
        let plan = now(hub.plan(std::slice::from_ref(&a), start)).unwrap();
        let announced = plan.announce;
        let subscription = Subscription::new(Arc::clone(&hub), plan, Arc::new(Profile::new(Numbers)), Framing::Raw);
        (subscription, announced)
    };
    let taken = |(subscription, _): &mut (Subscription, _)| {
        subscription.take().map(|batch| String::from_utf8(batch.bytes.to_vec()).unwrap()).unwrap_or_default()
    };
    let mut live = subscribe(StartAt::Live);
    for (data, transient) in [("kept", false), ("passing", true), ("kept", false), ("passing", true)] {
        let said = NewMessage { data, event: None, id: None };
        let traits = Traits { transient, bytes: false };
        now(hub.publish(Publish { channel: &a, said, key: None, ends: false, traits })).unwrap();
    }
    assert_eq!(taken(&mut live), "1kept 2passing 3kept 4passing ");
    for (start, seen) in
        [(StartAt::Oldest, "1kept 3kept "), (StartAt::Last(1), "3kept "), (StartAt::Last(9), "1kept 3kept ")]
    {
        assert_eq!(taken(&mut subscribe(start.clone())), seen, "{start:?}");
    }
    let id = live.1.unwrap().to_string().into_bytes();
    assert_eq!(taken(&mut subscribe(StartAt::After(id.into()))), "1kept 2passing 3kept 4passing ");
    let info = hub.find(&a).unwrap().info();
    assert_eq!((info.messages, info.transient, info.numbered), (4, 2, 4));
    // The newest one goes with the others of its sort, once it is the oldest.
    hub.clock().advance(Limits::default().age);
    hub.maintain();
    assert_eq!(hub.find(&a).map(|channel| channel.info().transient), Some(0));
}

#[test]
fn numbers_begin_anew_behind_an_end_that_cleared_the_channel() {
    let hub = Arc::new(hub(Limits::default()));
    let [a] = names(["a"]);
    let plan = now(hub.plan(std::slice::from_ref(&a), StartAt::Live)).unwrap();
    let mut live = Subscription::new(Arc::clone(&hub), plan, Arc::new(Profile::new(Numbers)), Framing::Raw);
    say(&hub, &a, "x", false);
    say(&hub, &a, "y", false);
    now(hub.end(&a, "gone")).unwrap();
    say(&hub, &a, "z", false);
    let mut all = String::new();
    while let Some(batch) = live.take() {
        all.push_str(std::str::from_utf8(&batch.bytes).unwrap());
    }
    assert_eq!(all, "0gone 1z ", "what was dropped by the end is not delivered");
}

/// What a subscription is told from here on, as one text.
fn taken(subscription: &mut Subscription) -> String {
    let mut all = String::new();
    while let Some(batch) = subscription.take() {
        all.push_str(std::str::from_utf8(&batch.bytes).unwrap());
    }
    all
}

#[test]
fn reopened_channel_is_new_for_newcomers_and_ended_for_laggards() {
    let hub = Arc::new(hub(Limits::default()));
    let [a] = names(["a"]);
    let subscribe = |start| {
        let plan = now(hub.plan(std::slice::from_ref(&a), start)).unwrap();
        Subscription::new(Arc::clone(&hub), plan, Arc::new(Profile::new(Numbers)), Framing::Raw)
    };
    let mut laggard = subscribe(StartAt::Live);
    say(&hub, &a, "x", false);
    now(hub.delete(&a, "gone", false)).unwrap();
    assert_eq!(taken(&mut subscribe(StartAt::Oldest)), "0gone ", "as long as it is not opened again");
    let held = now(hub.reopen(&a)).unwrap();
    for start in [StartAt::Live, StartAt::Last(5), StartAt::Oldest, StartAt::After(b"unknown".as_slice().into())] {
        let mut newcomer = subscribe(start.clone());
        assert_eq!((taken(&mut newcomer).as_str(), newcomer.has_ended()), ("", false), "{start:?}");
        say(&hub, &a, "y", false);
        assert_eq!(taken(&mut newcomer).chars().skip(1).collect::<String>(), "y ", "{start:?}");
        now(hub.delete(&a, "gone", false)).unwrap();
        assert_eq!((taken(&mut newcomer).as_str(), newcomer.has_ended()), ("0gone ", true), "{start:?}");
        now(hub.reopen(&a)).unwrap();
    }
    assert!(taken(&mut laggard).ends_with("0gone "));
    assert!(!held.info().ended);
}

#[test]
fn deleted_channel_goes_soon_whatever_was_due_before() {
    let hub = hub(Limits::default());
    let [a] = names(["a"]);
    say(&hub, &a, "x", false);
    // From here on its next look would be when "x" is too old.
    hub.clock().advance(Duration::from_secs(40));
    hub.maintain();
    now(hub.delete(&a, "gone", false)).unwrap();
    hub.clock().advance(Duration::from_secs(29));
    hub.maintain();
    assert_eq!(hub.find(&a).map(|channel| (channel.info().ended, channel.info().transient)), Some((true, 1)));
    for _ in 0..3 {
        hub.clock().advance(Duration::from_secs(1));
        hub.maintain();
    }
    assert!(hub.find(&a).is_none());
}

#[test]
fn observer_is_told_of_every_channel_in_turn() {
    struct Notes(parking_lot::Mutex<Vec<String>>);

    impl Observer for Notes {
        fn made(&self, name: &ChannelName, _: bool) {
            self.0.lock().push(format!("+{name}"));
        }

        fn collected(&self, name: &ChannelName, _: bool) {
            self.0.lock().push(format!("-{name}"));
        }
    }

    let notes = Arc::new(Notes(parking_lot::Mutex::default()));
    let hub = hub(Limits::default()).observed_by(Arc::clone(&notes) as _);
    let [a, b] = names(["a", "b"]);
    for name in [&a, &b, &a] {
        hub.open(name).unwrap();
    }
    let mut order = Vec::new();
    hub.each(|channel| order.push((channel.born(), channel.name().to_string())));
    order.sort_unstable();
    assert_eq!(order, [(0, "a".to_owned()), (1, "b".to_owned())]);
    hub.clock().advance(HubLimits::default().channel_idle);
    hub.maintain();
    hub.open(&a).unwrap();
    let told = notes.0.lock().clone();
    assert_eq!(told[..2], ["+a", "+b"]);
    assert_eq!(told.len(), 5);
    assert!(told[2..4].contains(&"-a".to_owned()) && told[4] == "+a", "{told:?}");
}
