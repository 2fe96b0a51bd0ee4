//! `fantail serve --nginx-conf`, from outside: what is served where nginx served it, and what is said of it at the start.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::client::{Client, End};
use crate::durable_trouble::{error, run};
use crate::server::{PATIENCE, eventually};

/// A folder with an `nginx.conf`, and the process that serves it.
pub(crate) struct Site {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) address: SocketAddr,
    child: Option<Child>,
}

/// The locations of most of these tests.
pub(crate) const LOCATIONS: &str = r#"
    location /pub { push_stream_publisher admin; push_stream_channels_path $arg_id; push_stream_store_messages on; }
    location ~ ^/sub/(.*)$ {
        push_stream_subscriber;
        push_stream_channels_path $1;
        push_stream_header_template "HEAD\r\n";
        push_stream_message_template "~text~\r\n";
        push_stream_footer_template "FOOT\r\n";
    }
    location /ev { push_stream_subscriber eventsource; push_stream_channels_path $arg_id; }
    location /lp { push_stream_subscriber long-polling; push_stream_channels_path $arg_id; }
    location /stats { push_stream_channels_statistics; push_stream_channels_path $arg_id; }
"#;

/// A port that was free a moment ago.
pub(crate) fn free() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("a bound listener has an address")
}

impl Site {
    /// A site with these directives outside of all blocks, and these locations.
    pub(crate) fn new(outside: &str, locations: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let site = Self { folder, address: free(), child: None };
        site.write(outside, locations);
        site
    }

    /// Writes another configuration.
    pub(crate) fn write(&self, outside: &str, locations: &str) {
        let text = format!(
            "{outside}\nevents {{ worker_connections 512; }}\nhttp {{\n push_stream_shared_memory_size 16m;\n server {{\n  \
             listen {};\n{locations}\n }}\n}}\n",
            self.address
        );
        fs::write(self.path("nginx.conf"), text).expect("room for a file");
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    pub(crate) fn command(&self, more: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fantail"));
        command.args(["serve", "--nginx-conf"]).arg(self.path("nginx.conf")).args(more);
        command.env_clear().stdin(Stdio::null()).stdout(Stdio::null());
        command
    }

    /// Starts it in the foreground, and waits until it listens.
    pub(crate) fn foreground(mut self) -> Self {
        let said = fs::File::create(self.path("said")).expect("room for a file");
        self.child = Some(self.command(&["-g", "daemon off;"]).stderr(said).spawn().expect("the program starts"));
        self.until_it_listens();
        self
    }

    /// Starts it in the background; it listens when the process in the foreground ends.
    pub(crate) fn background(self) -> Self {
        let ended = self.command(&[]).status().expect("the program starts");
        assert!(ended.success(), "{}", self.text("error.log"));
        self
    }

    pub(crate) fn until_it_listens(&self) {
        eventually("it listens", || TcpStream::connect(self.address).is_ok());
    }

    pub(crate) fn connect(&self) -> Client {
        Client::connect(self.address)
    }

    pub(crate) fn publish(&self, channel: &str, text: &str) {
        let answer = self.connect().request("POST", &format!("/pub?id={channel}"), &[], text.as_bytes());
        assert_eq!(answer.status, 200, "{answer:?}");
    }

    /// The process that serves.
    pub(crate) fn pid(&self) -> Pid {
        match &self.child {
            Some(child) => Pid::from_child(child),
            None => self.text("run.pid").trim().parse().ok().and_then(Pid::from_raw).expect("a number in the pid file"),
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("a process to signal");
    }

    /// Waits for the end of the process in the foreground.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let child = self.child.as_mut().expect("it is in the foreground");
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = child.try_wait().expect("a process to wait for") {
                self.child = None;
                return status;
            }
            assert!(Instant::now() < end, "the program did not end within {PATIENCE:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// What a command said to standard error, however it ended.
pub(crate) fn said_by(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

impl Drop for Site {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            child.kill().ok();
            child.wait().ok();
        } else if let Some(pid) = self.text("run.pid").trim().parse().ok().and_then(Pid::from_raw) {
            kill_process(pid, Signal::KILL).ok();
        }
    }
}

#[test]
fn nginx_conf_is_served_with_a_chunk_for_each_message() {
    let site = Site::new("", LOCATIONS).foreground();
    let mut stream = site.connect();
    stream.send("GET /sub/a HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(stream.read_head().status, 200);
    assert_eq!(stream.read_chunk().unwrap(), b"HEAD\r\n");
    let mut events = site.connect();
    events.ask("GET", "/ev?id=a", &[], b"");
    let mut events = events.stream_of("text/event-stream; charset=utf-8");
    let mut poll = site.connect();
    poll.send("GET /lp?id=a HTTP/1.1\r\nHost: x\r\n\r\n");
    eventually("three subscribers", || site.connect().get("/stats?id=a").text().contains("\"subscribers\": 3"));
    for text in ["one", "two"] {
        site.publish("a", text);
        assert_eq!(stream.read_chunk().unwrap(), format!("{text}\r\n").as_bytes());
        assert_eq!(events.event().data, text);
        if text == "one" {
            assert_eq!(poll.answer().text(), text);
        }
    }
    for other in ["/", "/fantail/sub/a", "/sub"] {
        assert_eq!(site.connect().get(other).status, 404, "{other} is none of the site's URLs");
    }
}

#[test]
fn nginx_conf_limits_the_requests_of_a_connection() {
    let site = Site::new("", &format!("keepalive_requests 3;\n{LOCATIONS}")).foreground();
    let mut client = site.connect();
    for last in [false, false, true] {
        let answer = client.get("/stats");
        assert_eq!(answer.status, 200);
        assert_eq!(answer.head.get("connection") == Some("close"), last, "{}", answer.head.raw);
    }
    assert!(client.is_closed());
    // Those that are answered by a shard count as well.
    site.publish("a", "x");
    let mut client = site.connect();
    let old = [("If-Modified-Since", "Thu, 01 Jan 1970 00:00:00 GMT")];
    for last in [false, false, true] {
        let answer = client.request("GET", "/lp?id=a", &old, b"");
        assert_eq!((answer.status, answer.text().as_str()), (200, "x"));
        assert_eq!(answer.head.get("connection") == Some("close"), last, "{}", answer.head.raw);
    }
    assert!(client.is_closed());
}

#[test]
fn nginx_conf_with_several_servers_has_each_at_its_address() {
    let (first, second) = (free(), free());
    let mut site = Site::new("", "");
    let location = |path: &str, name: &str| {
        format!(
            "location {path} {{ push_stream_subscriber; push_stream_channels_path a; push_stream_header_template {name}; }}"
        )
    };
    let text = format!(
        "events {{}} http {{ push_stream_shared_memory_size 16m;\n\
         server {{ listen {first}; server_name a.example; {} }}\n\
         server {{ listen {first}; server_name b.example; {} }}\n\
         server {{ listen {second}; {} {} }} }}",
        location("/s", "one"),
        location("/s", "two"),
        location("/s", "three"),
        location("/t", "four"),
    );
    fs::write(site.path("nginx.conf"), text).unwrap();
    site.address = first;
    let _site = site.foreground();
    let kind = |address: SocketAddr, host: &str, path: &str| {
        let mut client = Client::connect(address);
        client.send(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        let status = client.read_head().status;
        if status == 200 { String::from_utf8(client.read_chunk().unwrap()).unwrap() } else { status.to_string() }
    };
    assert_eq!(kind(first, "a.example", "/s"), "one");
    assert_eq!(kind(first, "b.example", "/s"), "two");
    assert_eq!(kind(first, "127.0.0.1", "/s"), "one", "the first is the default server");
    assert_eq!(kind(second, "a.example", "/s"), "three");
    assert_eq!(kind(second, "x", "/t"), "four");
    assert_eq!(kind(first, "x", "/t"), "404", "it is at the other address");
}

#[test]
fn nginx_conf_names_open_publishers_once() {
    let mut site = Site::new("", LOCATIONS).foreground();
    site.signal(Signal::TERM);
    assert!(site.wait().success());
    let said = site.text("said");
    assert_eq!(said.matches("may publish at /pub, as in nginx").count(), 1, "{said}");
    assert_eq!(said.matches("`fantail import ").count(), 1, "{said}");
    let checked = run(site.folder.path(), &["check", "--nginx-conf", "nginx.conf"]);
    assert!(checked.status.success(), "{checked:?}");
    assert_eq!(said_by(&checked).matches("may publish at /pub, as in nginx").count(), 1, "{checked:?}");
    let toml = String::from_utf8(checked.stdout).unwrap();
    assert!(toml.starts_with("# The process, from nginx.conf:\n"), "{toml}");
    assert!(toml.contains("public_publish = true") && toml.contains("url = \"memory:\""), "{toml}");
    let explained = run(site.folder.path(), &["check", "--nginx-conf", "nginx.conf", "--explain", "/sub/a"]);
    assert!(String::from_utf8(explained.stdout).unwrap().contains("channels"), "it says which");
}

#[test]
fn nginx_conf_that_is_wrong_is_refused_with_file_and_line() {
    let site = Site::new("", "location /s { push_stream_subscriber sse; push_stream_channels_path a; }");
    for arguments in [&["check", "--nginx-conf", "nginx.conf"][..], &["serve", "--nginx-conf", "nginx.conf"]] {
        let refused = run(site.folder.path(), arguments);
        assert_eq!(refused.status.code(), Some(1));
        assert!(error(&refused).starts_with("error: nginx.conf:7: push_stream_subscriber: \"sse\""), "{refused:?}");
    }
    let file =
        "location /s { push_stream_subscriber; push_stream_channels_path a; push_stream_header_template_file h; }";
    site.write("", file);
    let refused = run(site.folder.path(), &["serve", "--nginx-conf", "nginx.conf"]);
    assert!(error(&refused).contains("error: nginx.conf:7: route[0].header_template_file: cannot read"), "{refused:?}");
    fs::write(site.path("h"), "FROM A FILE").unwrap();
    let site = site.foreground();
    let mut stream = site.connect();
    stream.send("GET /s HTTP/1.1\r\nHost: x\r\n\r\n");
    stream.read_head();
    assert_eq!(stream.read_chunk().unwrap(), b"FROM A FILE");
}

/// A copy of one of the configurations that `fantail import` is tested with, below a folder of its own and on free ports.
fn moved(example: &Path, to: &Path) -> Vec<SocketAddr> {
    let mut ports: Vec<(String, SocketAddr)> = Vec::new();
    let mut folders = vec![PathBuf::new()];
    for folder in ["log/nginx", "logs"] {
        fs::create_dir_all(to.join(folder)).expect("room for folders");
    }
    while let Some(folder) = folders.pop() {
        fs::create_dir_all(to.join(&folder)).expect("room for folders");
        for entry in fs::read_dir(example.join(&folder)).expect("a folder").flatten() {
            let name = folder.join(entry.file_name());
            if entry.path().is_dir() {
                folders.push(name);
                continue;
            }
            let text = fs::read_to_string(example.join(&name)).expect("a text");
            let below = format!("{}/", to.display());
            let text = ["/etc/nginx/", "/run/", "/var/"].iter().fold(text, |text, place| text.replace(place, &below));
            let lines = text.lines().map(|line| match line.trim().strip_prefix("listen ") {
                Some(listen) if !listen.contains(" ssl") => {
                    let (address, rest) = listen.split_at(listen.find([' ', ';']).expect("an end"));
                    let port = address.rsplit(':').next().expect("a port").to_owned();
                    let known = ports.iter().find(|(known, _)| *known == port).map(|(_, address)| *address);
                    let here = known.unwrap_or_else(|| {
                        let here = free();
                        ports.push((port, here));
                        here
                    });
                    // The same port for both families is one here.
                    if address.starts_with('[') { String::new() } else { format!("listen {here}{rest}") }
                }
                _ => line.to_owned(),
            });
            let text = lines.collect::<Vec<_>>().join("\n");
            fs::write(to.join(&name), text).expect("room for a file");
        }
    }
    ports.into_iter().map(|(_, address)| address).collect()
}

#[test]
fn nginx_confs_of_all_kinds_start_at_once() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/import");
    let mut slowest = Duration::ZERO;
    let mut started = 0;
    for example in fs::read_dir(examples).unwrap().map(|entry| entry.unwrap().path()) {
        let folder = tempfile::tempdir().unwrap();
        let name = example.file_name().unwrap().to_string_lossy().into_owned();
        let ports = moved(&example, folder.path());
        // Beyond what is served in the clear there is nowhere to listen.
        let tls = ["tls-only", "debian"].contains(&&*name);
        // A server that only publishes is the control listener.
        let address = if tls { free() } else { *ports.last().unwrap() };
        let mut more = vec!["-g".to_owned(), format!("pid {}/own.pid;", folder.path().display())];
        if name == "debian" || name == "first-steps" {
            // Their own says where.
            more.clear();
        }
        more.extend(["--control".to_owned(), "127.0.0.1:0".to_owned()]);
        if tls {
            more.extend(["--listen".to_owned(), address.to_string()]);
        }
        let site = Site { folder, address, child: None };
        let more: Vec<&str> = more.iter().map(String::as_str).collect();
        let said = fs::File::create(site.path("said")).unwrap();
        let began = Instant::now();
        let is_foreground = name == "container";
        let mut command = site.command(&more);
        command.stderr(said);
        if is_foreground {
            let mut site = site;
            site.child = Some(command.spawn().unwrap());
            site.until_it_listens();
            assert!(began.elapsed() < PATIENCE);
            started += usize::from(site.connect().get("/nothing").status == 404);
            continue;
        }
        let status = command.status().unwrap();
        let took = began.elapsed();
        assert!(status.success(), "{name}: {}", site.text("said"));
        let pid = fs::read_to_string(site.path("own.pid")).or_else(|_| fs::read_to_string(site.path("nginx.pid")));
        fs::write(site.path("run.pid"), pid.expect("a pid file")).unwrap();
        slowest = slowest.max(took);
        started += usize::from(site.connect().get("/no/such/place").status >= 200);
        let mut client = site.connect();
        client.send("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        assert!(client.read_head().status >= 200, "{name}");
    }
    assert!(started >= 12, "{started} were started");
    println!("the slowest start took {slowest:?}");
    // An unoptimised build on a machine that does other things beside it.
    assert!(slowest < Duration::from_secs(3), "{slowest:?}");
}

#[test]
fn nginx_conf_that_speaks_tls_alone_wants_an_address() {
    let site = Site::new("", "");
    let tls = "events {} http { push_stream_shared_memory_size 1m; server { listen 127.0.0.1:8443 ssl; location /s { \
               push_stream_subscriber; push_stream_channels_path a; } } }";
    fs::write(site.path("nginx.conf"), tls).unwrap();
    let refused = run(site.folder.path(), &["serve", "--nginx-conf", "nginx.conf"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(error(&refused).contains("nginx speaks TLS at 127.0.0.1:8443"), "{refused:?}");
}

#[test]
fn nginx_conf_stops_with_footers_and_304_at_once() {
    let mut site = Site::new("", LOCATIONS).foreground();
    let mut stream = site.connect();
    stream.send("GET /sub/a HTTP/1.1\r\nHost: x\r\n\r\n");
    stream.read_head();
    assert_eq!(stream.read_chunk().unwrap(), b"HEAD\r\n");
    let mut poll = site.connect();
    poll.send("GET /lp?id=a HTTP/1.1\r\nHost: x\r\n\r\n");
    eventually("two subscribers", || site.connect().get("/stats?id=a").text().contains("\"subscribers\": 2"));
    // It has begun a request that it does not end.
    let mut half = site.connect();
    half.send("POST /pub?id=b HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nab");
    let began = Instant::now();
    site.signal(Signal::TERM);
    assert_eq!(stream.read_chunk().unwrap(), b"FOOT\r\n");
    assert_eq!(stream.read_chunk(), Err(End::Said));
    assert_eq!(poll.answer().status, 304);
    assert!(site.wait().success());
    assert!(began.elapsed() < Duration::from_secs(8), "SIGTERM waits for nobody: {:?}", began.elapsed());
}
