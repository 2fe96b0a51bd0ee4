//! Disks that are full or fail.

use super::super::fence::Fence;
use super::super::log::LogFile;
use super::*;

/// What a disk does in a test.
#[derive(Debug, Default)]
struct Fault {
    /// Error of writes, after half of the bytes.
    append: Option<i32>,
    /// Only the first of them.
    once: bool,
    sync: Option<i32>,
    truncate: Option<i32>,
    begin: Option<i32>,
    advance: Option<i32>,
}

#[derive(Debug, Default, Clone)]
struct Faulty(Arc<Mutex<Fault>>);

fn outcome(fault: Option<i32>) -> io::Result<()> {
    fault.map_or(Ok(()), |code| Err(io::Error::from_raw_os_error(code)))
}

impl Medium for Faulty {
    fn append(&mut self, log: &LogFile, at: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.0.lock();
        let fault = if state.once { state.append.take() } else { state.append };
        drop(state);
        log.append(at, if fault.is_some() { &bytes[..bytes.len() / 2] } else { bytes })?;
        outcome(fault)
    }

    fn sync(&mut self, log: &LogFile) -> io::Result<()> {
        outcome(self.0.lock().sync).and_then(|()| log.sync())
    }

    fn truncate(&mut self, log: &LogFile, bytes: u64) -> io::Result<()> {
        outcome(self.0.lock().truncate).and_then(|()| log.truncate(bytes))
    }

    fn begin(
        &mut self,
        segments: &Segments,
        base: Offset,
        after: Offset,
        time: Millis,
        wait: bool,
    ) -> io::Result<Arc<segment::Segment>> {
        outcome(self.0.lock().begin).and_then(|()| segments.begin(base, after, time, wait))
    }

    fn advance(&mut self, fence: &mut Fence, stored: Offset, given: Offset) -> io::Result<()> {
        outcome(self.0.lock().advance).and_then(|()| fence.advance(stored, given))
    }
}

const ENOSPC: i32 = 28;
const EIO: i32 = 5;

fn open(temp: &Path, durability: Durability) -> (Node, Faulty) {
    let medium = Faulty::default();
    let settings = Settings { durability, ..settings(temp) };
    (Node::open_on(Box::new(medium.clone()), settings, Millis(10_000)).unwrap(), medium)
}

/// Publishes before, while and after the disk does `fault`; what was refused is never seen, and its offset neither.
fn survives(durability: Durability, fault: Fault, expected: &AppendError) {
    let temp = tempfile::tempdir().unwrap();
    let (node, medium) = open(temp.path(), durability);
    let before = node.publish("a", "before");
    let in_memory = node.publish("memory.a", "before");
    *medium.0.lock() = fault;
    for key in [None, Some("k")] {
        let refused = node.try_publish("a", said("refused"), key).unwrap_err();
        assert_eq!(refused, PublishError::Journal(expected.clone()));
        assert_eq!(node.journal.health(), Err(expected.clone()));
        assert!(node.publish("memory.a", "meanwhile") > in_memory, "what is not stored goes on");
    }
    let given = node.journal.counter().0;
    *medium.0.lock() = Fault::default();
    let after = node.try_publish("a", said("after"), Some("k")).unwrap();
    assert!(!after.duplicate && after.position.offset.0 > given, "the key was not used");
    assert_eq!(node.journal.health(), Ok(()));
    let all = [Told::Said(before, "before".into()), Told::Said(after.position.offset.0, "after".into())];
    assert_eq!(node.history("a", 1), all);
    let copy = killed(&node);
    drop(node);
    for directory in [temp.path(), copy.path()] {
        let node = Node::open(settings(directory));
        assert_eq!(node.history("a", 1), all);
        assert_eq!(node.journal.figures().holes, 0);
    }
}

fn full() -> AppendError {
    AppendError::Full("No space left on device (os error 28) (data directory)".into())
}

fn failing() -> AppendError {
    AppendError::Failing("Input/output error (os error 5) (data directory)".into())
}

#[test]
fn disk_that_is_full_refuses_and_takes_again() {
    for durability in [Durability::Os, Durability::Fsync] {
        survives(durability, Fault { append: Some(ENOSPC), ..Fault::default() }, &full());
    }
}

#[test]
fn disk_that_fails_for_a_moment_refuses_the_rest_of_the_batch_too() {
    let temp = tempfile::tempdir().unwrap();
    let (node, medium) = open(temp.path(), Durability::Os);
    let channels = ["a", "memory.b"].map(name);
    let data = "x".repeat(500);
    let one = |n: usize| Publish {
        channel: &channels[n % 2],
        said: said(&data),
        key: None,
        ends: false,
        traits: Traits::default(),
    };
    // Several segments, and so several writes.
    let batch: Vec<_> = (0..100).map(one).collect();
    *medium.0.lock() = Fault { append: Some(ENOSPC), once: true, ..Fault::default() };
    for (n, result) in wait(node.hub.publish_all(&batch)).into_iter().enumerate() {
        assert_eq!(result.is_ok(), n % 2 == 1, "{n}: what is stored is refused, to the last");
    }
    assert!(medium.0.lock().append.is_none(), "the disk has failed");
    assert_eq!(node.history("a", 1), []);
    assert!(wait(node.hub.publish_all(&batch)).iter().all(Result::is_ok));
    assert_eq!(node.history("a", 1).len(), 50);
}

#[test]
fn disk_that_fails_refuses_and_takes_again() {
    survives(Durability::Os, Fault { append: Some(EIO), ..Fault::default() }, &failing());
}

#[test]
fn disk_that_cannot_be_waited_for_leaves_nothing_unwaited_for() {
    survives(Durability::Fsync, Fault { sync: Some(EIO), ..Fault::default() }, &failing());
}

#[test]
fn fence_that_cannot_be_moved_refuses_what_was_written() {
    survives(Durability::Os, Fault { advance: Some(EIO), ..Fault::default() }, &failing());
}

#[test]
fn disk_that_is_full_and_recovers_is_noticed_without_a_publish() {
    let temp = tempfile::tempdir().unwrap();
    let (node, medium) = open(temp.path(), Durability::Os);
    node.publish("a", "before");
    medium.0.lock().append = Some(ENOSPC);
    node.try_publish("a", said("refused"), None).unwrap_err();
    medium.0.lock().append = None;
    while node.journal.health().is_err() {
        std::thread::sleep(Duration::from_millis(20));
    }
    let size = fs::metadata(node.journal.segments().list().segments()[0].log_path()).unwrap().len();
    assert_eq!(size, node.journal.segments().list().segments()[0].log_bytes(), "a probe leaves nothing");
}

#[test]
fn segment_that_cannot_be_left_is_filled_by_a_quarter_more() {
    let temp = tempfile::tempdir().unwrap();
    let (node, medium) = open(temp.path(), Durability::Os);
    node.publish("a", "before");
    medium.0.lock().begin = Some(ENOSPC);
    let data = "x".repeat(100);
    let refused = loop {
        match node.try_publish("a", said(&data), None) {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert_eq!(refused, PublishError::Journal(full()));
    let bytes = node.journal.segments().list().segments()[0].log_bytes();
    assert!((5120..5400).contains(&bytes), "{bytes} bytes");
    medium.0.lock().begin = None;
    node.publish("a", "after");
    assert_eq!(node.journal.segments().list().segments().len(), 2);
}

#[test]
fn bytes_that_cannot_be_cut_off_are_not_there_after_all() {
    let temp = tempfile::tempdir().unwrap();
    let (node, medium) = open(temp.path(), Durability::Os);
    let before = node.publish("a", "before");
    *medium.0.lock() = Fault { advance: Some(EIO), truncate: Some(EIO), ..Fault::default() };
    for _ in 0..3 {
        node.try_publish("a", said("refused"), None).unwrap_err();
    }
    *medium.0.lock() = Fault::default();
    let after = node.publish("a", "after");
    let all = [Told::Said(before, "before".into()), Told::Said(after, "after".into())];
    assert_eq!(node.history("a", 1), all);
}

#[test]
fn message_that_was_refused_and_could_not_be_cut_off_is_not_there_after_a_start_either() {
    let temp = tempfile::tempdir().unwrap();
    let (node, medium) = open(temp.path(), Durability::Fsync);
    let before = node.publish("a", "before");
    *medium.0.lock() = Fault { sync: Some(EIO), truncate: Some(EIO), ..Fault::default() };
    node.try_publish("a", said("refused"), None).unwrap_err();
    *medium.0.lock() = Fault::default();
    let after = node.publish("a", "after");
    drop(node);
    for entry in fs::read_dir(temp.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "idx") {
            fs::remove_file(path).unwrap();
        }
    }
    let all = [Told::Said(before, "before".into()), Told::Said(after, "after".into())];
    assert_eq!(Node::open(settings(temp.path())).history("a", 1), all);
}

/// Notes what was waited for.
#[derive(Debug, Default, Clone)]
struct Waits(Arc<Mutex<Vec<PathBuf>>>);

impl Medium for Waits {
    fn sync(&mut self, log: &LogFile) -> io::Result<()> {
        self.0.lock().push(log.path().to_owned());
        log.sync()
    }

    fn begin(
        &mut self,
        segments: &Segments,
        base: Offset,
        after: Offset,
        time: Millis,
        wait: bool,
    ) -> io::Result<Arc<segment::Segment>> {
        if wait {
            self.0.lock().push(segments.dir().to_owned());
        }
        segments.begin(base, after, time, wait)
    }
}

#[test]
fn disk_is_waited_for_under_os_at_the_end_alone() {
    for durability in [Durability::Os, Durability::Fsync] {
        let temp = tempfile::tempdir().unwrap();
        let waits = Waits::default();
        let settings = Settings { durability, ..settings(temp.path()) };
        let node = Node::open_on(Box::new(waits.clone()), settings, Millis(10_000)).unwrap();
        for _ in 0..20 {
            node.publish("a", &"x".repeat(500));
        }
        assert!(node.journal.figures().segments > 2);
        assert_eq!(waits.0.lock().is_empty(), durability == Durability::Os);
        let open = node.journal.segments().list().segments().last().unwrap().log_path().to_owned();
        drop(node);
        assert!(waits.0.lock().contains(&open));
    }
}

#[test]
fn segment_that_fails_before_anything_is_written_to_it_leaves_nothing() {
    let temp = tempfile::tempdir().unwrap();
    let (node, medium) = open(temp.path(), Durability::Fsync);
    for _ in 0..3 {
        medium.0.lock().sync = Some(EIO);
        node.try_publish("a", said("refused"), None).unwrap_err();
        *medium.0.lock() = Fault::default();
        // As when nothing was given in between.
        medium.0.lock().begin = Some(EIO);
        node.try_publish("a", said("refused"), None).unwrap_err();
        *medium.0.lock() = Fault::default();
    }
    let after = node.publish("a", "after");
    assert_eq!(node.journal.segments().list().segments().len(), 1);
    let logs = fs::read_dir(temp.path()).unwrap().map(|entry| entry.unwrap().path());
    assert_eq!(logs.filter(|path| path.extension().is_some_and(|extension| extension == "log")).count(), 1);
    let all = [Told::Said(after, "after".into())];
    assert_eq!(node.history("a", 1), all);
    drop(node);
    assert_eq!(Node::open(settings(temp.path())).history("a", 1), all);
}

/// Breaks a thread.
#[derive(Debug)]
struct Broken;

impl Medium for Broken {
    fn append(&mut self, _: &LogFile, _: u64, _: &[u8]) -> io::Result<()> {
        panic!("as the test wants it")
    }
}

#[test]
fn committer_that_is_gone_is_said_by_the_health() {
    let temp = tempfile::tempdir().unwrap();
    let node = Node::open_on(Box::new(Broken), settings(temp.path()), Millis(10_000)).unwrap();
    node.try_publish("a", said("x"), None).unwrap_err();
    node.try_publish("a", said("x"), None).unwrap_err();
    assert!(matches!(node.journal.health(), Err(AppendError::Failing(_))));
}
