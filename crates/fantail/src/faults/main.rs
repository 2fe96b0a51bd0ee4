//! The program in a build that is faulty on purpose, under a name of its own so that nobody takes one for the other.

use std::process::ExitCode;

#[path = "../main.rs"]
mod program;

fn main() -> ExitCode {
    program::main()
}
