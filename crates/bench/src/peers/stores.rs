//! Fantail with each of its journals, on files that go with it; one that was killed can be started again on the same.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use clap::ValueEnum;
use serde_json::Value;
use tempfile::TempDir;

use crate::args::Common;
use crate::clock::{self, SECOND};
use crate::metrics::Metrics;
use crate::peers::process::Process;
use crate::peers::{Place, free_ports};
use crate::target::Template;
use crate::{ask, disk, interrupt};

/// How long a start may take, whatever it finds.
const STARTING: u64 = 120 * SECOND;
/// Between two questions whether it has started.
const LOOK: Duration = Duration::from_millis(1);

/// How Fantail keeps messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Store {
    /// In memory
    Memory,
    /// On disk; a publish is answered once the kernel has it
    Os,
    /// On disk; a publish is answered once the disk has it
    Fsync,
}

/// A server that runs until it is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    /// How to load it.
    pub(crate) common: Common,
    /// Its NDJSON endpoint.
    pub(crate) batch: Template,
    control: SocketAddr,
    place: Place,
    arguments: Vec<String>,
    process: Option<Process>,
    /// Of [`Self::dir`].
    data: PathBuf,
    /// All its files; goes last.
    dir: TempDir,
}

impl Store {
    /// What the table calls it.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Os => "disk, os",
            Self::Fsync => "disk, fsync",
        }
    }

    /// The arguments it runs with, to be printed beside its figures.
    pub(crate) fn configuration(self) -> &'static str {
        match self {
            Self::Memory => "serve --shards 1 --ephemeral",
            Self::Os => "serve --shards 1 --data DIR --set journal.durability=os",
            Self::Fsync => "serve --shards 1 --data DIR --set journal.durability=fsync",
        }
    }

    /// Starts Fantail on its core, with files of its own in `within`. `settings`: further ones, as for `--set`.
    pub(crate) fn start(
        self,
        place: &Place,
        like: &Common,
        within: &Path,
        settings: &[&str],
    ) -> anyhow::Result<Server> {
        let dir = TempDir::with_prefix_in("fantail-bench-", within)
            .with_context(|| format!("cannot write in {}", within.display()))?;
        let data = dir.path().join("data");
        let [public, control] = free_ports()?.map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
        let (listen, operate) = (public.to_string(), control.to_string());
        let path = data.to_string_lossy();
        let mut arguments: Vec<&str> = self.configuration().split(' ').collect();
        if let Some(place) = arguments.iter_mut().find(|argument| **argument == "DIR") {
            *place = &path;
        }
        arguments.extend(["--listen", &listen, "--control", &operate]);
        arguments.extend(settings.iter().flat_map(|&setting| ["--set", setting]));
        let mut server = Server {
            common: Common {
                sub: format!("http://{public}/sub/{{channel}}").parse()?,
                r#pub: format!("http://{control}/pub/{{channel}}").parse()?,
                ..like.clone()
            },
            batch: format!("http://{control}/pub").parse()?,
            control,
            place: place.clone(),
            arguments: arguments.into_iter().map(str::to_owned).collect(),
            process: None,
            data,
            dir,
        };
        server.start()?;
        Ok(server)
    }
}

impl Server {
    /// Starts it, and waits until it is ready; says how long that took.
    pub(crate) fn start(&mut self) -> anyhow::Result<u64> {
        let program = self.place.fantail.to_string_lossy();
        let arguments: Vec<&str> = self.arguments.iter().map(String::as_str).collect();
        let started = clock::now();
        let process = Process::start(self.place.server_cpu, &program, &arguments, self.dir.path())?;
        self.common.pid = vec![process.id()];
        let process = self.process.insert(process);
        loop {
            interrupt::check()?;
            match ask::get(self.control, "/readyz") {
                Ok(answer) if answer.status == 200 => return Ok(clock::now() - started),
                Ok(_) => {}
                Err(error) if matches!(error.kind(), ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset) => {}
                Err(error) => return Err(error).context("asking whether it is ready"),
            }
            if process.has_ended() || clock::now() > started + STARTING {
                bail!("{program} does not become ready: {}", process.output());
            }
            sleep(LOOK);
        }
    }

    /// Ends it as a crash would.
    pub(crate) fn kill(&mut self) -> anyhow::Result<()> {
        self.process.take().map_or(Ok(()), Process::kill)
    }

    /// Publishes one message to a channel that nobody else uses.
    pub(crate) fn publish(&self) -> anyhow::Result<()> {
        let at = self.control;
        let request = format!("POST /pub/started HTTP/1.1\r\nHost: {at}\r\nContent-Length: 1\r\n\r\nx");
        let answer = ask::send(at, request.as_bytes()).context("publishing")?;
        ensure!((200..300).contains(&answer.status), "a publish was answered with {}", answer.status);
        Ok(())
    }

    pub(crate) fn metrics(&self) -> anyhow::Result<Metrics> {
        let answer = ask::get(self.control, "/metrics").context("asking for /metrics")?;
        ensure!(answer.status == 200, "/metrics was answered with {}", answer.status);
        Ok(Metrics::parse(&String::from_utf8_lossy(&answer.body)))
    }

    /// Bytes of messages that it holds in memory.
    pub(crate) fn held(&self) -> anyhow::Result<u64> {
        let answer = ask::get(self.control, "/stats").context("asking for /stats")?;
        let stats: Value = serde_json::from_slice(&answer.body).context("the answer of /stats")?;
        stats["bytes"].as_u64().with_context(|| format!("/stats without its bytes: {stats}"))
    }

    /// Bytes that its data directory takes; `None` if it has none.
    pub(crate) fn stored(&self) -> anyhow::Result<Option<u64>> {
        if !self.data.exists() {
            return Ok(None);
        }
        disk::taken(&self.data).map(Some).with_context(|| format!("cannot read {}", self.data.display()))
    }
}
