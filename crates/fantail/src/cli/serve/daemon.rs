//! Going to the background: a process of its own serves, and the one in the foreground ends once it does.

use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, ExitCode, Stdio};

use anyhow::Context;
use rustix::stdio::{dup2_stderr, dup2_stdout};

/// What the process in the background says when it serves.
const READY: &str = "serving";

/// Starts the process in the background with the arguments of this one, and waits until it serves. It says itself why it does
/// not.
pub(super) fn start() -> anyhow::Result<ExitCode> {
    let program = std::env::current_exe().context("daemon: cannot find the program")?;
    let mut child = Command::new(program)
        .args(std::env::args_os().skip(1))
        .arg("--detached")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("daemon: cannot start a process in the background")?;
    let mut said = String::new();
    if let Some(out) = child.stdout.take() {
        BufReader::new(out).read_line(&mut said).context("daemon: cannot wait for the process in the background")?;
    }
    if said.trim_end() == READY {
        return Ok(ExitCode::SUCCESS);
    }
    child.wait().context("daemon")?;
    Ok(ExitCode::FAILURE)
}

/// Leaves the terminal's session. To be called in the background.
pub(super) fn detach() -> anyhow::Result<()> {
    rustix::process::setsid().context("daemon: cannot begin a session").map(drop)
}

/// Tells the process in the foreground that it may end, and lets go of what both have. What is still said to standard error
/// goes to `log`, if there is one.
pub(super) fn ready(log: Option<&File>) -> anyhow::Result<()> {
    // Nobody waits any more if it cannot be said.
    let mut out = std::io::stdout();
    let _ = writeln!(out, "{READY}").and_then(|()| out.flush());
    let nowhere = OpenOptions::new().write(true).open("/dev/null").context("daemon: cannot open /dev/null")?;
    dup2_stdout(&nowhere).context("daemon")?;
    match log {
        Some(log) => dup2_stderr(log).context("daemon"),
        None => Ok(()),
    }
}
