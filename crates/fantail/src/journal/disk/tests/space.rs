//! Space that is given back while messages come.

use super::*;

#[test]
fn compact_gives_back_what_is_not_kept_and_the_same_is_told() {
    let temp = tempfile::tempdir().unwrap();
    let node = Node::open(settings(temp.path()));
    let kept = node.publish("a", "kept");
    for n in 0..200 {
        node.publish("short.a", &format!("{n} {}", "x".repeat(200)));
    }
    let before = (node.history("a", 1), node.history("short.a", 1));
    // What is sealed on another thread may not all be there yet.
    while node.journal.segments().list().segments().iter().filter(|segment| !segment.is_sealed()).count() > 1 {
        std::thread::sleep(Duration::from_millis(5));
    }
    wait(node.journal.compact()).unwrap();
    let figures = node.journal.figures();
    assert!(figures.bytes < figures.written / 4, "{figures:?}");
    assert!(figures.cleaned > figures.written / 2, "{figures:?}");
    assert_eq!((node.history("a", 1), node.history("short.a", 1)), before);
    assert_eq!(before.0, [Told::Said(kept, "kept".into())]);
    let copy = killed(&node);
    drop(node);
    let node = Node::open(settings(copy.path()));
    assert_eq!((node.history("a", 1), node.history("short.a", 1)), before);
}

#[test]
fn journal_whose_messages_have_all_expired_goes_on_where_it_was() {
    let temp = tempfile::tempdir().unwrap();
    let node = Node::open(settings(temp.path()));
    for _ in 0..50 {
        node.publish("a", &"x".repeat(200));
    }
    let last = node.journal.counter().0;
    drop(node);
    // The open segment is not continued but sealed, for it is full now.
    let small = Settings { segment: 64, ..settings(temp.path()) };
    let node = Node::open_at(small.clone(), Millis(1 << 40)).unwrap();
    while node.journal.segments().list().segments().iter().filter(|segment| !segment.is_sealed()).count() > 1 {
        std::thread::sleep(Duration::from_millis(5));
    }
    wait(node.journal.compact()).unwrap();
    assert_eq!(node.history("a", 1), [Told::Lost(last)]);
    let copy = killed(&node);
    drop(node);
    let node = Node::open_at(Settings { directory: copy.path().to_owned(), ..small }, Millis(1 << 40)).unwrap();
    assert_eq!(node.journal.figures().holes, 0, "nothing was lost that was to be kept");
    assert_eq!(node.history("a", 1), [Told::Lost(last)]);
    assert!(node.publish("a", "x") > last);
}

#[test]
fn idempotency_key_of_a_message_that_is_not_kept_is_known_after_a_restart() {
    let temp = tempfile::tempdir().unwrap();
    let node = Node::open(settings(temp.path()));
    let data = "x".repeat(500);
    let first = node.try_publish("short.a", said(&data), Some("k")).unwrap();
    (0..20).for_each(|_| _ = node.publish("short.a", &data));
    while node.journal.segments().list().segments().iter().filter(|segment| !segment.is_sealed()).count() > 1 {
        std::thread::sleep(Duration::from_millis(5));
    }
    wait(node.journal.compact()).unwrap();
    let copy = killed(&node);
    drop(node);
    let node = Node::open(settings(copy.path()));
    let again = node.try_publish("short.a", said(&data), Some("k")).unwrap();
    assert_eq!((again.duplicate, again.position), (true, first.position));
    node.clock.advance(Duration::from_mins(2));
    let before = node.journal.figures().bytes;
    wait(node.journal.compact()).unwrap();
    assert!(node.journal.figures().bytes < before, "after the window its space is given back");
}
