//! `fantail check`: the effective configuration, or what is wrong with it, or which route answers a request.

use std::{io::Write, path::absolute};

use anyhow::anyhow;
use clap::Args;

use super::{nginx::Carried, output, sources::SourceArgs};
use crate::auth;
use crate::config::{By, Config};

#[derive(Args)]
pub(super) struct CheckArgs {
    #[command(flatten)]
    sources: SourceArgs,
    #[arg(
        long,
        help = "Say which public route answers a request, such as GET https://host/path",
        value_name = "REQUEST",
        num_args = 1..=2
    )]
    explain: Vec<String>,
}

pub(super) fn run(args: &CheckArgs) -> anyhow::Result<()> {
    let (config, carried) = args.sources.read()?;
    for note in carried.iter().flat_map(Carried::notes) {
        // A closed standard error leaves nobody to tell.
        let _ = writeln!(std::io::stderr(), "warning: {note}");
    }
    for (name, access) in config.access.iter().filter(|(_, access)| access.by != Some(By::Callback)) {
        auth::keys(access).map_err(|error| anyhow!("access.{name}.{error}"))?;
    }
    let text = if args.explain.is_empty() {
        let process = carried.as_ref().map(Carried::about_process).unwrap_or_default();
        process + &place(&config) + &config.effective_toml()
    } else {
        crate::explain(&config, &args.explain.join(" "))?
    };
    let mut out = std::io::stdout();
    output(out.write_all(text.as_bytes()).and_then(|()| out.flush()))
}

/// Where a relative directory is depends on where the server is started, so it is said, as a comment.
fn place(config: &Config) -> String {
    let Some(directory) = config.journal.url.directory() else { return String::new() };
    let directory = absolute(directory).unwrap_or_else(|_| directory.to_owned());
    // A line break in a name would end the comment.
    let shown = directory.display().to_string().replace(char::is_control, "?");
    let state = if directory.is_dir() { "" } else { ", which will be made" };
    format!("# Messages are kept in {shown}{state}.\n\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn check_says_where_data_goes_and_stays_toml() {
        let config = Config::default();
        let text = place(&config) + &config.effective_toml();
        let here = std::env::current_dir().unwrap();
        assert!(text.starts_with(&format!("# Messages are kept in {}/fantail-data", here.display())), "{text}");
        assert_eq!(Config::from_toml(&text).unwrap(), config);
        assert_eq!(place(&Config::from_toml("journal.url = 'memory:'").unwrap()), "");
        let odd = Config::from_toml("journal.url = \"disk:/a\\nb\"").unwrap();
        assert_eq!(place(&odd), "# Messages are kept in /a?b, which will be made.\n\n");
    }
}
