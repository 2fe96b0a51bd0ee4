//! `fantail journal` against real data directories, beside a server and without one.

use std::fs;
use std::path::Path;

use crate::client::Client;
use crate::durable::{after, publish};
use crate::durable_trouble::{error, run};
use crate::server::{Data, Process};

/// Runs `fantail journal` on a directory; what it printed.
fn journal(data: &Data, arguments: &[&str]) -> String {
    let path = data.path();
    let all = [&["journal", "--data", path.to_str().expect("a path of text")], arguments].concat();
    let output = run(Path::new("/"), &all);
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).expect("text")
}

fn files(data: &Data) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let paths = fs::read_dir(data.path()).expect("a directory").map(|entry| entry.expect("its files").path());
    let mut files: Vec<_> = paths.map(|path| (path.clone(), fs::read(path).expect("a file"))).collect();
    files.sort();
    files
}

/// What it says, compared beside the server and without it.
fn look(data: &Data) {
    let before = files(data);
    let list = journal(data, &["list", "--json"]);
    let lines: Vec<serde_json::Value> = list.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let known: Vec<_> =
        lines.iter().map(|line| (line["channel"].as_str().expect("a name"), line["messages"].as_u64())).collect();
    assert_eq!(known, [("a", Some(2)), ("b", Some(1)), ("over", Some(2))]);
    assert_eq!((&lines[0]["ended"], &lines[2]["ended"]), (&false.into(), &true.into()));
    assert_eq!(journal(data, &["list", "--prefix", "ov"]).lines().count(), 2);
    let dump = journal(data, &["dump", "a"]);
    assert!(dump.contains("  event=tick  id=o1\n    one\n    more\n") && dump.ends_with("\n    two\n"), "{dump}");
    assert_eq!(journal(data, &["dump", "a", "--last", "1", "--json"]), "{\"channel\":\"a\",\"data\":\"two\"}\n");
    assert_eq!(journal(data, &["dump", "a", "--since", "1h"]), dump);
    assert_eq!(journal(data, &["dump", "a", "--since", "2100-01-01T00:00:00Z"]), "");
    assert!(journal(data, &["verify"]).ends_with("5 messages in all, no damage\n"));
    assert_eq!(files(data), before, "looking changes nothing");
}

#[test]
fn journal_is_looked_into_beside_a_server_and_without_one() {
    let data = Data::new();
    let mut server = Process::start(&data.config(""));
    publish(server.control, "a", "one\nmore", &[("Event-Type", "tick"), ("Event-Id", "o1")]);
    publish(server.control, "a", "two", &[]);
    publish(server.control, "b", "x", &[]);
    publish(server.control, "over?end=1", "last", &[]);
    look(&data);
    let path = data.path();
    let path = path.to_str().unwrap();
    let said = error(&run(Path::new("/"), &["journal", "compact", "--data", path]));
    assert!(said.contains(&format!("in use by process {}", server.pid())), "{said}");
    assert!(said.contains("POST /journal/compact"), "{said}");
    let mut control = Client::connect(server.control);
    let compacted = control.request("POST", "/journal/compact", &[], b"");
    assert_eq!((compacted.status, &compacted.json()["freed"]), (200, &0.into()));
    assert_eq!(control.get("/journal/compact").status, 405);
    server.kill();
    look(&data);

    // What was dumped can be published again.
    let dump = journal(&data, &["dump", "a", "--json"]);
    let server = Process::start(&data.config(""));
    let kind = [("Content-Type", "application/x-ndjson")];
    let answer =
        Client::connect(server.control).request("POST", "/pub", &kind, dump.replace("\"a\"", "\"copy\"").as_bytes());
    assert_eq!(answer.json()["published"], 2, "{answer:?}");
    let copy = Client::connect(server.public).subscribe("/sub/copy?from=start").events(2);
    assert_eq!((&*copy[0].data, &*copy[0].name, &*copy[0].id, &*copy[1].data), ("one\nmore", "tick", "o1", "two"));
}

#[test]
fn journal_compact_gives_back_what_is_not_kept() {
    let data = Data::new();
    let config =
        |kept| format!("{}segment = '1MiB'\n", data.config(&format!("hub.messages = {kept}\nhub.bytes = '64MiB'")));
    let mut server = Process::start(&config(10_000));
    let mut control = Client::connect(server.control);
    let line = format!("{{\"channel\":\"a\",\"data\":\"{}\"}}\n", "x".repeat(1000));
    for _ in 0..4 {
        let body = line.repeat(1000);
        let answer = control.request("POST", "/pub", &[("Content-Type", "application/x-ndjson")], body.as_bytes());
        assert_eq!(answer.status, 200);
    }
    let id = publish(server.control, "a", "newest", &[]);
    server.terminate();
    assert!(server.wait().success());
    let size = || files(&data).iter().map(|(_, bytes)| bytes.len()).sum::<usize>();
    let before = size();
    let said = journal(&data, &["compact", "--set", "hub.messages=2", "--set", "journal.segment=1MiB"]);
    assert!(said.contains("segments cleaned"), "{said}");
    assert!(size() < before / 2, "{said}: {} of {before} bytes are left", size());
    assert!(journal(&data, &["verify"]).ends_with("no damage\n"));
    let server = Process::start(&config(2));
    let mut stream = after(server.public, "a", &id);
    publish(server.control, "a", "and on", &[]);
    assert_eq!(stream.event().data, "and on");
}

#[test]
fn journal_that_is_damaged_is_named_with_file_and_place() {
    let data = Data::new();
    let mut server = Process::start(&data.config(""));
    for n in 0..5 {
        publish(server.control, "a", &format!("message {n}"), &[]);
    }
    server.kill();
    let (log, bytes) = files(&data).into_iter().find(|(path, _)| path.extension().is_some_and(|e| e == "log")).unwrap();
    let at = bytes.windows(9).position(|window| window == b"message 2").unwrap();
    let mut damaged = bytes.clone();
    damaged[at] ^= 1;
    fs::write(&log, damaged).unwrap();
    let path = data.path();
    let output = run(Path::new("/"), &["journal", "verify", "--data", path.to_str().unwrap()]);
    assert!(error(&output).contains("is damaged in 1 place"), "{output:?}");
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains(&format!("DAMAGED {} at byte ", log.display())), "{said}");
    let dump = run(Path::new("/"), &["journal", "dump", "a", "--data", path.to_str().unwrap()]);
    let told = String::from_utf8(dump.stderr).unwrap();
    assert!(told.starts_with("gap: messages up to offset 3 may be lost"), "{told}");
    let said = String::from_utf8(dump.stdout).unwrap();
    assert!(said.contains("message 1") && !said.contains("message 2") && said.contains("message 3"), "{said}");
}

#[test]
fn journal_that_is_not_there_is_named_and_not_made() {
    let temp = tempfile::tempdir().unwrap();
    for command in ["list", "verify", "compact"] {
        let said = error(&run(temp.path(), &["journal", command]));
        assert!(said.contains("data directory fantail-data does not exist (journal.url, --data)"), "{command}: {said}");
    }
    let said = error(&run(temp.path(), &["journal", "list", "--set", "journal.url=memory:"]));
    assert!(said.contains("leaves nothing on disk"), "{said}");
    assert!(fs::read_dir(temp.path()).unwrap().next().is_none());
    let data = Data::new();
    drop(Process::start(&data.config("")));
    let path = data.path();
    let said = error(&run(temp.path(), &["journal", "dump", "never", "--data", path.to_str().unwrap()]));
    assert!(said.contains("there is no channel \"never\" in"), "{said}");
}
