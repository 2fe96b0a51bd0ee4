//! Looking into a directory that is somebody else's.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;

use fantail_hub::Kind;

use super::super::inspection::audit::{Finding, audit};
use super::super::inspection::{InspectError, Inspection};
use super::*;

const NOW: Millis = Millis(10_000);

/// A journal of several segments, with something of everything.
fn fill(node: &Node) {
    for number in 0..60 {
        let (id, key) = (EventId::parse(&format!("id{number}")).unwrap(), format!("key{number}"));
        let text = format!("{number} {}", "x".repeat(100));
        node.try_publish("a", NewMessage { data: &text, event: None, id: Some(&id) }, Some(&key)).unwrap();
        node.publish(&format!("many.{number}"), "one");
        node.publish("short.b", &text);
        node.publish("memory.c", "not stored");
    }
    wait(node.hub.end(&name("ended"), "that was all")).unwrap();
}

fn limits(retention: &Retention) -> impl Fn(&str) -> Limits {
    |name| retention.limits(retention.rule(name))
}

/// Every file with its bytes.
fn content(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let paths = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    paths.map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

fn findings(directory: &Path) -> Vec<Finding> {
    let mut findings = Vec::new();
    audit(directory, |finding| findings.push(finding)).unwrap();
    findings
}

fn damaged(directory: &Path) -> Vec<(PathBuf, Option<u64>, String)> {
    let damage = |finding| match finding {
        Finding::Damage { file, position, what } => Some((file, position, what)),
        Finding::Read { .. } | Finding::Known(_) => None,
    };
    findings(directory).into_iter().filter_map(damage).collect()
}

/// Reads a channel to its end.
fn read(inspection: &mut Inspection, name: &str) -> Vec<Told> {
    let limits = limits(&retention())(name);
    let until = inspection.head(name, limits, NOW).unwrap().last;
    let (mut told, mut next) = (Vec::new(), 1);
    while next <= until.0 {
        let page = inspection.page(name, next, 500, (limits, NOW), until).unwrap();
        told.extend(page.lost.map(|lost| Told::Lost(lost.0)));
        told.extend(page.entries.iter().map(|entry| Told::Said(entry.offset.0, entry.message.data().to_owned())));
        next = page.until.0 + 1;
    }
    told
}

#[test]
fn inspection_tells_what_the_server_would_and_changes_nothing() {
    let temp = tempfile::tempdir().unwrap();
    let node = Node::open(settings(temp.path()));
    fill(&node);
    // Until it has nothing to do beside what it is asked.
    while node.journal.segments().list().segments().iter().filter(|segment| !segment.is_sealed()).count() > 1 {
        std::thread::sleep(Duration::from_millis(5));
    }
    wait(node.journal.compact()).unwrap();
    // Beside the server that has it, what a kill left, and after an orderly end.
    let left = killed(&node);
    let histories = ["a", "short.b", "ended"].map(|name| (name, node.history(name, 1)));
    for directory in [temp.path(), left.path(), temp.path()] {
        let before = content(directory);
        let mut inspection = Inspection::open(directory).unwrap();
        let listed = inspection.channels("", limits(&retention()), NOW).unwrap();
        assert!(listed.is_sorted_by(|a, b| a.name < b.name));
        assert_eq!(listed.len(), 63, "channels that are not stored are not there");
        let one = |name: &str| listed.iter().find(|listed| &*listed.name == name).unwrap();
        assert_eq!((one("a").head.messages, one("short.b").head.messages), (60, 3));
        assert_eq!((one("ended").head.newest, one("a").head.newest), (Kind::End, Kind::Data));
        assert_eq!((one("a").oldest, one("a").newest), (NOW, NOW));
        assert_eq!(inspection.channels("many.1", limits(&retention()), NOW).unwrap().len(), 11);
        let expired = Millis(NOW.0 + 7_200_000);
        assert_eq!(inspection.channels("", limits(&retention()), expired).unwrap(), []);
        for (name, history) in &histories {
            assert_eq!(&read(&mut inspection, name), history, "{name}");
        }
        assert_eq!(damaged(directory), []);
        assert_eq!(content(directory), before);
        if directory == left.path() {
            node.journal.close();
        }
    }
    assert_eq!(Inspection::open(temp.path()).unwrap().epoch(), node.journal.epoch());
}

#[test]
fn inspection_of_no_journal_says_so_and_makes_none() {
    let temp = tempfile::tempdir().unwrap();
    let missing = temp.path().join("missing");
    let error = Inspection::open(&missing).unwrap_err().to_string();
    assert!(error.ends_with("missing does not exist (journal.url, --data)"), "{error}");
    let error = audit(temp.path(), |_| {}).unwrap_err().to_string();
    assert!(error.ends_with("holds no journal (journal.url, --data)"), "{error}");
    assert!(!missing.exists() && fs::read_dir(temp.path()).unwrap().next().is_none());
    fs::write(temp.path().join("format"), "fantail-journal 9\nepoch 1\n").unwrap();
    assert!(matches!(Inspection::open(temp.path()), Err(InspectError::Directory(DirectoryError::Newer { .. }))));
}

#[test]
fn audit_of_a_flipped_bit_names_the_file_and_inspection_shows_the_rest() {
    let temp = tempfile::tempdir().unwrap();
    let node = Node::open(settings(temp.path()));
    fill(&node);
    let left = killed(&node);
    let whole = content(left.path());
    let readable = whole.iter().filter(|(path, _)| path.extension().is_some());
    for (path, bytes) in readable {
        for at in (0..bytes.len()).step_by(131) {
            let is_log = path.extension().is_some_and(|extension| extension == "log");
            if is_log && (32..64).contains(&at) {
                // Bytes of the header that mean nothing.
                continue;
            }
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << (at % 8);
            fs::write(path, &flipped).unwrap();
            let damaged = damaged(left.path());
            assert!(damaged.iter().any(|(file, ..)| file == path), "byte {at} of {}: {damaged:?}", path.display());
            let mut inspection = Inspection::open(left.path()).unwrap();
            let said = read(&mut inspection, "a").iter().filter(|told| matches!(told, Told::Said(..))).count();
            // A log whose header is damaged and whose end no index tells is not read.
            assert!(said >= 59 || (is_log && at < 32), "byte {at} of {}: {said}", path.display());
            assert!(inspection.channels("", limits(&retention()), NOW).is_ok());
        }
        fs::write(path, bytes).unwrap();
    }
    assert_eq!(damaged(left.path()), [], "and it is whole again");
}

#[test]
fn audit_of_a_cut_log_tells_what_was_acknowledged() {
    let temp = tempfile::tempdir().unwrap();
    let node = Node::open(Settings { segment: 1 << 20, ..settings(temp.path()) });
    let last = (0..5).map(|number| node.publish("a", &number.to_string())).last().unwrap();
    let left = killed(&node);
    let log = content(left.path()).into_keys().find(|path| path.extension().is_some_and(|e| e == "log")).unwrap();
    let bytes = fs::read(&log).unwrap();
    fs::write(&log, &bytes[..bytes.len() - 1]).unwrap();
    let found = damaged(left.path());
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].0 == log && found[0].2.contains("are no whole message"), "{found:?}");
    let expected = format!("messages up to offset {last} were acknowledged, and the log ends at {}", last - 1);
    assert_eq!(found[1], (left.path().join("fence"), None, expected));
    // A start takes note of it; from then on it is known.
    drop(Node::open(settings(left.path())));
    assert_eq!(damaged(left.path()), []);
    assert!(findings(left.path()).iter().any(|finding| matches!(finding, Finding::Known(hole) if hole.upto.0 == last)));
}

#[test]
fn audit_beside_a_server_that_writes_and_cleans_finds_nothing() {
    let temp = tempfile::tempdir().unwrap();
    let node = Node::open(settings(temp.path()));
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _writer = scope.spawn(|| {
            for number in 0.. {
                node.publish(&format!("short.{}", number % 7), &"x".repeat(200));
                if number % 20 == 0 {
                    wait(node.journal.compact());
                }
                if over.load(Ordering::Relaxed) {
                    break;
                }
            }
        });
        for _ in 0..50 {
            assert_eq!(damaged(temp.path()), []);
            let listed = Inspection::open(temp.path()).unwrap().channels("", limits(&retention()), NOW).unwrap();
            assert!(listed.iter().all(|listed| (1..=3).contains(&listed.head.messages)), "{listed:?}");
        }
        over.store(true, Ordering::Relaxed);
    });
}

#[test]
fn audit_of_an_index_that_is_whole_but_not_its_logs_names_it() {
    let temp = tempfile::tempdir().unwrap();
    let node = Node::open(settings(temp.path()));
    fill(&node);
    node.journal.close();
    let index = content(temp.path()).into_keys().find(|path| path.extension().is_some_and(|e| e == "idx")).unwrap();
    let log = log::LogFile::open(&index.with_extension("log"), false).unwrap();
    let whole = index::Index::rebuild(&log, Offset::MAX).unwrap();
    let short = index::Index::rebuild(&log, Offset(whole.index.last().0 - 1)).unwrap();
    for (salt, end, what) in [
        (log.salt(), short.end, "and they end at"),
        (log.salt(), whole.end, "of channel"),
        (record::Salt(log.salt().0 ^ 1), whole.end, "another log"),
    ] {
        short.index.write(&index, salt, end).unwrap();
        let found = damaged(temp.path());
        assert!(found.len() == 1 && found[0].0 == index && found[0].2.contains(what), "{found:?}");
    }
    whole.index.write(&index, log.salt(), whole.end).unwrap();
    assert_eq!(damaged(temp.path()), []);
}
