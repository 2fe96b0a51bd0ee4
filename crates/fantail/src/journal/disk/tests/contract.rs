//! The hub's contract suite.

use fantail_hub::journal::contract;

use super::*;

fn keeps_the_contract(durability: Durability) {
    let temps = Mutex::new(Vec::new());
    contract::run(|| {
        let temp = tempfile::tempdir().unwrap();
        let settings = Settings {
            directory: temp.path().join("data"),
            durability,
            segment: 4096,
            window: Duration::from_mins(2),
            keys: 1000,
            floors: 1000,
        };
        temps.lock().push(temp);
        let clock = Arc::new(Clock::Manual(AtomicU64::new(10_000)));
        Arc::new(DiskJournal::open(settings, Retention::new(Limits::default(), []), clock).unwrap())
    });
}

#[test]
fn disk_journal_keeps_the_contract() {
    keeps_the_contract(Durability::Os);
}

#[test]
fn disk_journal_that_waits_for_the_disk_keeps_the_contract() {
    keeps_the_contract(Durability::Fsync);
}
