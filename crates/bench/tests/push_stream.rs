//! `fantail-bench push-stream` with tiny figures against the real `fantail`, which has to be built beside it, and nchan: every way of
//! being sent messages gives its figures with every server that knows it, without a fault. The figures themselves mean nothing here.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread::available_parallelism;

use serde_json::Value;
use tempfile::tempdir;

#[test]
fn every_way_gives_its_figures_with_every_server_that_knows_it() {
    let bench = PathBuf::from(env!("CARGO_BIN_EXE_fantail-bench"));
    let fantail = bench.with_file_name("fantail");
    assert!(fantail.exists(), "{} is missing: cargo build -p fantail", fantail.display());
    let reports = tempdir().unwrap();
    let json = reports.path().join("json");
    let mut command = Command::new(bench);
    command.args("push-stream --rounds 1 --subscribers 40 --seconds 0.5 --rate 20 --poll-rate 4 --json".split(' '));
    command.arg(&json).arg("--fantail").arg(fantail).stdin(Stdio::null());
    // nginx is in a place that not everybody's path has.
    command.env("PATH", format!("{}:/usr/sbin", std::env::var("PATH").unwrap_or_default()));
    if available_parallelism().is_ok_and(|cores| cores.get() == 1) {
        command.args(["--load-cpu", "0"]);
    }
    let output = command.output().unwrap();
    let told = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{told}");

    let outcomes: Vec<Value> = serde_json::from_slice(&fs::read(json).unwrap()).unwrap();
    let (own, native, nchan) = ("Fantail, push-stream routes", "Fantail, native routes", "nginx + nchan");
    let polls: &[&str] =
        &["released p99", "released and back again p99", "server CPU per release", "memory per client"];
    let streams: &[&str] = &["latency p99", "server CPU per delivery"];
    let wanted = [
        ("polls", &[own, nchan][..], polls),
        ("events", &[own, native, nchan], streams),
        ("stream", &[own, nchan], streams),
        ("websocket", &[own, nchan], streams),
    ];
    let mut measured = outcomes.iter();
    for (case, servers, figures) in wanted {
        for server in servers {
            let outcome = measured.next().unwrap();
            assert_eq!((&outcome["case"], &outcome["server"]), (&case.into(), &(*server).into()), "{told}");
            for figure in figures {
                let found = outcome["report"]["figures"].as_array().unwrap().iter().find(|one| one["name"] == *figure);
                let value = found.and_then(|found| found["value"].as_f64());
                assert!(value.is_some_and(f64::is_finite), "{case}, {server}, {figure}: {value:?}\n{told}");
            }
        }
    }
    assert!(measured.next().is_none());
}
