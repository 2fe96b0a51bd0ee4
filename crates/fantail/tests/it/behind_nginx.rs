//! A real nginx in front of Fantail, with nothing but `proxy_pass`. One test takes a minute: the name of this module lets
//! it begin early, beside the others.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::client::{Client, Part, Stream};
use crate::server::{PATIENCE, TestServer};

/// An nginx with a folder of its own. Stopped when it is dropped.
pub(crate) struct Nginx {
    pub(crate) address: SocketAddr,
    process: Child,
    /// Deleted with it.
    _folder: tempfile::TempDir,
}

impl Nginx {
    /// Starts one that passes everything on, with these further lines in its `location`.
    fn start(to: SocketAddr, lines: &str) -> Self {
        Self::serve(&format!("location / {{ proxy_pass http://{to}; {lines} }}"))
    }

    /// Starts one with these lines in its `server`.
    pub(crate) fn serve(lines: &str) -> Self {
        let program = ["/usr/sbin/nginx", "/usr/local/sbin/nginx", "/usr/bin/nginx"];
        let program = program.into_iter().find(|path| Path::new(path).exists());
        let program = program.unwrap_or_else(|| panic!("nginx is missing: run scripts/test, which installs it"));
        // Another program may take the port before nginx does.
        for _ in 0..5 {
            let folder = tempfile::tempdir().expect("a temporary folder");
            let address = free_port();
            let config = folder.path().join("nginx.conf");
            std::fs::write(&config, configuration(folder.path(), address, lines)).expect("room for a file");
            let mut process = Command::new(program)
                .args(["-g", "daemon off;", "-e", "stderr", "-p"])
                .arg(folder.path())
                .arg("-c")
                .arg(&config)
                .stdin(Stdio::null())
                .spawn()
                .expect("nginx starts");
            let end = Instant::now() + PATIENCE;
            while process.try_wait().expect("a process to wait for").is_none() {
                if TcpStream::connect(address).is_ok() {
                    return Self { address, process, _folder: folder };
                }
                assert!(Instant::now() < end, "nginx does not listen");
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        panic!("nginx does not start; its reason is above");
    }

    fn connect(&self) -> Client {
        Client::connect(self.address)
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // Its workers end with it, which they would not if it were killed.
        kill_process(Pid::from_child(&self.process), Signal::TERM).ok();
        self.process.wait().ok();
    }
}

fn free_port() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("a bound listener has an address")
}

/// What nginx needs to run for anyone and anywhere, and a server with these lines.
fn configuration(folder: &Path, address: SocketAddr, lines: &str) -> String {
    let mut temporary = String::new();
    for kind in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"] {
        let _ = writeln!(temporary, "  {kind}_temp_path {}/{kind};", folder.display());
    }
    // Said only where it is understood: without root there is no other user to become.
    let user = if rustix::process::geteuid().is_root() { "user root;" } else { "" };
    format!(
        "{user}\nworker_processes 1;\npid {}/pid;\nevents {{}}\nhttp {{\n  access_log off;\n{temporary}\
         \x20 server {{\n    listen {address};\n    {lines}\n  }}\n}}\n",
        folder.display()
    )
}

/// Pings until `span` is over; everything else fails the test.
fn pings_for(stream: &mut Stream, span: Duration) -> usize {
    let end = Instant::now() + span;
    let mut pings = 0;
    while Instant::now() < end {
        match stream.part() {
            Ok(Part::Comment(text)) if text == "ping" => pings += 1,
            Ok(Part::Retry(_)) => {}
            other => panic!("{other:?} after {pings} pings"),
        }
    }
    pings
}

#[test]
fn nginx_with_nothing_but_proxy_pass_streams_unbuffered() {
    let server = TestServer::start("");
    // What Debian's nginx speaks to its upstreams unless told otherwise, and what newer ones do.
    for lines in ["", "proxy_http_version 1.1; proxy_set_header Connection '';"] {
        let nginx = Nginx::start(server.public, lines);
        // The head and the start are there before any message.
        let mut stream = nginx.connect().subscribe("/sub/a/b");
        assert_eq!(stream.head.get("cache-control"), Some("no-store, no-transform"));
        assert!(matches!(stream.part(), Ok(Part::Retry(3_000..=5_000))));
        server.until_stat("subscribers", 1);
        // Each message arrives before the next is published, however small.
        for n in 0..20 {
            let (channel, data) = (["a", "b"][n % 2], n.to_string());
            let id = server.publish(channel, &data);
            let event = stream.event();
            assert_eq!((event.data, event.id), (data, id));
        }
        // One that is larger than all of nginx's buffers.
        let large = "x".repeat(1 << 20);
        server.publish("a", &large);
        assert!(stream.event().data == large);

        // The client's leaving is passed on.
        let id = stream.last_event_id();
        drop(stream);
        server.until_stat("subscribers", 0);

        // It comes back to what it missed.
        server.publish("b", "missed");
        let mut stream = nginx.connect().subscribe_with("/sub/a/b", &[("Last-Event-ID", &id)]);
        assert_eq!(stream.data(1), ["missed"]);
        drop(stream);
        server.until_stat("subscribers", 0);
    }
}

#[test]
fn nginx_is_told_of_the_end_and_of_single_answers() {
    let server = TestServer::start("");
    let nginx = Nginx::start(server.public, "");
    server.publish("a", "kept");
    let mut client = nginx.connect();
    let answer = client.request("GET", "/sub/a?last=1&wait=1m", &[], b"");
    assert_eq!((answer.status, &*answer.events()[0].data), (200, "kept"));
    assert_eq!(client.get("/nope").status, 404);

    let mut stream = client.subscribe("/sub/a");
    server.until_stat("subscribers", 1);
    assert_eq!(server.control().request("DELETE", "/pub/a", &[], b"bye").status, 200);
    let end = stream.event();
    assert_eq!((&*end.name, &*end.data), ("fantail-end", "bye"));
    let id = stream.last_event_id();
    stream.to_end();
    let answer = nginx.connect().request("GET", "/sub/a", &[("Last-Event-ID", &id)], b"");
    assert_eq!(answer.status, 204);
}

#[test]
fn nginx_in_front_of_the_control_listener_publishes() {
    let server = TestServer::start("");
    let nginx = Nginx::start(server.control, "");
    let mut stream = server.public().subscribe("/sub/a");
    let mut client = nginx.connect();
    for n in 0..5 {
        assert_eq!(client.request("POST", "/pub/a", &[], n.to_string().as_bytes()).status, 200);
    }
    assert_eq!(stream.data(5), ["0", "1", "2", "3", "4"]);
}

/// The ping is what keeps a stream open: with it, it lives many of nginx's timeouts; without, not one.
#[test]
fn nginx_with_a_short_timeout_is_kept_awake_by_pings() {
    let silent = TestServer::start("stream.ping = '10m'");
    let nginx = Nginx::start(silent.public, "proxy_read_timeout 1s;");
    let mut stream = nginx.connect().subscribe("/sub/a");
    let (parts, _) = stream.to_end();
    assert!(matches!(parts[..], [Part::Retry(_)]), "{parts:?}");

    let server = TestServer::start("stream.ping = '500ms'");
    let nginx = Nginx::start(server.public, "proxy_read_timeout 2s;");
    let mut stream = nginx.connect().subscribe("/sub/a");
    assert!(pings_for(&mut stream, Duration::from_secs(7)) >= 3);
    server.publish("a", "still here");
    assert_eq!(stream.data(1), ["still here"]);
}

#[test]
fn nginx_with_its_own_timeout_of_60_seconds_stays_open() {
    let server = TestServer::start("");
    let nginx = Nginx::start(server.public, "");
    let mut stream = nginx.connect().subscribe("/sub/a");
    assert!(pings_for(&mut stream, Duration::from_secs(64)) >= 3);
    server.publish("a", "still here");
    assert_eq!(stream.data(1), ["still here"]);
    assert_eq!(server.stat("subscribers"), 1, "and it is the same connection");
}
