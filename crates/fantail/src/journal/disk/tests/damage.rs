//! Logs and fences that are not as they were left: nothing whole is lost, nothing lost is silent, and no offset comes twice.

use std::path::PathBuf;

use super::super::fence::{self, Boot, Fence, Mark};
use super::*;

const MESSAGES: u64 = 6;

/// A small journal in one segment, and what it holds.
fn small(clean: bool) -> (tempfile::TempDir, Vec<Told>) {
    let temp = tempfile::tempdir().unwrap();
    let node = Node::open(settings(temp.path()));
    let all = (0..MESSAGES).map(|n| Told::Said(node.publish("a", &n.to_string()), n.to_string())).collect();
    let copy = if clean { None } else { Some(killed(&node)) };
    drop(node);
    (copy.unwrap_or(temp), all)
}

fn log_of(directory: &Path) -> PathBuf {
    let paths = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    paths.filter(|path| path.extension().is_some_and(|extension| extension == "log")).max().unwrap()
}

/// Opens it after some damage; whoever has seen the first `seen` messages is told of all others or of a gap. Returns how
/// many messages are still there.
fn judge(directory: &Path, all: &[Told], what: &str) -> usize {
    let node = Node::open(settings(directory));
    let next = node.publish("a", "next");
    assert!(next > MESSAGES, "{what}: offset {next} is used again");
    let mut kept = 0;
    for seen in 0..=all.len() {
        let told = node.history("a", seen as u64 + 1);
        let (last, before) = told.split_last().unwrap();
        assert_eq!(*last, Told::Said(next, "next".into()), "{what}");
        let said: Vec<_> = before.iter().filter(|told| matches!(told, Told::Said(..))).collect();
        assert!(said.iter().all(|said| all.contains(said)), "{what}: something was never said: {told:?}");
        let is_told = told.iter().any(|told| matches!(told, Told::Lost(_)));
        assert!(is_told || said.len() == all.len() - seen, "{what}: from {seen} on a loss is silent: {told:?}");
        if seen == 0 {
            kept = said.len();
        }
    }
    // It is the same after another restart.
    let told = node.history("a", 1);
    drop(node);
    assert_eq!(Node::open(settings(directory)).history("a", 1), told, "{what}");
    kept
}

#[test]
fn log_cut_at_any_byte_loses_no_more_and_tells_it() {
    for clean in [true, false] {
        let (temp, all) = small(clean);
        let log = fs::read(log_of(temp.path())).unwrap();
        let record = (log.len() - 64) / MESSAGES as usize;
        for size in (0..log.len()).step_by(if clean { 1 } else { 3 }) {
            let damaged = tempfile::tempdir().unwrap();
            copy(temp.path(), damaged.path()).unwrap();
            fs::write(log_of(damaged.path()), &log[..size]).unwrap();
            let kept = judge(damaged.path(), &all, &format!("{size} bytes, clean {clean}"));
            assert_eq!(kept, size.saturating_sub(64) / record, "{size} bytes");
        }
    }
}

#[test]
fn log_with_any_bit_flipped_loses_one_message_and_tells_it() {
    let (temp, all) = small(false);
    let log = fs::read(log_of(temp.path())).unwrap();
    for at in 0..log.len() {
        let damaged = tempfile::tempdir().unwrap();
        copy(temp.path(), damaged.path()).unwrap();
        let mut bytes = log.clone();
        bytes[at] ^= 1 << (at % 8);
        fs::write(log_of(damaged.path()), &bytes).unwrap();
        let kept = judge(damaged.path(), &all, &format!("byte {at}"));
        let expected = match at {
            0..40 => 0,
            // The rest of the header says nothing yet.
            40..64 => all.len(),
            _ => all.len() - 1,
        };
        assert_eq!(kept, expected, "byte {at}");
    }
}

#[test]
fn fence_cut_or_gone_counts_everything_behind_the_log_as_lost() {
    for clean in [true, false] {
        for size in [None, Some(0), Some(10), Some(4096), Some(4100)] {
            let (temp, all) = small(clean);
            let path = temp.path().join(fence::NAME);
            let bytes = fs::read(&path).unwrap();
            match size {
                None => fs::remove_file(&path).unwrap(),
                Some(size) => fs::write(&path, &bytes[..size]).unwrap(),
            }
            let what = format!("{size:?} bytes of the fence, clean {clean}");
            assert_eq!(judge(temp.path(), &all, &what), all.len());
            let node = Node::open(settings(temp.path()));
            assert!(matches!(node.history("a", MESSAGES + 1)[0], Told::Lost(_)), "{what}");
        }
    }
}

#[test]
fn fence_and_log_cut_together_count_everything_as_lost() {
    let (temp, all) = small(false);
    fs::remove_file(temp.path().join(fence::NAME)).unwrap();
    let log = log_of(temp.path());
    let bytes = fs::read(&log).unwrap();
    fs::write(&log, &bytes[..bytes.len() / 2]).unwrap();
    assert!(judge(temp.path(), &all, "both") < all.len());
}

#[test]
fn log_that_is_gone_altogether_is_a_loss() {
    let (temp, all) = small(true);
    fs::remove_file(log_of(temp.path())).unwrap();
    assert_eq!(judge(temp.path(), &all, "no log"), 0);
}

/// What the machine's going down leaves: a fence of another start, `behind` by some messages, and a log without its end.
fn machine_went_down(fsync: bool, clean: bool, kept: u64) -> (tempfile::TempDir, Vec<Told>) {
    let (temp, all) = small(false);
    fs::remove_file(temp.path().join(fence::NAME)).unwrap();
    let boot = Boot::other();
    let (stored, reserved) = (Offset(kept), Offset(1000));
    Fence::begin(temp.path(), Mark { stored, given: stored, reserved, fsync, clean, boot }).unwrap();
    let log = log_of(temp.path());
    let bytes = fs::read(&log).unwrap();
    let record = (bytes.len() - 64) / MESSAGES as usize;
    fs::write(&log, &bytes[..64 + record * kept as usize]).unwrap();
    (temp, all)
}

#[test]
fn machine_that_went_down_under_os_may_have_lost_what_the_fence_does_not_know() {
    let (temp, all) = machine_went_down(false, false, 4);
    assert_eq!(judge(temp.path(), &all, "os"), 4);
    let node = Node::open(settings(temp.path()));
    assert_eq!(node.history("a", 5)[0], Told::Lost(1000));
    assert!(node.publish("a", "x") > 1000);
}

#[test]
fn machine_that_went_down_after_a_clean_end_or_under_fsync_has_lost_nothing() {
    for (fsync, clean) in [(true, false), (false, true)] {
        let (temp, _) = machine_went_down(fsync, clean, MESSAGES);
        let node = Node::open(settings(temp.path()));
        let told = node.history("a", 1);
        assert_eq!((told.len(), node.journal.figures().holes), (MESSAGES as usize, 0), "fsync {fsync}, clean {clean}");
        let next = node.publish("a", "x");
        assert_eq!(next > 1000, !clean, "what was reserved is not used, unless it is known to be free");
    }
}

/// Several segments of two messages, as if none had been sealed when the process went.
fn unsealed() -> (tempfile::TempDir, Vec<Told>) {
    let temp = tempfile::tempdir().unwrap();
    let node = Node::open(settings(temp.path()));
    let data = "x".repeat(2000);
    let all = (0..7).map(|_| Told::Said(node.publish("a", &data), data.clone())).collect();
    drop(node);
    for entry in fs::read_dir(temp.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "idx") {
            fs::remove_file(path).unwrap();
        }
    }
    (temp, all)
}

#[test]
fn segments_that_were_not_sealed_are_read_again() {
    let (temp, all) = unsealed();
    let node = Node::open(settings(temp.path()));
    assert!(node.history("a", 1) == all);
    assert_eq!(node.journal.figures().holes, 0);
}

#[test]
fn segment_cut_before_others_is_a_loss_between_them() {
    let (temp, mut all) = unsealed();
    let mut logs: Vec<_> = fs::read_dir(temp.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    logs.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
    logs.sort();
    // Right between two records: nothing in the file itself shows it.
    let bytes = fs::read(&logs[1]).unwrap();
    fs::write(&logs[1], &bytes[..64 + (bytes.len() - 64) / 2]).unwrap();
    let node = Node::open(settings(temp.path()));
    let Told::Said(lost, _) = all[3] else { unreachable!() };
    all[3] = Told::Lost(lost);
    assert!(node.history("a", 1) == all, "the fourth is lost and all others are there");
}

#[test]
fn newest_sealed_segment_that_is_gone_is_a_loss_before_the_open_one() {
    let temp = tempfile::tempdir().unwrap();
    let node = Node::open(settings(temp.path()));
    let data = "x".repeat(2000);
    let offsets: Vec<u64> = (0..7).map(|_| node.publish("a", &data)).collect();
    drop(node);
    let open = log_of(temp.path());
    let mut logs: Vec<_> = fs::read_dir(temp.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    logs.retain(|path| path.extension().is_some_and(|extension| extension == "log") && *path != open);
    let gone = logs.into_iter().max().unwrap();
    // It is not there if the process went before it was sealed.
    let _ = fs::remove_file(gone.with_extension("idx"));
    fs::remove_file(gone).unwrap();
    for _ in 0..2 {
        let node = Node::open(settings(temp.path()));
        let told = node.history("a", 1);
        assert!(told.iter().filter(|told| matches!(told, Told::Said(..))).count() < offsets.len());
        assert!(told.iter().any(|told| matches!(told, Told::Lost(_))), "a loss is silent");
        assert_eq!(node.journal.figures().holes, 1);
    }
}

#[test]
fn log_of_which_the_machine_left_nothing_but_a_name_is_taken_away() {
    let (temp, all) = unsealed();
    let open = log_of(temp.path());
    fs::write(&open, b"").unwrap();
    assert!(judge(temp.path(), &all, "nothing but a name") < all.len());
    assert_eq!(Node::open(settings(temp.path())).journal.figures().damaged, 0);
    assert!(!open.exists());
}

#[test]
fn index_with_any_block_damaged_still_gives_its_idempotency_keys() {
    let temp = tempfile::tempdir().unwrap();
    let many = Settings { segment: 1 << 16, keys: 5000, ..settings(temp.path()) };
    let node = Node::open(many.clone());
    let publish = |node: &Node, n: u64| node.try_publish("a", said("x"), Some(&format!("k{n}"))).unwrap();
    let keyed = (0..).take_while(|&n| {
        publish(&node, n);
        node.journal.figures().segments == 1
    });
    let keyed = keyed.count() as u64;
    while !node.journal.segments().list().segments()[0].is_sealed() {
        std::thread::sleep(Duration::from_millis(5));
    }
    drop(node);
    let index = log_of(temp.path()).with_file_name("00000000000000000001.idx");
    let whole = fs::read(&index).unwrap();
    assert!(whole.len() > 3 * 4096);
    for at in (100..whole.len()).step_by(4096) {
        let mut bytes = whole.clone();
        bytes[at] ^= 4;
        fs::write(&index, &bytes).unwrap();
        let node = Node::open(many.clone());
        assert!((0..keyed).all(|n| publish(&node, n).duplicate), "byte {at}");
    }
}
