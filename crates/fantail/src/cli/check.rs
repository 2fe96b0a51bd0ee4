//! `fantail check`: the effective configuration, or what is wrong with it, or which route answers a request.

use std::io::Write;

use clap::Args;

use super::{output, sources::SourceArgs};
use crate::config;

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
    let config = config::load(&args.sources.sources())?;
    let text = if args.explain.is_empty() {
        config.effective_toml()
    } else {
        crate::explain(&config, &args.explain.join(" "))?
    };
    let mut out = std::io::stdout();
    output(out.write_all(text.as_bytes()).and_then(|()| out.flush()))
}
