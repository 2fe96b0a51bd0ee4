//! A child process on a core of its own, ended when it is dropped.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::interrupt;

/// How long a server may take to listen, and to end.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    name: String,
    /// What it printed, told if it does not come up.
    output: std::path::PathBuf,
}

impl Process {
    /// Starts a program on a core, to end with this process however that ends; `taskset` and `setpriv` become the
    /// program, so that the process id is its own.
    pub(crate) fn start(cpu: usize, program: &str, args: &[&str], dir: &Path) -> anyhow::Result<Self> {
        let output = dir.join(format!("output-{}", fastrand::u32(..)));
        let file = File::create(&output)?;
        let mut command = Command::new("taskset");
        command.args(["-c", &cpu.to_string(), "setpriv", "--pdeathsig", "TERM", program]).args(args);
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        let child = command.spawn().with_context(|| format!("cannot start {program}"))?;
        Ok(Self { child, name: program.to_owned(), output })
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Ends it as a crash would.
    pub(crate) fn kill(mut self) -> anyhow::Result<()> {
        self.child.kill().with_context(|| format!("cannot kill {}", self.name))?;
        self.child.wait().with_context(|| format!("cannot wait for {}", self.name))?;
        Ok(())
    }

    /// It has come to its end by itself.
    pub(crate) fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// What it has printed so far.
    pub(crate) fn output(&self) -> String {
        std::fs::read_to_string(&self.output).unwrap_or_default()
    }

    /// Waits until something accepts connections there.
    pub(crate) fn wait_listening(&self, address: SocketAddr) -> anyhow::Result<()> {
        self.wait(&format!("listen on {address}"), || TcpStream::connect(address).is_ok())
    }

    /// Waits until this request is answered with 200: behind an open port a server may still be starting.
    pub(crate) fn wait_answering(&self, address: SocketAddr, request: &[u8]) -> anyhow::Result<()> {
        let answered = || -> std::io::Result<bool> {
            let mut stream = TcpStream::connect(address)?;
            stream.set_read_timeout(Some(Duration::from_secs(1)))?;
            stream.write_all(request)?;
            let mut start = [0; 12];
            stream.read_exact(&mut start)?;
            Ok(start.ends_with(b" 200"))
        };
        self.wait(&format!("answer on {address}"), || answered().unwrap_or(false))
    }

    fn wait(&self, what: &str, mut done: impl FnMut() -> bool) -> anyhow::Result<()> {
        let since = Instant::now();
        while !done() {
            interrupt::check()?;
            if since.elapsed() > PATIENCE {
                bail!("{} does not {what}: {}", self.name, self.output());
            }
            sleep(Duration::from_millis(50));
        }
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Once waited for, its id may be another's.
        if self.has_ended() {
            return;
        }
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, Signal::TERM);
        }
        let since = Instant::now();
        while since.elapsed() < PATIENCE {
            if self.has_ended() {
                return;
            }
            sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The first line that a program prints when asked so.
pub(crate) fn output(program: &OsStr, arg: &str) -> String {
    let Ok(output) = Command::new(program).arg(arg).output() else { return "unknown version".into() };
    let text = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&text).lines().next().unwrap_or("unknown version").to_owned()
}
