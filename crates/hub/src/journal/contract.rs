//! What every journal promises, as a suite that each implementation runs against its real engine.

use std::future::Future;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use fantail_sse::EventId;

use super::{Append, AppendError, Head, Journal, Page, Receipt, Seek};
use crate::channel::{Addition, Channel};
use crate::clock::Millis;
use crate::idempotency::IdempotencyKey;
use crate::message::{Kind, Message, NewMessage, Traits};
use crate::name::ChannelName;
use crate::retention::{Limits, Retention};
use crate::tail::Tail;

/// Runs the whole suite, with a new journal from `make` for each case. Panics at the first promise that is not kept.
///
/// # Panics
/// If the journal breaks the contract.
pub fn run(make: impl Fn() -> Arc<dyn Journal>) {
    for case in [
        offsets_grow_within_and_across_channels,
        accepted_entries_are_visible_in_their_channel_at_once,
        a_key_publishes_once_and_refuses_other_content,
        concurrent_requests_with_one_key_publish_once,
        reading_is_bounded_ordered_and_starts_where_asked,
        finding_stands_before_the_first_wanted_entry,
        clearing_drops_what_is_older_and_raises_the_floor,
        ending_with_a_message_is_one_step,
        concurrent_appends_never_hide_an_offset_below_the_counter,
    ] {
        case(&*make());
    }
    assert_ne!(make().epoch(), make().epoch(), "two empty journals share no epoch");
}

/// Waits for a future without a runtime: journals may finish on threads of their own.
fn wait<T>(future: impl Future<Output = T>) -> T {
    let mut future = Box::pin(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(value) => return value,
            Poll::Pending => std::thread::yield_now(),
        }
    }
}

fn channel(journal: &dyn Journal, name: &str) -> Arc<Channel> {
    let retention = Retention::new(Limits::default(), []);
    let name = ChannelName::parse(name).expect("a valid name");
    Arc::new(Channel::new(name, retention.rule(""), journal.stores(), journal.counter(), Millis(0)))
}

fn read(journal: &dyn Journal, channel: &Channel, next: u64, bytes: usize) -> Page {
    let page = wait(journal.read(channel, next, crate::Offset(u64::MAX), bytes)).expect("the journal can be read");
    assert!(page.next == next && page.entries.is_sorted_by_key(|entry| entry.offset), "{page:?}");
    assert!(page.entries.iter().all(|entry| (next..=page.until.0).contains(&entry.offset.0)), "{page:?}");
    assert!(page.entries.iter().all(|entry| page.lost.is_none_or(|lost| lost < entry.offset)), "{page:?}");
    page
}

fn head(journal: &dyn Journal, channel: &Channel) -> Head {
    wait(journal.head(channel)).expect("the journal can be read")
}

fn says(data: &str) -> Addition<'_> {
    let said = NewMessage { data, event: None, id: None };
    Addition { said, kind: Kind::Data, then_end: false, clears: false, traits: Traits::default() }
}

fn request<'a>(channel: &'a Arc<Channel>, addition: Addition<'a>, now: u64) -> Append<'a> {
    Append { channel, addition, limits: Limits::default(), key: None, now: Millis(now) }
}

fn append(journal: &dyn Journal, channel: &Arc<Channel>, addition: Addition<'_>, now: u64) -> Receipt {
    wait(journal.append(&[request(channel, addition, now)]))[0].clone().expect("accepted")
}

fn offsets_grow_within_and_across_channels(journal: &dyn Journal) {
    let (a, b) = (channel(journal, "a"), channel(journal, "b"));
    let batch: Vec<_> = [&a, &b, &a, &b].map(|channel| request(channel, says("x"), 1)).into();
    let receipts: Vec<_> = wait(journal.append(&batch)).into_iter().map(|r| r.expect("accepted")).collect();
    assert!(receipts.is_sorted_by(|x, y| x.position.offset < y.position.offset), "a batch is applied in order");
    assert!(receipts.iter().all(|receipt| receipt.position.epoch == journal.epoch()));
    assert!(receipts[3].position.offset <= journal.counter());
    let again = append(journal, &a, says("y"), 2);
    assert!(again.position.offset > receipts[3].position.offset);
}

fn accepted_entries_are_visible_in_their_channel_at_once(journal: &dyn Journal) {
    let a = channel(journal, "a");
    for n in 1..=3 {
        let receipt = append(journal, &a, says("x"), n);
        assert!(a.reaches(receipt.position.offset.0));
        assert_eq!(a.info().last, receipt.position.offset);
        assert_eq!(head(journal, &a).last, receipt.position.offset);
    }
    assert!(!a.reaches(journal.counter().0 + 1));
}

fn a_key_publishes_once_and_refuses_other_content(journal: &dyn Journal) {
    let (a, b) = (channel(journal, "a"), channel(journal, "b"));
    let key = IdempotencyKey::parse(b"k").expect("a valid key");
    let with_key = |channel, addition| Append { key: Some(&key), ..request(channel, addition, 1) };
    let batch = [with_key(&a, says("x")), with_key(&a, says("x")), with_key(&a, says("y")), with_key(&b, says("y"))];
    let answers = wait(journal.append(&batch));
    let first = answers[0].clone().expect("accepted");
    assert!(!first.duplicate);
    let second = answers[1].clone().expect("the same again is answered like the first");
    assert_eq!((second.duplicate, second.position), (true, first.position));
    assert_eq!(answers[2], Err(AppendError::KeyReused));
    assert!(!answers[3].clone().expect("a key is per channel").duplicate);
    assert_eq!(a.info().appended, 1);
}

fn concurrent_requests_with_one_key_publish_once(journal: &dyn Journal) {
    let a = channel(journal, "a");
    let key = IdempotencyKey::parse(b"k").expect("a valid key");
    let offsets: Vec<_> = std::thread::scope(|scope| {
        let publish = || {
            let one = Append { key: Some(&key), ..request(&a, says("x"), 1) };
            wait(journal.append(&[one]))[0].clone().expect("accepted").position.offset
        };
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(publish)).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    });
    assert!(offsets.iter().all(|offset| *offset == offsets[0]), "{offsets:?}");
    assert_eq!(a.info().appended, 1);
}

fn reading_is_bounded_ordered_and_starts_where_asked(journal: &dyn Journal) {
    let (a, b) = (channel(journal, "a"), channel(journal, "b"));
    let mut offsets = Vec::new();
    for n in 0..10 {
        offsets.push(append(journal, &a, says(&n.to_string()), n).position.offset);
        append(journal, &b, says("other"), n);
    }
    let page = read(journal, &a, offsets[3].0, 4 * (Message::OVERHEAD + 1));
    assert_eq!(page.entries.iter().map(|entry| entry.offset).collect::<Vec<_>>(), offsets[3..7]);
    assert_eq!(page.entries.iter().map(|entry| entry.message.data()).collect::<Vec<_>>(), ["3", "4", "5", "6"]);
    assert_eq!((page.lost, page.until), (None, offsets[6]));
    let page = read(journal, &a, offsets[3].0, 1);
    assert_eq!(page.until, offsets[3], "at least one entry is given");
    let page = read(journal, &a, offsets[9].0 + 1, 1 << 20);
    assert!(page.entries.is_empty() && page.lost.is_none());
}

fn finding_stands_before_the_first_wanted_entry(journal: &dyn Journal) {
    let a = channel(journal, "a");
    let ids = ["one", "two", "one"].map(|id| EventId::parse(id).expect("a valid id"));
    let mut offsets = Vec::new();
    for (n, id) in (1..).zip(&ids) {
        let said = NewMessage { id: Some(id), ..says("x").said };
        offsets.push(append(journal, &a, Addition { said, ..says("x") }, n * 1000).position.offset.0);
    }
    let find = |what| wait(journal.find(&a, what)).expect("the journal can be read");
    assert_eq!(find(Seek::Id("one")), Some(offsets[2] + 1), "of equal ids the newest counts");
    assert_eq!(find(Seek::Id("two")), Some(offsets[1] + 1));
    assert_eq!(find(Seek::Id("three")), None);
    assert_eq!(find(Seek::Last(1)), Some(offsets[2]));
    assert_eq!(find(Seek::Last(0)), Some(offsets[2] + 1));
    assert!(find(Seek::Last(100)).is_some_and(|next| next <= offsets[0]));
    assert!(find(Seek::Oldest).is_some_and(|next| next <= offsets[0]));
    assert_eq!(find(Seek::Time(Millis(1001))), Some(offsets[1]));
    assert!(find(Seek::Time(Millis(9000))).is_some_and(|next| next > offsets[2]));
}

fn clearing_drops_what_is_older_and_raises_the_floor(journal: &dyn Journal) {
    let a = channel(journal, "a");
    let old = append(journal, &a, says("old"), 1).position.offset;
    let end = Addition { kind: Kind::End, clears: true, ..says("bye") };
    let end = append(journal, &a, end, 2).position.offset;
    let page = read(journal, &a, 1, 1 << 20);
    assert_eq!(page.lost, Some(old));
    let entries = page.entries;
    assert_eq!(entries.iter().map(|entry| (entry.offset, entry.message.data())).collect::<Vec<_>>(), [(end, "bye")]);
    let head = head(journal, &a);
    assert_eq!((head.last, head.floor, head.newest), (end, old, Kind::End));
    append(journal, &a, says("again"), 3);
    assert_eq!(self::head(journal, &a).newest, Kind::Data);
}

fn ending_with_a_message_is_one_step(journal: &dyn Journal) {
    let a = channel(journal, "a");
    let receipt = append(journal, &a, Addition { then_end: true, ..says("last") }, 1);
    let entries = read(journal, &a, receipt.position.offset.0, 1 << 20).entries;
    let kinds: Vec<_> = entries.iter().map(|entry| (entry.message.kind(), entry.message.data())).collect();
    assert_eq!(kinds, [(Kind::Data, "last"), (Kind::End, "")]);
    assert_eq!(receipt.position.offset, entries[0].offset, "the answer names the message, not the end");
    assert_eq!(head(journal, &a).newest, Kind::End);
    let end = read(journal, &a, receipt.position.offset.0 + 1, 1 << 20).entries;
    assert_eq!((end.len(), end[0].message.kind()), (1, Kind::End), "either can be read alone");
}

fn concurrent_appends_never_hide_an_offset_below_the_counter(journal: &dyn Journal) {
    const EACH: usize = 500;
    let channels: Vec<_> = (0..4).map(|n| channel(journal, &n.to_string())).collect();
    std::thread::scope(|scope| {
        for channel in &channels {
            scope.spawn(|| {
                for _ in 0..EACH {
                    append(journal, channel, says("x"), 1);
                }
            });
        }
        let mut seen = 0;
        let mut next = 1;
        while seen < EACH * channels.len() {
            let until = journal.counter().0;
            for channel in channels.iter().filter(|channel| channel.reaches(next)) {
                // Some may have left the tail already, where the journal keeps them.
                let in_tail = |tail: &Tail| tail.from(next).take_while(|entry| entry.offset.0 <= until).count();
                let whole = channel.read(|tail| (next > tail.floor().0 || !journal.stores()).then(|| in_tail(tail)));
                seen += whole.unwrap_or_else(|| {
                    let page = read(journal, channel, next, usize::MAX);
                    page.entries.iter().take_while(|entry| entry.offset.0 <= until).count()
                });
            }
            next = until + 1;
            std::thread::sleep(Duration::from_micros(20));
        }
        assert_eq!(seen, EACH * channels.len());
    });
}
