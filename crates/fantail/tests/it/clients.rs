//! Clients as people use them, in scripts of tests/clients; say.mjs there says what those tell.

use std::process::Command;

use serde_json::{Value, json};

use crate::program::{Program, interpreter, tests_folder};

/// A script that runs. It ends when it is dropped.
pub(crate) struct Script {
    program: Program,
    reports: Vec<Value>,
    done: bool,
}

impl Script {
    /// Starts one with these arguments.
    pub(crate) fn start(name: &str, arguments: &[&str]) -> Self {
        let script = tests_folder("clients").join(name);
        let mut command = Command::new(interpreter(&script));
        command.arg(script).args(arguments).env("PYTHONDONTWRITEBYTECODE", "1");
        // Whatever this machine uses for the world outside, loopback is none of its business.
        command.env("NO_PROXY", "*").env("no_proxy", "*");
        Self { program: Program::start(&command), reports: Vec::new(), done: false }
    }

    /// Whether it has come to its end by now.
    pub(crate) fn is_done(&mut self) -> bool {
        while !self.done
            && let Some(line) = self.program.line_now()
        {
            self.note(&line);
        }
        self.done
    }

    /// Waits for its end; what it told.
    pub(crate) fn reports(mut self) -> Vec<Value> {
        while !self.done {
            let line = self.program.line();
            self.note(&line.unwrap_or_else(|| panic!("a client ended early after {:#?}", self.reports)));
        }
        self.reports
    }

    fn note(&mut self, line: &str) {
        let report = serde_json::from_str(line).unwrap_or_else(|error| panic!("a client said {line:?}: {error}"));
        if report == json!({ "report": "done" }) {
            self.done = true;
        } else {
            self.reports.push(report);
        }
    }
}
