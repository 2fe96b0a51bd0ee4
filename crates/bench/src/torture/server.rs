//! The server as a process: started, ended in several ways, and looked at from outside. Everything it prints goes to a file.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, ensure};
use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};

use crate::procfs;

/// Ports are taken from here, below those that the kernel hands out, so that no client gets one while the server is away.
const PORTS: std::ops::Range<u16> = 20_000..30_000;
/// What a file system gives to a file at a time.
const BLOCK: u64 = 4096;
/// How long a question about readiness may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// The server under test, running or not.
#[derive(Debug)]
pub(super) struct Server {
    program: PathBuf,
    arguments: Vec<String>,
    pub(super) public: SocketAddr,
    pub(super) control: SocketAddr,
    log: PathBuf,
    child: Option<Child>,
    pub(super) starts: u64,
}

impl Server {
    /// Not started yet; `log` is where what it prints is kept.
    pub(super) fn new(program: &Path, mut arguments: Vec<String>, log: PathBuf) -> anyhow::Result<Self> {
        ensure!(program.is_file(), "{} is not there: build it, or name the server with --server", program.display());
        let (public, control) = (free_address()?, free_address()?);
        let listen = ["--listen".to_owned(), public.to_string(), "--control".to_owned(), control.to_string()];
        arguments.splice(0..0, std::iter::once("serve".to_owned()).chain(listen));
        Ok(Self { program: program.to_owned(), arguments, public, control, log, child: None, starts: 0 })
    }

    /// Starts it, to end with this process however that ends. A file that may not grow is to be an error for it, not its
    /// end: SIGXFSZ is ignored.
    pub(super) fn start(&mut self) -> anyhow::Result<()> {
        let log =
            OpenOptions::new().create(true).append(true).open(&self.log).context("cannot write the server's log")?;
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "sh", "-c", r#"trap "" XFSZ; exec "$0" "$@""#]);
        command.arg(&self.program).args(&self.arguments);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        self.child = Some(command.spawn().context("cannot start the server (through setpriv and sh)")?);
        self.starts += 1;
        Ok(())
    }

    /// Its process, if it runs.
    pub(super) fn id(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// How it ended, if it did by itself since the last look.
    pub(super) fn ended(&mut self) -> Option<ExitStatus> {
        let status = self.child.as_mut()?.try_wait().ok().flatten()?;
        self.child = None;
        Some(status)
    }

    /// Ends it at once.
    pub(super) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Sends it SIGTERM, SIGSTOP or SIGCONT.
    pub(super) fn signal(&self, signal: Signal) {
        if let Some(pid) = self.pid() {
            let _ = kill_process(pid, signal);
        }
    }

    /// Lets none of its files grow, or lets them again.
    pub(super) fn limit_files(&self, bytes: Option<u64>) -> anyhow::Result<()> {
        let limit = Rlimit { current: bytes, maximum: None };
        prlimit(self.pid(), Resource::Fsize, limit).context("cannot limit the server's files")?;
        Ok(())
    }

    fn pid(&self) -> Option<Pid> {
        Pid::from_raw(i32::try_from(self.id()?).ok()?)
    }

    /// The status with which it answers whether it is ready.
    pub(super) fn readiness(&self) -> std::io::Result<u16> {
        let mut stream = TcpStream::connect_timeout(&self.control, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(format!("GET /readyz HTTP/1.1\r\nHost: {}\r\n\r\n", self.control).as_bytes())?;
        let mut start = [0; 12];
        stream.read_exact(&mut start)?;
        let status = std::str::from_utf8(&start[9..]).ok().and_then(|status| status.parse().ok());
        status.ok_or_else(|| std::io::Error::other("no status line"))
    }

    /// Its memory, its greatest so far, and its open descriptors.
    pub(super) fn resources(&self) -> (u64, u64, usize) {
        let Some(id) = self.id() else { return (0, 0, 0) };
        let (now, most) = procfs::resident(&[id]);
        (now, most, fs::read_dir(format!("/proc/{id}/fd")).map_or(0, Iterator::count))
    }

    /// Fills up the last block of its log, so that what it has to say needs room of its own.
    pub(super) fn pad_log(&self) -> anyhow::Result<()> {
        let mut log = OpenOptions::new().append(true).open(&self.log).context("cannot write the server's log")?;
        let over = log.metadata()?.len() % BLOCK;
        log.write_all(&vec![b'\n'; (BLOCK - over) as usize]).context("cannot write the server's log")
    }

    /// Lines of its log that tell of a panic, and its last lines.
    pub(super) fn complaints(&self) -> (Vec<String>, Vec<String>) {
        let mut text = String::new();
        let _ = File::open(&self.log).and_then(|mut file| file.read_to_string(&mut text));
        let panics = text.lines().filter(|line| line.contains("panicked at")).map(str::to_owned).collect();
        let mut last: Vec<String> = text.lines().rev().take(12).map(str::to_owned).collect();
        last.reverse();
        (panics, last)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

fn free_address() -> anyhow::Result<SocketAddr> {
    for _ in 0..100 {
        let address = SocketAddr::from(([127, 0, 0, 1], fastrand::u16(PORTS)));
        if TcpListener::bind(address).is_ok() {
            return Ok(address);
        }
    }
    anyhow::bail!("no free port between {} and {}", PORTS.start, PORTS.end)
}
