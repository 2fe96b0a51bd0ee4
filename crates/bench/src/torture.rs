//! The checker: publishers that repeat until they are acknowledged, subscribers that come back, a nemesis that ends, stops,
//! starves and damages the server, and books that say at the end whether anything acknowledged was lost, repeated or out of
//! order. It knows the server over HTTP and as a process alone.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::{Args, ValueEnum};

use self::arena::Arena;
use self::books::Books;
use self::nemesis::Nemesis;
use self::plan::Mischief;
use self::publisher::Publisher;
use self::server::Server;
use self::space::Space;
use self::summary::Summary;
use self::violation::Kind;
use crate::clock::{self, SECOND};
use crate::{procfs, sockets};

mod arena;
mod books;
mod damage;
mod decoder;
mod link;
mod nemesis;
mod place;
mod plan;
mod publisher;
mod saying;
mod server;
mod space;
mod subscriber;
mod summary;
mod view;
mod violation;

/// Room on a data directory's own disk beside what the run is expected to write.
const SPARE: u64 = 256 << 20;
/// What a message is expected to take of the disk, more or less.
const MESSAGE: u64 = 1000;
/// At the end: how long everything may stand still before the wait is given up.
const STANDSTILL: u64 = 15 * SECOND;
/// How long is waited for what should not come any more.
const AFTERMATH: u64 = SECOND / 2;

/// When the bytes are where.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Durability {
    /// With the kernel before a publisher is answered
    Os,
    /// On the disk
    Fsync,
}

/// What the server keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Retention {
    /// Everything
    All,
    /// Little: those who stay away miss messages, and have to be told
    Small,
}

/// How long, what and whom.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// How long the nemesis is at work
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// How often it kills the server; by default about every six seconds
    #[arg(long)]
    kills: Option<u64>,
    /// Decides what is done and said; by default another one each time
    #[arg(long)]
    seed: Option<u64>,
    /// What the nemesis does
    #[arg(long, value_enum, value_delimiter = ',', default_value = "kill,term,pause,cut,stall,disk")]
    nemesis: Vec<Mischief>,
    /// The server; by default the `fantail` beside this program
    #[arg(long)]
    server: Option<PathBuf>,
    /// Where the server's data and log go, a directory that does not exist or is empty; by default a temporary one, kept
    /// after a violation
    #[arg(long)]
    data: Option<PathBuf>,
    /// Have the server keep nothing on disk: shows what the checker finds
    #[arg(long, conflicts_with = "data")]
    ephemeral: bool,
    #[arg(long, value_enum, default_value = "os")]
    durability: Durability,
    #[arg(long, value_enum, default_value = "all")]
    retention: Retention,
    /// Size of the journal's segments; small, so that there are many
    #[arg(long, default_value = "4MiB")]
    segment: String,
    #[arg(long, default_value_t = 12)]
    channels: u16,
    #[arg(long, default_value_t = 8)]
    publishers: u16,
    #[arg(long, default_value_t = 32)]
    subscribers: usize,
    /// Messages a second, of all publishers together, while the server is there
    #[arg(long, default_value_t = 2000)]
    rate: u64,
    /// Stop at the first violation
    #[arg(long)]
    first: bool,
    /// A further setting of the server, as its own --set takes it; may be repeated
    #[arg(long)]
    set: Vec<String>,
    /// Write the outcome as JSON
    #[arg(long)]
    json: Option<PathBuf>,
    /// Do not tell what is done as it is done
    #[arg(long)]
    quiet: bool,
}

/// Runs the checker; a violation fails.
pub(crate) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    ensure!(
        options.channels > 0 && options.publishers > 0 && options.subscribers > 0,
        "there must be one of each kind"
    );
    ensure!(
        !options.ephemeral || !options.nemesis.iter().any(|kind| matches!(kind, Mischief::Disk | Mischief::Damage)),
        "without a data directory there is no disk to fill or to damage (--nemesis, --ephemeral)"
    );
    if options.nemesis.contains(&Mischief::Disk) {
        space::leave_for_own_mounts()?;
    }
    sockets::allow_descriptors(options.subscribers + usize::from(options.channels) + usize::from(options.publishers))?;
    let seed = options.seed.unwrap_or_else(|| fastrand::u64(..1 << 32));
    println!("torture: seed {seed}");
    let work = tempfile::Builder::new().prefix("fantail-torture-").tempdir().context("no temporary directory")?;
    let directory = options.data.clone().unwrap_or_else(|| work.path().join("disk"));
    fs::create_dir_all(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
    let empty = fs::read_dir(&directory).is_ok_and(|mut entries| entries.next().is_none());
    ensure!(empty, "{} is not empty (--data)", directory.display());
    let bytes = SPARE + options.rate * options.seconds * MESSAGE;
    let fills = options.nemesis.contains(&Mischief::Disk);
    let space = if fills { Space::prepare(&directory, bytes)? } else { Space::Limited };
    let summary = storm(options, seed, &directory, space)?;
    print!("{}", summary.table());
    if let Some(path) = &options.json {
        let text = serde_json::to_string_pretty(&summary)?;
        fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    if !summary.is_clean() {
        println!("  kept: {}", work.keep().display());
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

/// The run itself.
fn storm(options: &Options, seed: u64, disk: &Path, space: Space) -> anyhow::Result<Summary> {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut books = Books::new(rng.u64(..), &flows(options.channels, options.publishers));
    books.retention = options.retention == Retention::Small;
    // The log lies where the data do: a full disk is full for both.
    let data = disk.join("data");
    let server = Server::new(&program(options)?, arguments(options, &data), disk.join("server.log"))?;
    let mut arena = Arena::new(books, server, rng.u64(..))?;
    arena.add_publishers(options.publishers, options.rate);
    arena.add_subscribers(options.subscribers);
    let time = options.seconds * SECOND;
    let kills = options.kills.unwrap_or(options.seconds / 6 + 1);
    let plan = plan::draw(&options.nemesis, kills, time, &mut rng);
    let mut nemesis = Nemesis::new(plan, space, data, rng.u64(..), options.quiet);

    let begun = clock::now();
    arena.start()?;
    let enough = |arena: &Arena| options.first && !arena.books.violations.counts().is_empty();
    while !enough(&arena) && (!nemesis.is_done() || clock::now() < begun + time) {
        arena.step()?;
        nemesis.tick(&mut arena)?;
    }
    let seconds = (clock::now() - begun) / SECOND;
    if !enough(&arena) {
        settle(&mut arena)?;
    }

    for panic in arena.server.complaints().0 {
        arena.books.violations.add(Kind::Server, || panic.clone());
    }
    let (server_memory, server_memory_most, server_descriptors) = arena.server.resources();
    if !enough(&arena) {
        let views = std::mem::take(&mut arena.subscribers).into_iter().map(|subscriber| subscriber.view);
        views.for_each(|view| view.finish(&mut arena.books));
    }
    let Arena { books, server, slowest_start, .. } = &arena;
    let mut summary = Summary::new(seed, seconds, nemesis.done, books.counts, &books.violations);
    summary.starts = server.starts;
    summary.slowest_start_ms = slowest_start * 1000 / SECOND;
    (summary.server_memory, summary.server_memory_most, summary.server_descriptors) =
        (server_memory, server_memory_most, server_descriptors);
    summary.checker_memory = procfs::resident(&[std::process::id()]).0;
    Ok(summary)
}

/// The server is left alone: publishers finish, subscribers and auditors read all that there is.
fn settle(arena: &mut Arena) -> anyhow::Result<()> {
    arena.stay();
    arena.publishers.iter_mut().for_each(Publisher::close);
    wait(arena, |arena| arena.publishers.iter().all(Publisher::is_done))?;
    if !arena.publishers.iter().all(Publisher::is_done) {
        let why = || "publishes are not acknowledged, though nothing troubles the server any more".into();
        arena.books.violations.add(Kind::Server, why);
    }
    arena.add_auditors();
    arena.subscribers.iter_mut().for_each(subscriber::Subscriber::settle);
    wait(arena, |arena| arena.subscribers.iter().all(|subscriber| subscriber.view.has_caught_up(&arena.books)))?;
    let until = clock::now() + AFTERMATH;
    while clock::now() < until {
        arena.step()?;
    }
    Ok(())
}

/// Waits until something is so, or nothing moves any more.
fn wait(arena: &mut Arena, mut done: impl FnMut(&Arena) -> bool) -> anyhow::Result<()> {
    let mut moved = (clock::now(), 0);
    while !done(arena) && clock::now() < moved.0 + STANDSTILL {
        let until = clock::now() + clock::nanos(Duration::from_millis(20));
        while clock::now() < until {
            arena.step()?;
        }
        let counts = arena.books.counts;
        if counts.deliveries + counts.acknowledged != moved.1 {
            moved = (clock::now(), counts.deliveries + counts.acknowledged);
        }
    }
    Ok(())
}

/// Who says something where: each publisher to about half of the channels, and to each channel somebody.
fn flows(channels: u16, publishers: u16) -> Vec<(u16, u16)> {
    let mut flows = Vec::new();
    for channel in 0..channels {
        let of_publisher = |publisher: &u16| publishers == 1 || (channel + publisher).is_multiple_of(2);
        flows.extend((0..publishers).filter(of_publisher).map(|publisher| (channel, publisher)));
    }
    flows
}

fn program(options: &Options) -> anyhow::Result<PathBuf> {
    match &options.server {
        Some(program) => Ok(program.clone()),
        None => Ok(std::env::current_exe().context("cannot find this program")?.with_file_name("fantail")),
    }
}

fn arguments(options: &Options, directory: &Path) -> Vec<String> {
    let mut set = vec!["log.level=warn".to_owned(), "idempotency.keys=400000".to_owned()];
    set.extend(match options.retention {
        Retention::All => ["hub.messages=1000000000", "hub.age=10d", "hub.bytes=1000GB"].map(str::to_owned),
        Retention::Small => ["hub.messages=2000", "hub.age=20s", "hub.bytes=1MiB"].map(str::to_owned),
    });
    let mut arguments = Vec::new();
    if options.ephemeral {
        arguments.push("--ephemeral".to_owned());
    } else {
        arguments.extend(["--data".to_owned(), directory.display().to_string()]);
        let durability = match options.durability {
            Durability::Os => "os",
            Durability::Fsync => "fsync",
        };
        set.push(format!("journal.durability={durability}"));
        set.push(format!("journal.segment={}", options.segment));
    }
    set.extend(options.set.iter().cloned());
    arguments.extend(set.into_iter().flat_map(|setting| ["--set".to_owned(), setting]));
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flows_reach_every_channel_and_come_from_every_publisher() {
        for (channels, publishers) in [(1, 1), (1, 2), (5, 1), (3, 4), (12, 8), (2, 7)] {
            let flows = flows(channels, publishers);
            assert!((0..channels).all(|channel| flows.iter().any(|flow| flow.0 == channel)), "{flows:?}");
        }
    }
}
