//! `fantail-bench journal` with tiny figures against the real `fantail`, which has to be built beside it: every kind of work gives its
//! figures with every journal that it suits, without a fault, and leaves nothing behind. The figures themselves mean nothing here.

#![expect(clippy::unwrap_used, reason = "a test that meets an error has failed")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::{available_parallelism, sleep};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::Value;
use tempfile::tempdir;

const TINY: &str = "--rounds 1 --connections 8 --channels 20 --subscribers 50 --beside 2000 --replayed 3000 \
    --resuming 20 --behind 1000 --bystanders 10 --stored 20000 --stored-channels 100";
const PATIENCE: Duration = Duration::from_secs(30);

fn bench(dir: &Path, scenario: &str, seconds: &str) -> Command {
    let bench = PathBuf::from(env!("CARGO_BIN_EXE_fantail-bench"));
    let fantail = bench.with_file_name("fantail");
    assert!(fantail.exists(), "{} is missing: cargo build -p fantail", fantail.display());
    let mut command = Command::new(bench);
    command.args(["journal", "--scenarios", scenario, "--seconds", seconds, "--fantail"]).arg(fantail);
    command.arg("--dir").arg(dir);
    command.args(TINY.split_whitespace()).stdin(Stdio::null());
    if available_parallelism().is_ok_and(|cores| cores.get() == 1) {
        command.args(["--load-cpu", "0"]);
    }
    command
}

fn is_empty(dir: &Path) -> bool {
    fs::read_dir(dir).unwrap().next().is_none()
}

/// Runs one kind of work, and expects figures of these names from these journals.
fn expect(scenario: &str, journals: &[(&str, &[&str])]) {
    let (dir, reports) = (tempdir().unwrap(), tempdir().unwrap());
    let json = reports.path().join("json");
    let output = bench(dir.path(), scenario, "0.5").arg("--json").arg(&json).output().unwrap();
    let told = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{told}");
    assert!(told.contains("- data lay in "), "{told}");
    assert!(is_empty(dir.path()), "data was left behind: {told}");

    let outcomes: Vec<Value> = serde_json::from_slice(&fs::read(json).unwrap()).unwrap();
    let measured: Vec<&str> = outcomes.iter().filter_map(|outcome| outcome["server"].as_str()).collect();
    let wanted: Vec<&str> = journals.iter().map(|(journal, _)| *journal).collect();
    assert_eq!(measured, wanted, "{told}");
    for (outcome, (journal, figures)) in outcomes.iter().zip(journals) {
        for figure in *figures {
            let found = outcome["report"]["figures"].as_array().unwrap().iter().find(|found| found["name"] == *figure);
            let value = found.and_then(|found| found["value"].as_f64());
            assert!(value.is_some_and(f64::is_finite), "{journal}, {figure}: {value:?}\n{told}");
        }
    }
}

#[test]
fn publish_gives_rates_batches_and_the_yardstick() {
    let memory = ["publishes per second", "answer p99"];
    let os = ["publishes per second", "mean batch", "publishes by memory's"];
    let fsync = ["mean batch", "publishes by os's", "publishes by one connection's"];
    expect("publish", &[("memory", &memory), ("disk, os", &os), ("disk, fsync", &fsync)]);
}

#[test]
fn ndjson_gives_rates() {
    let os = ["publishes per second", "publishes by memory's"];
    expect("ndjson", &[("memory", &["publishes per second"]), ("disk, os", &os)]);
}

#[test]
fn live_gives_latencies() {
    let os = ["latency p50", "latency p99", "latency p50 by memory's", "latency p99 by memory's"];
    expect("live", &[("memory", &["latency p99"]), ("disk, os", &os)]);
}

#[test]
fn replay_gives_rate_and_memory() {
    let figures = ["messages per second", "memory before", "memory at its peak", "memory after"];
    expect("replay", &[("memory", &figures), ("disk, os", &figures)]);
}

#[test]
fn herd_gives_rate_memory_and_the_bystanders_latency() {
    let figures =
        ["messages per second", "read in time", "bystanders alone p99", "bystanders p99", "memory at its peak"];
    expect("herd", &[("memory", &figures), ("disk, os", &figures)]);
}

#[test]
fn mixed_gives_latency_memory_and_disk() {
    let memory = ["latency p99.9", "written beside per second", "memory besides tails"];
    let disk = [&memory[..], &["segments", "on disk"]].concat();
    expect("mixed", &[("memory", &memory), ("disk, os", &disk), ("disk, fsync", &disk)]);
}

#[test]
fn start_gives_times_after_a_kill() {
    let figures = ["ready after", "first publish answered after", "first resume caught up after", "on disk"];
    expect("start", &[("disk, os", &figures)]);
}

/// Killed when it is dropped, with what it started.
struct Run(Child);

impl Drop for Run {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn run_interrupted_ends_its_server_and_removes_its_data() {
    let dir = tempdir().unwrap();
    let mut run = Run(bench(dir.path(), "publish", "600").args(["--only", "memory"]).spawn().unwrap());
    let since = Instant::now();
    let server = loop {
        assert!(run.0.try_wait().unwrap().is_none(), "it ended by itself");
        // Its first child only told its version.
        if let Some(server) = child_of(run.0.id()).filter(|_| !is_empty(dir.path())) {
            break server;
        }
        assert!(since.elapsed() < PATIENCE, "no server was started");
        sleep(Duration::from_millis(10));
    };
    kill_process(Pid::from_child(&run.0), Signal::TERM).unwrap();
    assert_eq!(run.0.wait().unwrap().code(), Some(1), "it did not end in good order");
    assert!(test_kill_process(server).is_err(), "the server still runs");
    assert!(is_empty(dir.path()), "data was left behind");
}

/// The process that this one has started.
fn child_of(parent: u32) -> Option<Pid> {
    fs::read_dir("/proc").unwrap().flatten().find_map(|entry| {
        let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
        // Behind a name that may hold anything.
        let ours = stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse() == Ok(parent);
        ours.then(|| entry.file_name().to_str()?.parse().ok().and_then(Pid::from_raw))?
    })
}
