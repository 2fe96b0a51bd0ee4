//! What is there again after an orderly end, and after none.

use super::*;

/// Enough to fill a few segments.
fn fill(node: &Node) -> Vec<Told> {
    let data = |n: u64| format!("{n} {}", "x".repeat(200));
    (0..50)
        .map(|n| {
            node.publish("other", "y");
            Told::Said(node.publish("a", &data(n)), data(n))
        })
        .collect()
}

#[test]
fn journal_closed_and_opened_again_has_everything_and_goes_on() {
    let temp = tempfile::tempdir().unwrap();
    let node = Node::open(settings(temp.path()));
    let epoch = node.journal.epoch();
    let all = fill(&node);
    assert_eq!(node.history("a", 1), all);
    let counter = node.journal.counter();
    drop(node);
    let node = Node::open(settings(temp.path()));
    assert_eq!((node.journal.epoch(), node.journal.counter()), (epoch, Offset(counter.0 + 1)), "one is nobody's");
    assert_eq!(node.history("a", 1), all);
    assert_eq!(node.publish("a", "next"), counter.0 + 2);
    assert_eq!(node.journal.figures().holes, 0);
    assert!(node.journal.figures().segments > 3, "several segments were filled");
}

#[test]
fn journal_whose_process_was_killed_has_everything_and_uses_no_offset_again() {
    let temp = tempfile::tempdir().unwrap();
    let node = Node::open(settings(temp.path()));
    let all = fill(&node);
    // An offset that is nowhere on the disk.
    let given = node.publish("memory.a", "x");
    let copy = killed(&node);
    drop(node);
    let node = Node::open(settings(copy.path()));
    assert_eq!(node.history("a", 1), all);
    assert_eq!(node.journal.figures().holes, 0, "nothing was lost");
    assert!(node.publish("a", "next") > given);
    assert_eq!(node.history("a", given).len(), 1);
}

#[test]
fn journal_killed_again_and_again_still_has_everything() {
    let mut temp = tempfile::tempdir().unwrap();
    let mut all = Vec::new();
    for _ in 0..5 {
        let node = Node::open(settings(temp.path()));
        all.extend(fill(&node));
        temp = killed(&node);
    }
    let node = Node::open(settings(temp.path()));
    assert_eq!(node.history("a", 1), all);
    assert_eq!(node.journal.figures().holes, 0);
}

#[test]
fn idempotency_key_is_known_after_a_kill_for_its_window() {
    let temp = tempfile::tempdir().unwrap();
    let node = Node::open(settings(temp.path()));
    let first = node.try_publish("a", said("x"), Some("k")).unwrap();
    fill(&node);
    let last = node.try_publish("a", said("x"), Some("l")).unwrap();
    let copy = killed(&node);
    drop(node);
    {
        let node = Node::open_at(settings(copy.path()), Millis(129_999)).unwrap();
        for (key, before) in [("k", &first), ("l", &last)] {
            let again = node.try_publish("a", said("x"), Some(key)).unwrap();
            assert_eq!((again.duplicate, again.position), (true, before.position), "{key}");
        }
        let other = node.try_publish("a", said("y"), Some("k")).unwrap_err();
        assert_eq!(other, PublishError::Journal(AppendError::KeyReused));
    }
    let node = Node::open_at(settings(copy.path()), Millis(130_000)).unwrap();
    assert!(!node.try_publish("a", said("x"), Some("k")).unwrap().duplicate);
}

#[test]
fn idempotency_keys_beyond_their_number_are_the_oldest_ones() {
    let temp = tempfile::tempdir().unwrap();
    let settings = Settings { keys: 30, ..settings(temp.path()) };
    let node = Node::open(settings.clone());
    for n in 0..60 {
        node.try_publish("a", said(&"x".repeat(200)), Some(&format!("k{n}"))).unwrap();
    }
    drop(node);
    let node = Node::open(settings);
    for n in (0..60).rev() {
        let again = node.try_publish("a", said(&"x".repeat(200)), Some(&format!("k{n}"))).unwrap();
        assert_eq!(again.duplicate, n >= 30, "{n}");
    }
}

#[test]
fn floors_kinds_and_own_ids_are_the_same_after_a_restart() {
    let temp = tempfile::tempdir().unwrap();
    let node = Node::open(settings(temp.path()));
    let id = EventId::parse("mine").unwrap();
    let with_id = node.try_publish("a", NewMessage { id: Some(&id), ..said("x") }, None).unwrap().position.offset.0;
    let offsets: Vec<u64> = (0..5).map(|n| node.publish("short.a", &n.to_string())).collect();
    wait(node.hub.end(&name("gone"), "bye")).unwrap();
    let expected = node.history("short.a", 1);
    assert_eq!(expected[0], Told::Lost(offsets[1]));
    drop(node);
    let node = Node::open(settings(temp.path()));
    assert_eq!(node.history("short.a", 1), expected);
    let info = wait(node.hub.describe(&name("gone"))).unwrap().unwrap();
    assert!(info.ended);
    let channel = node.hub.open(&name("a")).unwrap();
    assert_eq!(wait(node.journal.find(&channel, Seek::Id("mine"))), Ok(Some(with_id + 1)));
}

#[test]
fn clock_behind_the_newest_message_begins_another_segment() {
    let temp = tempfile::tempdir().unwrap();
    let node = Node::open(settings(temp.path()));
    let first = node.publish("a", "first");
    drop(node);
    let node = Node::open_at(settings(temp.path()), Millis(500)).unwrap();
    let second = node.publish("a", "second");
    let all = [Told::Said(first, "first".into()), Told::Said(second, "second".into())];
    assert_eq!(node.history("a", 1), all);
    let list = node.journal.segments().list();
    let times: Vec<_> = list.segments().iter().map(|segment| segment.last_time()).collect();
    assert_eq!(times, [Millis(10_000), Millis(500)]);
    drop((list, node));
    let node = Node::open_at(settings(temp.path()), Millis(20_000)).unwrap();
    assert_eq!(node.history("a", 1), all);
}

#[test]
fn directory_in_use_or_of_a_newer_version_is_refused() {
    let temp = tempfile::tempdir().unwrap();
    let node = Node::open(settings(temp.path()));
    let refused = || DiskJournal::open(settings(temp.path()), retention(), Arc::new(Clock::system())).unwrap_err();
    assert!(matches!(refused(), OpenError::Directory(DirectoryError::InUse { .. })));
    drop(node);
    fs::write(temp.path().join("format"), "fantail-journal 2\n").unwrap();
    assert!(matches!(refused(), OpenError::Directory(DirectoryError::Newer { found: 2, .. })));
}

#[test]
fn closed_journal_refuses_messages_and_is_read_all_the_same() {
    let temp = tempfile::tempdir().unwrap();
    let node = Node::open(settings(temp.path()));
    let all = fill(&node);
    node.journal.close();
    let refused = node.try_publish("a", said("late"), None).unwrap_err();
    assert_eq!(refused, PublishError::Journal(AppendError::Failing("it is closed".into())));
    assert_eq!(node.history("a", 1), all);
    let other = Node::open(settings(temp.path()));
    assert_eq!(other.history("a", 1), all, "the directory is free");
}

#[test]
fn files_in_a_directory_that_everybody_may_enter_are_for_the_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let temp = tempfile::tempdir().unwrap();
    std::fs::set_permissions(temp.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let node = Node::open(settings(temp.path()));
    fill(&node);
    drop(node);
    for entry in std::fs::read_dir(temp.path()).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{}", entry.path().display());
    }
}

#[test]
fn first_start_that_was_cut_off_anywhere_is_a_first_start_again() {
    let temp = tempfile::tempdir().unwrap();
    let node = Node::open(settings(temp.path()));
    let left = killed(&node);
    drop(node);
    for log in fs::read_dir(left.path()).unwrap().map(|entry| entry.unwrap().path()) {
        if log.extension().is_some_and(|extension| extension == "log") {
            fs::remove_file(log).unwrap();
        }
    }
    // The order in which they come, backwards.
    for name in ["format", "fence"] {
        fs::remove_file(left.path().join(name)).unwrap();
        let again = tempfile::tempdir().unwrap();
        copy(left.path(), again.path()).unwrap();
        let node = Node::open(settings(again.path()));
        assert_eq!((node.journal.figures().holes, node.publish("a", "x")), (0, 1), "without {name}");
    }
}
