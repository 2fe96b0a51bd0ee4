//! `fantail check`: the effective configuration, or what is wrong with it.

use std::io::Write;

use super::{output, sources::SourceArgs};
use crate::config;

pub(super) fn run(args: &SourceArgs) -> anyhow::Result<()> {
    let config = config::load(&args.sources())?;
    let mut out = std::io::stdout();
    output(out.write_all(config.effective_toml().as_bytes()).and_then(|()| out.flush()))
}
