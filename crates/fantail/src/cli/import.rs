//! `fantail import`: a configuration of nginx as one of Fantail's, and what became of each directive.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;

use super::output;
use crate::nginx::{self, Verdict};

/// The exit code where something was left out, and that is not wanted.
const INCOMPLETE: u8 = 2;

#[derive(Args)]
pub(super) struct ImportArgs {
    #[arg(help = "The main file, such as /etc/nginx/nginx.conf")]
    file: PathBuf,
    #[arg(long, help = "Write the configuration to this file, not to standard output", value_name = "FILE")]
    output: Option<PathBuf>,
    #[arg(long, help = "Write the report to this file, not to standard error", value_name = "FILE")]
    report: Option<PathBuf>,
    #[arg(long, help = "Exit with 2 if anything was left out")]
    strict: bool,
    #[arg(
        long,
        help = "The directory in which the file stood, if it was copied from there with all that it includes",
        value_name = "DIR"
    )]
    stood_in: Option<PathBuf>,
}

pub(super) fn run(args: &ImportArgs) -> anyhow::Result<ExitCode> {
    let import = nginx::import(&args.file, args.stood_in.as_deref())?;
    let report = import.report.to_string();
    match &args.report {
        Some(path) => fs::write(path, report).with_context(|| format!("cannot write {}", path.display()))?,
        // A closed standard error leaves nobody to tell.
        None => drop(std::io::stderr().write_all(report.as_bytes())),
    }
    if let Some(path) = &args.output {
        fs::write(path, &import.toml).with_context(|| format!("cannot write {}", path.display()))?;
    } else {
        let mut out = std::io::stdout();
        output(out.write_all(import.toml.as_bytes()).and_then(|()| out.flush()))?;
    }
    let is_whole = import.report.count(Verdict::LeftOut) == 0;
    Ok(if args.strict && !is_whole { ExitCode::from(INCOMPLETE) } else { ExitCode::SUCCESS })
}
