//! Data directories that are in use, wrong, full or damaged.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use rustix::process::{Pid, Resource, Rlimit, prlimit};

use crate::client::Client;
use crate::durable::{after, publish};
use crate::server::{Data, Process, eventually};

/// Runs the program to its end.
pub(crate) fn run(directory: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fantail"));
    command.env_clear().current_dir(directory).args(arguments).output().expect("the program starts")
}

/// Fails the test unless the program ended with 1; what it said.
pub(crate) fn error(output: &Output) -> String {
    let said = String::from_utf8(output.stderr.clone()).expect("text");
    assert_eq!(output.status.code(), Some(1), "{said}");
    said
}

const SERVE: [&str; 5] = ["serve", "--listen", "127.0.0.1:0", "--control", "127.0.0.1:0"];

#[test]
fn directory_that_a_server_has_is_refused_with_its_process() {
    let data = Data::new();
    let server = Process::start(&data.config(""));
    let path = data.path();
    let said = error(&run(Path::new("/"), &[&SERVE[..], &["--data", path.to_str().unwrap()]].concat()));
    let expected = format!("data directory {} is in use by process {}", path.display(), server.pid());
    assert!(said.contains(&expected), "{said}");
    publish(server.control, "a", "still there", &[]);
}

#[test]
fn directory_of_a_newer_version_or_none_that_can_be_made_is_refused_with_what_to_do() {
    let temp = tempfile::tempdir().unwrap();
    let newer = temp.path().join("newer");
    fs::create_dir(&newer).unwrap();
    fs::write(newer.join("format"), "fantail-journal 99\nepoch 1\n").unwrap();
    let said = error(&run(temp.path(), &[&SERVE[..], &["--data", "newer"]].concat()));
    assert!(said.contains("was written by a newer Fantail (format 99"), "{said}");
    assert!(said.contains("start that version, or give another --data"), "{said}");
    fs::write(temp.path().join("file"), "").unwrap();
    let said = error(&run(temp.path(), &[&SERVE[..], &["--data", "file/data"]].concat()));
    assert!(said.contains("cannot make file/data (journal.url, --data)"), "{said}");
    assert!(said.contains("Not a directory"), "{said}");
}

#[test]
fn ephemeral_server_makes_no_directory_and_the_default_says_where_it_is() {
    let temp = tempfile::tempdir().unwrap();
    let server = Process::start_in(temp.path(), &["--ephemeral"]);
    publish(server.control, "a", "x", &[]);
    assert!(
        server.said.iter().any(|line| line == "  journal  memory: (nothing survives a restart)"),
        "{:?}",
        server.said
    );
    assert!(fs::read_dir(temp.path()).unwrap().next().is_none());
    let answer = Client::connect(server.control).request("POST", "/journal/compact", &[], b"");
    assert_eq!(answer.status, 404, "{answer:?}");
    drop(server);
    let server = Process::start_in(temp.path(), &[]);
    publish(server.control, "a", "x", &[]);
    let expected = "  journal  disk:fantail-data (survives restarts; durability os)";
    assert!(server.said.iter().any(|line| line == expected), "{:?}", server.said);
    assert!(temp.path().join("fantail-data/format").exists());
    let check = run(temp.path(), &["check"]);
    let said = String::from_utf8(check.stdout).unwrap();
    assert!(said.starts_with(&format!("# Messages are kept in {}/fantail-data.\n", temp.path().display())), "{said}");
}

/// The only log in the directory.
pub(crate) fn log(data: &Data) -> PathBuf {
    let mut paths = fs::read_dir(data.path()).expect("a directory").map(|entry| entry.expect("its files").path());
    paths.find(|path| path.extension().is_some_and(|extension| extension == "log")).expect("a log")
}

/// Allows the process files of so many bytes.
pub(crate) fn limit_files(server: &Process, bytes: Option<u64>) {
    let pid = Pid::from_raw(server.pid().cast_signed());
    prlimit(pid, Resource::Fsize, Rlimit { current: bytes, maximum: None }).expect("a process of our own");
}

#[test]
fn full_disk_refuses_messages_keeps_subscribers_and_takes_messages_again() {
    let data = Data::new();
    let server = Process::start(&data.config("[[retention]]\nprefix = 'memory.'\nstore = false"));
    let mut control = Client::connect(server.control);
    let mut stream = Client::connect(server.public).subscribe("/sub/a/memory.b");
    publish(server.control, "a", "before", &[]);
    assert_eq!(stream.event().data, "before");
    assert_eq!(control.get("/readyz").text(), "{\"ready\":true}\n");

    let log = log(&data);
    limit_files(&server, Some(fs::metadata(log).unwrap().len() + 100));
    let large = "x".repeat(1000);
    let refused = control.request("POST", "/pub/a", &[], large.as_bytes());
    assert_eq!(refused.status, 507, "{refused:?}");
    assert!(refused.error().starts_with("the journal has no room: File too large"), "{refused:?}");
    let ready = control.get("/readyz");
    assert_eq!((ready.status, ready.head.get("retry-after")), (503, Some("5")), "{ready:?}");
    assert_eq!(ready.json()["ready"], false);
    assert!(ready.error().contains("no room"), "{ready:?}");
    assert_eq!(control.get("/healthz").status, 200, "it lives");

    // The batch ends at the first line that cannot be kept; what stands before it was done.
    let lines = [r#"{"channel":"memory.b","data":"in a batch"}"#.to_owned(), "{}".to_owned()];
    let too_much = format!("{{\"channel\":\"a\",\"data\":\"{large}\"}}\n").repeat(300);
    let body = format!("{}\n{too_much}", lines.join("\n"));
    let answer = control.request("POST", "/pub", &[("Content-Type", "application/x-ndjson")], body.as_bytes());
    assert_eq!(answer.status, 507, "{answer:?}");
    let json = answer.json();
    assert_eq!(
        (&json["applied"], &json["published"], &json["refused_lines"]),
        (&2.into(), &1.into(), &1.into()),
        "{json}"
    );
    assert!(json["error"].as_str().unwrap().contains("no room"), "{json}");
    assert_eq!(stream.event().data, "in a batch");

    let mut control = Client::connect(server.control);
    publish(server.control, "memory.b", "what is not stored goes on", &[]);
    assert_eq!(stream.event().data, "what is not stored goes on");
    let figures = control.get("/metrics").text();
    assert!(figures.contains("\nfantail_journal_accepting 0\n"), "{figures}");
    let refused = figures.lines().find_map(|line| line.strip_prefix("fantail_journal_refused_total{reason=\"full\"} "));
    assert!(refused.unwrap().parse::<u64>().unwrap() >= 2, "{figures}");
    assert!(control.get("/stats").json()["refuses"].as_str().unwrap().contains("no room"));

    limit_files(&server, None);
    eventually("it is ready again by itself", || control.get("/readyz").status == 200);
    let id = publish(server.control, "a", "after", &[]);
    let event = stream.event();
    assert_eq!((&*event.name, &*event.data, &event.id), ("message", "after", &id), "the stream was never cut");
    assert!(control.get("/metrics").text().contains("\nfantail_journal_accepting 1\n"));
    assert!(control.get("/stats").json().get("refuses").is_none());
    let mut again = Client::connect(server.public).subscribe("/sub/a?from=start");
    assert_eq!(again.data(2), ["before", "after"], "nothing of what was refused is there");
}

#[test]
fn log_that_was_cut_is_told_as_a_gap_and_no_offset_is_used_again() {
    let data = Data::new();
    let mut server = Process::start(&data.config(""));
    let ids: Vec<_> = (0..10).map(|n| publish(server.control, "a", &n.to_string(), &[])).collect();
    server.kill();
    let log = log(&data);
    let bytes = fs::read(&log).unwrap();
    fs::write(&log, &bytes[..bytes.len() - 5]).unwrap();
    let server = Process::start(&data.config(""));
    let mut stream = after(server.public, "a", &ids[6]);
    assert_eq!(stream.data(2), ["7", "8"]);
    assert_eq!(stream.event().name, "fantail-gap");
    let id = publish(server.control, "a", "new", &[]);
    assert_eq!(stream.event().data, "new");
    assert!(!ids.contains(&id));
    let mut seen_the_lost_one = after(server.public, "a", &ids[9]);
    assert_eq!(seen_the_lost_one.event().data, "new", "it has seen all there was");
    assert_eq!(Client::connect(server.control).get("/stats").json()["disk"]["holes"], 1);
}

#[test]
fn older_copy_without_its_fence_gives_no_id_twice_and_tells_who_was_further() {
    let (data, copy) = (Data::new(), Data::new());
    let mut server = Process::start(&data.config(""));
    let kept = publish(server.control, "a", "in the copy", &[]);
    server.terminate();
    assert!(server.wait().success());
    fs::create_dir(copy.path()).unwrap();
    for entry in fs::read_dir(data.path()).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
    }
    let server = Process::start(&data.config(""));
    let lost: Vec<_> = (0..5).map(|n| publish(server.control, "a", &n.to_string(), &[])).collect();
    drop(server);

    fs::remove_file(copy.path().join("fence")).unwrap();
    let server = Process::start(&copy.config(""));
    let mut further = after(server.public, "a", &lost[2]);
    assert_eq!(further.event().name, "fantail-gap");
    let id = publish(server.control, "a", "new", &[]);
    assert!(!lost.contains(&id));
    assert_eq!(further.event().data, "new");
    let mut before = after(server.public, "a", &kept);
    assert_eq!((before.event().name, before.event().data), ("fantail-gap".into(), "new".into()));
    let mut all = Client::connect(server.public).subscribe("/sub/a?from=start");
    assert_eq!(all.event().data, "in the copy");
}
