//! A program that a test starts, and what it says on stdout. It ends with the test, however that ends, and all that it has
//! started itself ends with it.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError, sync_channel};
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process_group};

use crate::server::{PATIENCE, eventually};

/// How many lines wait for the test to read them; beyond it the program waits too.
const LINES: usize = 4096;

/// Runs what it is given, and kills it and all its children when stdin ends: also when the test was killed and could not
/// do it. The shell does not hold stdout, so that its end is the program's.
const GUARD: &str = r#""$@" </dev/null & exec >&-; read -r _; kill -KILL 0"#;

/// Killed when it is dropped.
pub(crate) struct Program {
    name: String,
    /// The guard, which leads the group of all its processes.
    guard: Child,
    /// Never written to; its end is the program's.
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    /// Kept for the words of a failure.
    said: Vec<String>,
}

/// What stands in `crates/fantail/tests`; fails the test if it was not installed.
pub(crate) fn tests_folder(part: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(part);
    assert!(path.exists(), "{} is missing: run scripts/test, which installs it", path.display());
    path
}

/// Where `node` or the Python of the tests is to run this script.
pub(crate) fn interpreter(script: &Path) -> PathBuf {
    if script.extension().is_some_and(|kind| kind == "py") {
        tests_folder(".venv/bin/python")
    } else {
        tests_folder("node_modules");
        "node".into()
    }
}

impl Program {
    /// Starts a command; its stdin and stdout are the guard's.
    pub(crate) fn start(command: &Command) -> Self {
        let name = format!("{command:?}");
        let mut guard = Command::new("sh");
        guard.args(["-c", GUARD, "guard"]).arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            guard.env(name, value.expect("variables are only added"));
        }
        guard.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut guard = guard.spawn().expect("a shell");
        let stdin = guard.stdin.take();
        let out = BufReader::new(guard.stdout.take().expect("a pipe"));
        let (tell, lines) = sync_channel(LINES);
        std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                if tell.send(line).is_err() {
                    return;
                }
            }
        });
        Self { name, guard, stdin, lines, said: Vec::new() }
    }

    /// The next line, or `None` at the end; fails the test if it says nothing for [`PATIENCE`].
    pub(crate) fn line(&mut self) -> Option<String> {
        match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => Some(self.note(line)),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => {
                panic!("{} said nothing for {PATIENCE:?} after {:#?}", self.name, self.said)
            }
        }
    }

    /// The next line, if it has come.
    pub(crate) fn line_now(&mut self) -> Option<String> {
        match self.lines.try_recv() {
            Ok(line) => Some(self.note(line)),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => panic!("{} ended after {:#?}", self.name, self.said),
        }
    }

    /// The next line of which `part` makes something; others are passed over.
    pub(crate) fn until<T>(&mut self, what: &str, part: impl Fn(&str) -> Option<T>) -> T {
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            let Some(line) = self.line() else { break };
            if let Some(part) = part(&line) {
                return part;
            }
        }
        panic!("{} did not say {what}, but {:#?}; its errors are above", self.name, self.said);
    }

    /// Waits until what it has said so far is enough.
    pub(crate) fn until_enough(&mut self, what: &str, enough: impl Fn(&[String]) -> bool) {
        while !enough(&self.said) {
            assert!(self.line().is_some(), "{} ended before it said {what}, but {:#?}", self.name, self.said);
        }
    }

    fn note(&mut self, line: String) -> String {
        self.said.push(line.clone());
        line
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        kill_process_group(Pid::from_child(&self.guard), Signal::KILL).ok();
        self.guard.wait().ok();
    }
}

#[test]
fn program_that_is_dropped_ends_with_what_it_started() {
    let mut command = Command::new("sh");
    command.args(["-c", "sleep 1000 & echo $!; wait"]);
    let mut program = Program::start(&command);
    let child = program.line().expect("the id of its child");
    // One that has ended may still be listed, as nobody has asked for its end.
    let state = || std::fs::read_to_string(format!("/proc/{child}/stat")).ok();
    let runs = || state().is_some_and(|state| !state.contains(") Z "));
    assert!(runs());
    drop(program);
    eventually("the child has ended", || !runs());
}

#[test]
fn program_whose_test_was_killed_ends_too() {
    let mut command = Command::new("sh");
    command.args(["-c", "echo up; exec sleep 1000"]);
    let mut program = Program::start(&command);
    assert_eq!(program.line().as_deref(), Some("up"));
    // What the kernel does to the pipes of a process that was killed.
    drop(program.stdin.take());
    assert_eq!(program.line(), None, "its stdout ended with it");
}
