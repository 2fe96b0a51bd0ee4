//! The server under test: in this process on a runtime of its own, or as the real program. Both listen on free loopback
//! ports.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use fantail::Server;
use fantail::config::{Config, Journal, JournalUrl, Span, Stop};
use rustix::process::{Pid, Signal, kill_process};
use tokio::sync::oneshot;

use crate::client::Client;

/// How long anything may take that is bound to happen. It only ever fails a test; passing never waits for it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A server in this process. Dropping it stops it as a signal would.
pub(crate) struct TestServer {
    pub(crate) public: SocketAddr,
    pub(crate) control: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl TestServer {
    /// A server with this configuration as in a file; ports are chosen for it, and unless `[journal]` or `[stop]` is given it
    /// keeps nothing on disk and stops fast.
    pub(crate) fn start(toml: &str) -> Self {
        let mut config = Config::from_toml(toml).expect("a valid configuration");
        config.listen.public = SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into();
        config.control.listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into();
        if config.journal == Journal::default() {
            config.journal.url = JournalUrl::Memory;
        }
        if config.stop == Stop::default() {
            let short = |text: &str| text.parse::<Span>().expect("a span");
            config.stop.frame = short("100ms");
            config.stop.deadline = short("1s");
        }
        let (stop, stopped) = oneshot::channel();
        let (tell, told) = sync_channel(1);
        let thread = std::thread::spawn(move || {
            let mut runtime = tokio::runtime::Builder::new_multi_thread();
            let runtime = runtime.worker_threads(2).enable_all().build().expect("a tokio runtime");
            runtime.block_on(async {
                let server = Server::new(config).expect("free ports");
                let control = server.control_addr().expect("a control listener");
                tell.send((server.public_addr(), control)).expect("a test that waits");
                let stopped = async { drop(stopped.await) };
                server.run(stopped).await.expect("listeners that last");
            });
            runtime.shutdown_background();
        });
        let (public, control) = told.recv_timeout(PATIENCE).expect("the server starts");
        Self { public, control, stop: Some(stop), thread: Some(thread) }
    }

    /// A connection to the public listener.
    pub(crate) fn public(&self) -> Client {
        Client::connect(self.public)
    }

    /// A connection to the control listener.
    pub(crate) fn control(&self) -> Client {
        Client::connect(self.control)
    }

    /// Publishes one message and returns the id under which it can be resumed from.
    pub(crate) fn publish(&self, channel: &str, data: &str) -> String {
        let answer = self.control().request("POST", &format!("/pub/{channel}"), &[], data.as_bytes());
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()["published"][0]["id"].as_str().expect("an id").to_owned()
    }

    /// One figure of `GET /stats`.
    pub(crate) fn stat(&self, name: &str) -> u64 {
        let stats = self.control().get("/stats").json();
        stats[name].as_u64().unwrap_or_else(|| panic!("no number {name} in {stats}"))
    }

    /// Waits until a figure of `GET /stats` is `value`.
    pub(crate) fn until_stat(&self, name: &str, value: u64) {
        eventually(&format!("{name} = {value}"), || self.stat(name) == value);
    }

    /// One figure of `GET /metrics`, by its full name; shards are added up.
    pub(crate) fn metric(&self, name: &str) -> u64 {
        let text = self.control().get("/metrics").text();
        let lines = text.lines().filter_map(|line| {
            let rest = line.strip_prefix(name)?;
            (rest.starts_with([' ', '{'])).then(|| rest.rsplit(' ').next()?.parse::<u64>().ok())?
        });
        let values: Vec<_> = lines.collect();
        assert!(!values.is_empty(), "no metric {name} in\n{text}");
        values.iter().sum()
    }

    /// Begins to stop, as SIGTERM does, and does not wait.
    pub(crate) fn begin_stop(&mut self) {
        self.stop.take();
    }

    /// Whether it has stopped.
    pub(crate) fn has_stopped(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.begin_stop();
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            if !std::thread::panicking() {
                ended.expect("the server does not panic");
            }
        }
    }
}

/// The real program, `fantail serve`. Killed when it is dropped.
pub(crate) struct Process {
    pub(crate) public: SocketAddr,
    pub(crate) control: SocketAddr,
    /// The lines of its banner, up to the journal's.
    pub(crate) said: Vec<String>,
    child: Child,
    /// Deleted with the process.
    _config: Option<tempfile::NamedTempFile>,
}

impl Process {
    /// Starts the program with this configuration file on free ports, and waits for its banner. Unless the file says where,
    /// it keeps nothing on disk.
    pub(crate) fn start(toml: &str) -> Self {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Self::start_at(toml, any, any)
    }

    /// The same on given addresses, such as those of a process that was killed.
    pub(crate) fn start_at(toml: &str, public: SocketAddr, control: SocketAddr) -> Self {
        Self::start_by(Command::new(env!("CARGO_BIN_EXE_fantail")), toml, public, control)
    }

    /// The same on free ports, for a program that may have no more than so many descriptors.
    pub(crate) fn start_with_descriptors(toml: &str, most: usize) -> Self {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let mut command = Command::new("sh");
        command.args(["-c", "ulimit -n \"$1\" && shift && exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_fantail")]);
        command.arg(most.to_string());
        Self::start_by(command, toml, any, any)
    }

    /// The same for a program that says elsewhere what it logs.
    pub(crate) fn start_with_log(toml: &str, log: Stdio) -> Self {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let mut command = Command::new(env!("CARGO_BIN_EXE_fantail"));
        command.stderr(log);
        Self::start_by(command, toml, any, any)
    }

    fn start_by(mut command: Command, toml: &str, public: SocketAddr, control: SocketAddr) -> Self {
        let mut config = tempfile::Builder::new().suffix(".toml").tempfile().expect("a temporary file");
        config.write_all(toml.as_bytes()).expect("room for a configuration");
        command.args(["serve", "--listen", &public.to_string(), "--control", &control.to_string(), "--config"]);
        command.arg(config.path()).args((!toml.contains("[journal]")).then_some("--ephemeral"));
        Self::spawn(command, Some(config))
    }

    /// Starts the program without a configuration file in this directory, on free ports.
    pub(crate) fn start_in(directory: &Path, arguments: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fantail"));
        command.current_dir(directory);
        command.args(["serve", "--listen", "127.0.0.1:0", "--control", "127.0.0.1:0"]).args(arguments);
        Self::spawn(command, None)
    }

    fn spawn(mut command: Command, config: Option<tempfile::NamedTempFile>) -> Self {
        command.env_clear().stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        let out = BufReader::new(child.stdout.take().expect("a pipe"));
        // Read to the end, so that the program never writes to a closed pipe.
        let (tell, lines) = sync_channel(64);
        std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                tell.send(line).ok();
            }
        });
        let mut said: Vec<String> = Vec::new();
        while !said.last().is_some_and(|line| line.starts_with("  journal")) {
            match lines.recv_timeout(PATIENCE) {
                Ok(line) => said.push(line),
                Err(RecvTimeoutError::Timeout) => panic!("the program says no more than {said:?}"),
                Err(RecvTimeoutError::Disconnected) => panic!("the program ended after {said:?}"),
            }
        }
        let address = |name: &str| {
            let address = said.iter().find_map(|line| line.trim().strip_prefix(name));
            let address = address.expect("an address in the banner").trim().strip_prefix("http://");
            address.expect("a URL in the banner").parse().expect("an address in the banner")
        };
        let (public, control) = (address("public"), address("control"));
        Self { public, control, said, child, _config: config }
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends SIGTERM.
    pub(crate) fn terminate(&self) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::TERM).expect("a process to signal");
    }

    /// Sends SIGKILL and waits for its end.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("a process to kill");
        self.child.wait().expect("a process to wait for");
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("a process to wait for") {
                return status;
            }
            assert!(Instant::now() < end, "the program did not end within {PATIENCE:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// A data directory, deleted when it is dropped.
pub(crate) struct Data(tempfile::TempDir);

impl Data {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary directory"))
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.0.path().join("data")
    }

    /// A configuration that keeps messages there, beside `more`.
    pub(crate) fn config(&self, more: &str) -> String {
        format!("{more}\n[journal]\nurl = 'disk:{}'\n", self.path().display())
    }
}

/// Waits until something holds that is bound to happen.
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
