//! The command line's part that all scenarios share.

use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, FromArgMatches};

use crate::ledger::Ledger;
use crate::stamp;
use crate::swarm::Swarm;
use crate::target::{Format, Mode, Names, PublishTarget, SubscribeTarget, Template};

/// Whom to load, and where to report.
#[derive(Args, Clone, Debug)]
pub(crate) struct Common {
    /// Where to subscribe, with {channel} in its path
    #[arg(long, default_value = "http://127.0.0.1:8080/sub/{channel}")]
    pub(crate) sub: Template,
    /// How subscribers are sent their messages
    #[arg(long, value_enum, default_value = "events")]
    pub(crate) mode: Mode,
    /// Where to publish, with {channel} in its path if the server wants it there
    #[arg(long, default_value = "http://127.0.0.1:8081/pub/{channel}")]
    pub(crate) r#pub: Template,
    /// How a message is published
    #[arg(long, value_enum, default_value = "raw")]
    pub(crate) format: Format,
    /// Between several channels in a subscriber's URL
    #[arg(long, default_value = "/")]
    pub(crate) joiner: String,
    /// A header line for subscribers, such as 'Authorization: Bearer x'; may be repeated
    #[arg(long)]
    pub(crate) sub_header: Vec<String>,
    /// A header line for publishers; may be repeated
    #[arg(long)]
    pub(crate) pub_header: Vec<String>,
    /// The server's process, which stands for its descendants too; may be repeated
    #[arg(long)]
    pub(crate) pid: Vec<u32>,
    /// Bytes of data in a message
    #[arg(long, default_value_t = 100)]
    pub(crate) size: usize,
    /// Publish requests that wait for their answers on one connection, at most
    #[arg(long, default_value_t = 32)]
    pub(crate) in_flight: usize,
    /// Connections that are being opened at a time, where not all are to come at once
    #[arg(long, default_value_t = 256)]
    pub(crate) connect_window: usize,
    /// Run on this core alone
    #[arg(long)]
    pub(crate) cpu: Option<usize>,
    /// Write the report as JSON
    #[arg(long)]
    pub(crate) json: Option<PathBuf>,
    /// Write the report's curve as a plot
    #[arg(long)]
    pub(crate) svg: Option<PathBuf>,
}

impl Common {
    /// An empty swarm for this server, and the target for its publishers.
    pub(crate) fn swarm(&self, channels: usize, groups: usize) -> anyhow::Result<(Swarm, PublishTarget)> {
        let names = Names { run: fastrand::u32(..) };
        let size = self.size.max(stamp::LEN);
        let subscribe = SubscribeTarget {
            template: self.sub.clone(),
            mode: self.mode,
            joiner: self.joiner.clone(),
            headers: lines(&self.sub_header),
            names,
        };
        let publish = PublishTarget {
            template: self.r#pub.clone(),
            format: self.format,
            headers: lines(&self.pub_header),
            size,
            names,
        };
        let ledger = Ledger::new(names.run, size, channels, groups);
        Ok((Swarm::new(subscribe, ledger, self.connect_window)?, publish))
    }

    /// Keeps this process on the core that was asked for.
    pub(crate) fn pin(&self) -> anyhow::Result<()> {
        let Some(cpu) = self.cpu else { return Ok(()) };
        let mut set = rustix::thread::CpuSet::new();
        set.set(cpu);
        rustix::thread::sched_setaffinity(None, &set).with_context(|| format!("cannot run on core {cpu}"))
    }
}

/// Options as they are when nothing is said on the command line, so that defaults are written once.
pub(crate) fn defaults<T: Args + FromArgMatches>() -> T {
    let command = T::augment_args(clap::Command::new("defaults").no_binary_name(true));
    let matches = command.get_matches_from(std::iter::empty::<&str>());
    T::from_arg_matches(&matches).expect("every option has a default")
}

fn lines(headers: &[String]) -> String {
    headers.iter().flat_map(|header| [header.as_str(), "\r\n"]).collect()
}
