//! `fantail serve --nginx-conf` as a process: signals, pid and log files, the background, the user, and a port that is taken.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use rustix::process::{Pid, Signal, geteuid, test_kill_process};

use crate::durable_trouble::{error, run};
use crate::nginx_conf::{LOCATIONS, Site, said_by};
use crate::server::eventually;

const FILES: &str = "pid run.pid;\nerror_log error.log info;";

fn send(site: &Site, word: &str) {
    let sent = run(site.folder.path(), &["serve", "--nginx-conf", "nginx.conf", "-s", word]);
    assert!(sent.status.success(), "{sent:?}");
}

fn is_gone(pid: Pid) -> bool {
    let state = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok();
    test_kill_process(pid).is_err() || state.is_none_or(|state| state.contains(") Z "))
}

#[test]
fn process_in_the_background_is_there_when_its_starter_ends() {
    let site = Site::new(FILES, LOCATIONS).background();
    // No wait: it listens already.
    site.publish("a", "x");
    let pid = site.pid();
    let session = rustix::process::getsid(Some(pid)).unwrap();
    assert_eq!(session, pid, "it has left the terminal");
    assert!(site.text("error.log").contains("serving address="), "{}", site.text("error.log"));
    send(&site, "stop");
    eventually("it has ended", || is_gone(pid));
    assert!(!site.path("run.pid").exists());
    let late = run(site.folder.path(), &["serve", "--nginx-conf", "nginx.conf", "-s", "stop"]);
    assert_eq!(late.status.code(), Some(1));
    assert!(error(&late).contains("cannot read the pid file"), "{late:?}");
}

#[test]
fn process_that_cannot_start_in_the_background_says_why_in_the_foreground() {
    let site = Site::new("pid none/run.pid;\nerror_log error.log;", LOCATIONS);
    let ended = run(site.folder.path(), &["serve", "--nginx-conf", "nginx.conf"]);
    assert_eq!(ended.status.code(), Some(1));
    assert!(error(&ended).contains("error: pid: cannot write none/run.pid: No such file"), "{ended:?}");
    assert!(site.text("error.log").contains("pid: cannot write"), "{}", site.text("error.log"));
    let unnamed = Site::new("", LOCATIONS);
    let sent = run(unnamed.folder.path(), &["serve", "--nginx-conf", "nginx.conf", "-s", "quit"]);
    assert!(error(&sent).contains("there is no pid directive"), "{sent:?}");
}

#[test]
fn process_writes_to_a_new_log_once_the_old_was_moved_away() {
    let site = Site::new(FILES, LOCATIONS).background();
    let (log, moved) = (site.path("error.log"), site.path("error.log.1"));
    fs::rename(&log, &moved).unwrap();
    send(&site, "reopen");
    eventually("the log is there again", || log.exists());
    let old = site.text("error.log.1");
    send(&site, "reload");
    eventually("it is written to", || site.text("error.log").contains("the configuration was read again"));
    assert_eq!(site.text("error.log.1"), old);
    site.publish("a", "x");
}

#[test]
fn process_that_reloads_keeps_its_subscribers_and_its_routes_if_the_new_are_wrong() {
    let site = Site::new(FILES, LOCATIONS).background();
    let mut stream = site.connect();
    stream.send("GET /sub/a HTTP/1.1\r\nHost: x\r\n\r\n");
    stream.read_head();
    assert_eq!(stream.read_chunk().unwrap(), b"HEAD\r\n");
    let mut kept = site.connect();
    assert_eq!(kept.get("/new?id=a").status, 404);

    let more =
        format!("{LOCATIONS}\nlocation /new {{ push_stream_publisher admin; push_stream_channels_path $arg_id; }}");
    site.write(FILES, &more);
    send(&site, "reload");
    eventually("it has the new location", || site.connect().get("/new?id=a").status == 200);
    assert_eq!(kept.get("/new?id=a").status, 200, "on a connection from before as well");
    site.publish("a", "still here");
    assert_eq!(stream.read_chunk().unwrap(), b"still here\r\n");

    site.write(
        FILES,
        "location /pub { push_stream_publisher; push_stream_channels_path a; push_stream_store_messages 5; }",
    );
    site.signal(Signal::HUP);
    let refused = "the configuration stays as it was: nginx.conf:8: push_stream_store_messages: ";
    eventually("it says what is wrong", || site.text("error.log").contains(refused));
    assert_eq!(site.connect().get("/new?id=a").status, 200);

    site.write(&format!("{FILES}\nworker_processes 3;"), &more);
    site.signal(Signal::HUP);
    eventually("it says what waits", || {
        site.text("error.log").contains("these wait for a restart: listen.connections")
    });
    site.publish("a", "and here");
    assert_eq!(stream.read_chunk().unwrap(), b"and here\r\n");
    let pid = site.pid();
    site.signal(Signal::QUIT);
    assert_eq!(stream.read_chunk().unwrap(), b"FOOT\r\n");
    eventually("it has ended", || is_gone(pid));
}

#[test]
fn process_ends_by_the_signals_that_mean_it_and_by_no_other() {
    for (signal, others) in [
        (Signal::INT, &[Signal::USR2, Signal::WINCH, Signal::ALARM][..]),
        (Signal::TERM, &[Signal::VTALARM, Signal::PROF, Signal::IO, Signal::POWER]),
        (Signal::QUIT, &[Signal::STKFLT, Signal::XCPU, Signal::XFSZ, Signal::PIPE, Signal::USR1, Signal::HUP]),
    ] {
        let mut site = Site::new("", LOCATIONS).foreground();
        for other in others {
            site.signal(*other);
            site.publish("a", "x");
        }
        site.signal(signal);
        assert!(site.wait().success(), "{signal:?}");
    }
}

#[test]
fn process_takes_a_port_that_is_let_go_of_in_time() {
    let site = Site::new(FILES, LOCATIONS);
    let taken = TcpListener::bind(site.address).unwrap();
    let leaving = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(700));
        drop(taken);
    });
    let site = site.background();
    leaving.join().unwrap();
    site.publish("a", "x");
    assert!(site.text("error.log").contains("the address is taken, trying again"), "{}", site.text("error.log"));

    let second = Site::new("", LOCATIONS);
    let taken = TcpListener::bind(second.address).unwrap();
    let ended = run(second.folder.path(), &["serve", "--nginx-conf", "nginx.conf"]);
    assert_eq!(ended.status.code(), Some(1));
    let expected = format!("error: cannot listen on {} (listen.public): Address already in use", second.address);
    assert!(error(&ended).contains(&expected), "{ended:?}");
    drop(taken);
}

#[test]
fn process_serves_as_the_user_that_is_named() {
    let site = Site::new(&format!("user nobody;\n{FILES}\nworker_rlimit_nofile 800;"), LOCATIONS);
    fs::set_permissions(site.folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let started = run(site.folder.path(), &["serve", "--nginx-conf", "nginx.conf"]);
    assert!(started.status.success(), "{started:?}");
    let said = said_by(&started);
    let pid = site.pid().as_raw_nonzero();
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let files = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    assert_eq!(files.split_whitespace().nth(3), Some("800"), "{files}");
    if !geteuid().is_root() {
        assert!(said.contains("user counts only where root starts the process"), "{said}");
        return;
    }
    let own = fs::read_to_string("/etc/passwd").unwrap();
    let nobody = own
        .lines()
        .find(|line| line.starts_with("nobody:"))
        .and_then(|line| line.split(':').nth(2))
        .unwrap()
        .to_owned();
    for thread in fs::read_dir(format!("/proc/{pid}/task")).unwrap() {
        let status = fs::read_to_string(thread.unwrap().path().join("status")).unwrap();
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned();
        assert_eq!(field("Uid:").split_whitespace().collect::<Vec<_>>(), [&*nobody; 4], "every thread is nobody");
        assert!(field("Gid:").split_whitespace().all(|gid| gid != "0"));
        assert!(field("Groups:").split_whitespace().all(|gid| gid != "0"));
    }
    // What it may do no longer it does not need: the log is its own.
    send(&site, "reopen");
    send(&site, "reload");
    eventually("it reloads", || site.text("error.log").contains("the configuration was read again"));
    site.publish("a", "x");
    let pid = site.pid();
    send(&site, "stop");
    eventually("it has ended", || is_gone(pid));
    assert_eq!(site.text("run.pid"), "", "a file in a folder of root's stays, and names nobody");
}
