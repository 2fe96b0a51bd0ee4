//! The checker against the real server, and against builds that are faulty on purpose: it has to find nothing in the one and
//! each fault in the others. The servers are those beside it, from the same build.

#![expect(clippy::unwrap_used, reason = "a test that meets an error has failed")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

/// A server beside the checker.
fn beside(name: &str, how: &str) -> PathBuf {
    let program = Path::new(env!("CARGO_BIN_EXE_fantail-bench")).with_file_name(name);
    assert!(program.is_file(), "{} is not there: `cargo build {how}`", program.display());
    program
}

fn fantail() -> PathBuf {
    beside("fantail", "-p fantail")
}

/// A small load and small segments, so that one machine can do several runs at once and each seals often.
fn torture(server: &Path, fault: Option<&str>, arguments: &str) -> (Output, Value) {
    let directory = tempfile::tempdir().unwrap();
    let json = directory.path().join("outcome.json");
    let load = "--segment 1MiB --rate 800 --publishers 6 --channels 8 --subscribers 16";
    let mut command = Command::new(env!("CARGO_BIN_EXE_fantail-bench"));
    command.arg("torture").args(load.split(' ')).args(arguments.split(' '));
    command.arg("--server").arg(server).arg("--json").arg(&json);
    command.envs(fault.map(|fault| ("FAULTY_FANTAIL", fault)));
    let output = command.output().unwrap();
    let outcome = std::fs::read(&json).ok().and_then(|text| serde_json::from_slice(&text).ok());
    let outcome = outcome.unwrap_or_else(|| panic!("no outcome: {}", told(&output)));
    (output, outcome)
}

fn told(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn clean(arguments: &str) -> Value {
    let (output, outcome) = torture(&fantail(), None, arguments);
    assert!(output.status.success(), "{}", told(&output));
    assert_eq!(outcome["violations"], serde_json::json!({}));
    outcome
}

/// A fault must be found by what happened to messages, within a run of this length.
fn found(fault: &str) {
    let faulty = beside("fantail-faulty", "-p fantail --features faults --bin fantail-faulty");
    let (output, outcome) =
        torture(&faulty, Some(fault), "--first --seconds 20 --nemesis kill,cut --kills 25 --seed 7 --quiet");
    assert!(!output.status.success(), "{}", told(&output));
    let kinds: Vec<&String> = outcome["violations"].as_object().unwrap().keys().collect();
    assert!(kinds.iter().any(|kind| *kind != "server"), "{kinds:?}: {}", told(&output));
}

#[test]
fn torture_of_two_hundred_kills_loses_nothing() {
    let outcome = clean("--seconds 55 --nemesis kill,term,pause,cut,stall --kills 200 --seed 11");
    assert!(outcome["kills"].as_u64() >= Some(200), "{outcome}");
    assert!(outcome["acknowledged"].as_u64() >= Some(2000), "{outcome}");
    assert_eq!(outcome["gaps"], 0, "{outcome}");
}

#[test]
fn torture_of_damage_announces_what_is_lost() {
    let outcome = clean("--seconds 14 --nemesis damage,kill,cut --kills 6 --seed 12");
    assert!(outcome["damages"].as_u64() >= Some(1), "{outcome}");
    assert!(outcome["gaps"].as_u64() >= Some(1), "{outcome}");
}

#[test]
fn torture_of_a_full_disk_refuses_and_recovers() {
    let outcome = clean("--seconds 12 --nemesis disk,cut,kill --kills 3 --seed 13");
    assert!(outcome["fills"].as_u64() >= Some(1), "{outcome}");
    let refused = ["refused_full", "refused_busy"].map(|key| outcome[key].as_u64().unwrap());
    assert!(refused[0] + refused[1] > 0, "{outcome}");
}

#[test]
fn torture_of_small_retention_announces_what_is_gone() {
    clean("--seconds 8 --retention small --nemesis kill,cut,stall --kills 4 --seed 14 --set hub.messages=200");
}

#[test]
fn torture_of_a_memory_that_restarts_is_a_violation() {
    let (output, outcome) =
        torture(&fantail(), None, "--first --ephemeral --seconds 10 --nemesis kill --kills 5 --seed 15");
    assert!(!output.status.success(), "{}", told(&output));
    assert!(outcome["violations"].as_object().unwrap().contains_key("gap-without-cause"), "{outcome}");
}

#[test]
fn torture_finds_what_is_visible_before_it_is_kept() {
    found("visible-early");
}

#[test]
fn torture_finds_offsets_that_are_used_again() {
    found("offsets-reused");
}

#[test]
fn torture_finds_a_resume_that_leaves_one_out() {
    found("resume-off-by-one");
}
