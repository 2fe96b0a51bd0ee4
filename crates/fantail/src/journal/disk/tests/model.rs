//! Whatever is published and however often it is opened again, it answers what the memory journal answers.

use fantail_hub::Traits;
use fantail_hub::journal::MemoryJournal;
use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Step {
    Publish { channel: usize, bytes: usize, id: Option<u8>, key: Option<u8>, ends: bool },
    End { channel: usize },
    Later { millis: u64 },
    Reopen,
}

const CHANNELS: [&str; 3] = ["a", "short.a", "short.b"];

fn step() -> impl Strategy<Value = Step> {
    let channel = || 0..CHANNELS.len();
    let publish = (channel(), 0..400_usize, proptest::option::of(0..4_u8), proptest::option::of(0..6_u8), 0..10_u8);
    prop_oneof![
        20 => publish.prop_map(|(channel, bytes, id, key, ends)| {
            Step::Publish { channel, bytes, id, key, ends: ends == 0 }
        }),
        1 => channel().prop_map(|channel| Step::End { channel }),
        3 => (0..60_000_u64).prop_map(|millis| Step::Later { millis }),
        2 => Just(Step::Reopen),
    ]
}

fn clock(millis: u64) -> Arc<Clock> {
    Arc::new(Clock::Manual(AtomicU64::new(millis)))
}

fn publish(hub: &Hub, channel: &ChannelName, step: &Step) -> Result<(u64, bool), PublishError> {
    let published = match step {
        Step::Publish { bytes, id, key, ends, .. } => {
            let id = id.map(|id| EventId::parse(&format!("id{id}")).unwrap());
            let key = key.map(|key| IdempotencyKey::parse(&[key]).unwrap());
            let data = "x".repeat(*bytes);
            let said = NewMessage { data: &data, event: None, id: id.as_ref() };
            wait(hub.publish(Publish { channel, said, key: key.as_ref(), ends: *ends, traits: Traits::default() }))
        }
        _ => wait(hub.end(channel, "bye")),
    };
    published.map(|one| (one.position.offset.0, one.duplicate))
}

fn same(disk: &Node, memory: &Hub) -> Result<(), TestCaseError> {
    let until = disk.journal.counter();
    prop_assert_eq!(until, memory.journal().counter());
    for channel in CHANNELS.map(name) {
        let (here, there) = (disk.hub.open(&channel).unwrap(), memory.open(&channel).unwrap());
        let (here_head, there_head) =
            (wait(disk.journal.head(&here)).unwrap(), wait(memory.journal().head(&there)).unwrap());
        prop_assert_eq!(here_head, there_head, "{}", channel);
        for next in [1, until.0 / 2 + 1, until.0, until.0 + 1] {
            for (bytes, end) in [(1, until), (1000, until), (usize::MAX, until), (usize::MAX, Offset(next + 2))] {
                let a = wait(disk.journal.read(&here, next, end, bytes)).unwrap();
                let mut b = wait(memory.journal().read(&there, next, end, bytes)).unwrap();
                for entry in b.entries.iter_mut().filter(|entry| entry.number > 0) {
                    // What is stored is numbered by its offset.
                    entry.number = entry.offset.0;
                }
                prop_assert_eq!((a.lost, a.entries), (b.lost, b.entries), "{} from {}, {} bytes", channel, next, bytes);
            }
        }
        for seek in [Seek::Id("id0"), Seek::Id("id3"), Seek::Last(2), Seek::Time(Millis(70_000)), Seek::Oldest] {
            let a = wait(disk.journal.find(&here, seek)).unwrap();
            prop_assert_eq!(a, wait(memory.journal().find(&there, seek)).unwrap(), "{} {:?}", channel, seek);
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn disk_journal_opened_at_any_moment_answers_as_the_memory_journal(steps in proptest::collection::vec(step(), 1..80)) {
        let temp = tempfile::tempdir().unwrap();
        let window = Duration::from_mins(2);
        let mut now = 10_000;
        let settings = settings(temp.path());
        let memory_clock = clock(now);
        let memory = Hub::new(
            Arc::new(MemoryJournal::new(window, 1000)), retention(), HubLimits::default(), Arc::clone(&memory_clock),
        );
        let mut disk = Node::open_at(settings.clone(), Millis(now)).unwrap();
        for step in &steps {
            match step {
                Step::Publish { channel, .. } | Step::End { channel } => {
                    let channel = name(CHANNELS[*channel]);
                    prop_assert_eq!(publish(&disk.hub, &channel, step), publish(&memory, &channel, step));
                }
                Step::Later { millis } => {
                    now += millis;
                    for clock in [&disk.clock, &memory_clock] {
                        clock.advance(Duration::from_millis(*millis));
                    }
                }
                Step::Reopen => {
                    same(&disk, &memory)?;
                    drop(disk);
                    disk = Node::open_at(settings.clone(), Millis(now)).unwrap();
                    if memory.journal().counter() > Offset(0) {
                        // The offset that a start leaves out.
                        let said = NewMessage { data: "", event: None, id: None };
                        let channel = &name("elsewhere");
                        wait(memory.publish(Publish { channel, said, key: None, ends: false, traits: Traits::default() })).unwrap();
                    }
                }
            }
        }
        same(&disk, &memory)?;
    }
}
