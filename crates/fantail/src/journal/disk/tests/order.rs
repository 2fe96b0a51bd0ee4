//! Many publishers at once.

use fantail_hub::Kind;
use fantail_hub::channel::Addition;

use super::*;

#[test]
fn concurrent_publishers_get_offsets_that_ascend_in_each_channel_and_are_all_there() {
    const EACH: usize = 200;
    let temp = tempfile::tempdir().unwrap();
    let node = Node::open(settings(temp.path()));
    let offsets: Vec<Vec<u64>> = std::thread::scope(|scope| {
        let publish = |number: usize| {
            let node = &node;
            // Two publishers to each channel, and one of four channels is in memory alone.
            let channel = if number % 4 == 3 { "memory.a".to_owned() } else { format!("c{}", number % 4) };
            move || (0..EACH).map(|n| node.publish(&channel, &n.to_string())).collect::<Vec<_>>()
        };
        let threads: Vec<_> = (0..8).map(|number| scope.spawn(publish(number))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let mut all: Vec<u64> = offsets.iter().flatten().copied().collect();
    all.sort_unstable();
    all.dedup();
    assert_eq!((all.len(), all.last().copied()), (8 * EACH, Some(node.journal.counter().0)), "none was given twice");
    for channel in 0..3 {
        let told = node.history(&format!("c{channel}"), 1);
        assert_eq!(told.len(), 2 * EACH);
        for publisher in [channel, channel + 4] {
            assert!(offsets[publisher].is_sorted(), "a publisher's messages are in its order");
            let expected = (0..EACH).map(|n| Told::Said(offsets[publisher][n], n.to_string()));
            assert!(expected.into_iter().all(|entry| told.contains(&entry)));
        }
    }
    let figures = node.journal.figures();
    assert_eq!(figures.messages, 6 * EACH as u64, "what is not stored is not written");
    assert!(figures.batches <= figures.messages && figures.largest_batch >= 1);
}

#[test]
fn batch_larger_than_a_segment_is_taken_whole() {
    let temp = tempfile::tempdir().unwrap();
    let node = Node::open(settings(temp.path()));
    let channels = ["a", "memory.b", "c"].map(name);
    let data = "x".repeat(500);
    let batch: Vec<_> = (0..100)
        .map(|n| Publish {
            channel: &channels[n % 3],
            said: said(&data),
            key: None,
            ends: n == 99,
            traits: Traits::default(),
        })
        .collect();
    let published = wait(node.hub.publish_all(&batch));
    let offsets: Vec<_> = published.into_iter().map(|one| one.unwrap().position.offset).collect();
    assert!(offsets.is_sorted());
    assert_eq!(offsets[99].0 + 1, node.journal.counter().0, "the end takes an offset");
    assert_eq!(node.history("a", 1).len(), 35, "with the end");
    assert!(node.journal.figures().segments > 5);
}

#[test]
fn message_larger_than_a_segment_is_taken() {
    let temp = tempfile::tempdir().unwrap();
    let node = Node::open(settings(temp.path()));
    let large = "x".repeat(100_000);
    let all: Vec<_> = [&large, "small", &large].map(|data| Told::Said(node.publish("a", data), data.to_owned())).into();
    assert_eq!(node.history("a", 1), all);
    drop(node);
    assert_eq!(Node::open(settings(temp.path())).history("a", 1), all);
}

#[test]
fn publisher_that_leaves_before_its_answer_leaves_nothing_uncounted() {
    let temp = tempfile::tempdir().unwrap();
    let node = Node::open(settings(temp.path()));
    let channel = node.hub.open(&name("memory.a")).unwrap();
    for n in 1..=20 {
        let publish =
            Publish { channel: &name("memory.a"), said: said("x"), key: None, ends: false, traits: Traits::default() };
        let hub = &node.hub;
        // Polled once, so that the message is on its way, and dropped.
        let polled = wait(async {
            std::future::poll_fn(|cx| std::task::Poll::Ready(std::pin::pin!(hub.publish(publish)).poll(cx))).await
        });
        drop(polled);
        while channel.info().messages < n {
            std::thread::yield_now();
        }
    }
    node.publish("memory.a", "x");
    let counted = node.hub.counters().bytes.load(Ordering::Relaxed);
    assert_eq!((channel.info().messages, counted), (21, channel.info().bytes));
}

#[test]
fn clock_that_leaps_within_a_batch_begins_another_segment() {
    let temp = tempfile::tempdir().unwrap();
    let node = Node::open(settings(temp.path()));
    let channel = node.hub.open(&name("a")).unwrap();
    let at = |now| Append {
        channel: &channel,
        addition: Addition {
            said: said("x"),
            kind: Kind::Data,
            then_end: false,
            clears: false,
            traits: Traits::default(),
        },
        limits: Limits::default(),
        key: None,
        now,
    };
    let year = Duration::from_hours(365 * 24);
    let batch = [Millis(0), Millis(0).plus(year), Millis(0).plus(2 * year), Millis(7)].map(at);
    assert!(wait(node.journal.append(&batch)).iter().all(Result::is_ok));
    assert_eq!(node.journal.segments().list().segments().len(), 3);
}
