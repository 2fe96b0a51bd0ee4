//! Servers whose subscribers are sent their messages in several ways: Fantail's push-stream routes, its native ones, and nchan.

use std::fs;

use clap::ValueEnum;
use tempfile::TempDir;

use crate::args::Common;
use crate::peers::process::Process;
use crate::peers::{Peer, Place, Running, free_ports};
use crate::target::Mode;

const FANTAIL_CONF: &str = include_str!("../../peers/push_stream.toml");

/// A server, and whose routes are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Routes {
    /// Fantail's push-stream routes
    PushStream,
    /// Fantail's own, which know event streams only
    Native,
    Nchan,
}

impl Routes {
    fn peer(self) -> Peer {
        if self == Self::Nchan { Peer::Nchan } else { Peer::Fantail }
    }

    /// What the table calls it.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::PushStream => "Fantail, push-stream routes",
            Self::Native => "Fantail, native routes",
            Self::Nchan => Peer::Nchan.title(),
        }
    }

    /// Why it cannot be measured here.
    pub(crate) fn missing(self, place: &Place) -> Option<String> {
        self.peer().missing(place)
    }

    /// The version, as the server tells it.
    pub(crate) fn version(self, place: &Place) -> String {
        self.peer().version(place)
    }

    /// The configuration it runs with, to be printed beside its figures.
    pub(crate) fn configuration(self) -> &'static str {
        if self == Self::PushStream { FANTAIL_CONF } else { self.peer().configuration() }
    }

    /// Its subscribers can be sent messages in this way.
    pub(crate) fn knows(self, mode: Mode) -> bool {
        self != Self::Native || mode == Mode::Events
    }

    /// Starts it on its core, to be asked in this way.
    pub(crate) fn start(self, place: &Place, like: &Common, mode: Mode) -> anyhow::Result<Running> {
        let mut running =
            if self == Self::PushStream { push_stream(place, like)? } else { self.peer().start(place, like)? };
        let path = match mode {
            Mode::Events => "sub",
            Mode::Stream => "stream",
            Mode::Polls => "poll",
            Mode::Websocket => "ws",
        };
        let common = &mut running.common;
        common.sub = format!("http://{}/{path}/{{channel}}", common.sub.address).parse()?;
        common.mode = mode;
        Ok(running)
    }
}

fn push_stream(place: &Place, like: &Common) -> anyhow::Result<Running> {
    let dir = TempDir::with_prefix("fantail-bench-")?;
    let [public, control] = free_ports()?.map(|port| format!("127.0.0.1:{port}"));
    let conf = dir.path().join("fantail.toml");
    fs::write(&conf, FANTAIL_CONF)?;
    let (program, conf) = (place.fantail.to_string_lossy(), conf.to_string_lossy());
    let args = ["serve", "--config", &conf, "--listen", &public, "--control", &control, "--shards", "1", "--ephemeral"];
    let process = Process::start(place.server_cpu, &program, &args, dir.path())?;
    process.wait_listening(public.parse()?)?;
    let common = Common {
        sub: format!("http://{public}/sub/{{channel}}").parse()?,
        r#pub: format!("http://{control}/pub/{{channel}}").parse()?,
        pid: vec![process.id()],
        ..like.clone()
    };
    Ok(Running { common, batch: None, _processes: vec![process], _dir: dir })
}
