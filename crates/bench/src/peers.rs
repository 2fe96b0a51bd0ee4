//! Servers to compare with: small ones that live here, and how to start those that are installed.

pub(crate) mod axum;
pub(crate) mod bare;
pub(crate) mod grip_origin;
pub(crate) mod process;
pub(crate) mod proxies;
pub(crate) mod routes;
pub(crate) mod stores;

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::{env, fs};

use anyhow::Context;
use clap::{Args, ValueEnum};
use tempfile::TempDir;

use crate::args::Common;
use crate::peers::process::Process;
use crate::target::Format;

const NCHAN_CONF: &str = include_str!("../peers/nchan.conf");
const NCHAN_MODULE: &str = "/usr/lib/nginx/modules/ngx_nchan_module.so";
const PUSHPIN_CONF: &str = include_str!("../peers/pushpin.conf");
const PUSHPIN_ROUTES: &str = include_str!("../peers/pushpin.routes");

/// A server that can be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Peer {
    Fantail,
    Bare,
    Nchan,
    Axum,
    Pushpin,
}

/// Where the comparison runs.
#[derive(Args, Clone, Debug)]
pub(crate) struct Place {
    /// The fantail binary
    #[arg(long, default_value = "target/release/fantail")]
    pub(crate) fantail: PathBuf,
    /// The server's core
    #[arg(long, default_value_t = 0)]
    pub(crate) server_cpu: usize,
    /// The load's core, also of what helps a server and is not it
    #[arg(long, default_value_t = 1)]
    pub(crate) load_cpu: usize,
}

/// A server that runs, until it is dropped.
#[derive(Debug)]
pub(crate) struct Running {
    /// How to load it.
    pub(crate) common: Common,
    /// Its NDJSON endpoint.
    pub(crate) batch: Option<String>,
    _processes: Vec<Process>,
    /// Its files; goes last.
    _dir: TempDir,
}

impl Peer {
    /// What the table calls it.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Fantail => "Fantail",
            Self::Bare => "bare `send()` loop",
            Self::Nchan => "nginx + nchan",
            Self::Axum => "axum + broadcast",
            Self::Pushpin => "Pushpin",
        }
    }

    /// Keeps messages for clients that come back.
    pub(crate) fn resumes(self) -> bool {
        matches!(self, Self::Fantail | Self::Nchan)
    }

    /// Why it cannot be measured here.
    pub(crate) fn missing(self, place: &Place) -> Option<String> {
        match self {
            Self::Fantail => absent(&place.fantail),
            Self::Bare | Self::Axum => None,
            Self::Nchan => program("nginx").or_else(|| absent(Path::new(NCHAN_MODULE))),
            Self::Pushpin => ["pushpin", "condure", "zurl"].into_iter().find_map(program),
        }
    }

    /// The version, as the server tells it.
    pub(crate) fn version(self, place: &Place) -> String {
        match self {
            Self::Fantail => process::output(place.fantail.as_os_str(), "--version"),
            Self::Bare | Self::Axum => format!("fantail-bench {}", env!("CARGO_PKG_VERSION")),
            Self::Nchan => process::output("nginx".as_ref(), "-v"),
            Self::Pushpin => process::output("pushpin".as_ref(), "--version"),
        }
    }

    /// The configuration it runs with, to be printed beside its figures.
    pub(crate) fn configuration(self) -> &'static str {
        match self {
            Self::Fantail => "serve --shards 1",
            Self::Bare => "no settings",
            Self::Axum => "one thread; broadcast channels of 1,024 messages",
            Self::Nchan => NCHAN_CONF,
            Self::Pushpin => PUSHPIN_CONF,
        }
    }

    /// Starts it on its core, with files and ports of its own.
    pub(crate) fn start(self, place: &Place, like: &Common) -> anyhow::Result<Running> {
        let dir = TempDir::with_prefix("fantail-bench-")?;
        let [port, control, origin] = free_ports()?;
        let own = env::current_exe().context("cannot find this program")?;
        let own = own.to_string_lossy();
        let (cpu, at) = (place.server_cpu, format!("127.0.0.1:{port}"));
        let mut common = Common {
            sub: format!("http://{at}/sub/{{channel}}").parse()?,
            r#pub: format!("http://{at}/pub/{{channel}}").parse()?,
            ..like.clone()
        };
        let mut batch = None;
        let mut processes = Vec::new();
        match self {
            Self::Fantail => {
                let control = format!("127.0.0.1:{control}");
                common.r#pub = format!("http://{control}/pub/{{channel}}").parse()?;
                batch = Some(format!("http://{control}/pub"));
                let program = place.fantail.to_string_lossy();
                let args = ["serve", "--listen", &at, "--control", &control, "--shards", "1", "--ephemeral"];
                processes.push(Process::start(cpu, &program, &args, dir.path())?);
            }
            Self::Bare => processes.push(Process::start(cpu, &own, &["peer-bare", &at], dir.path())?),
            Self::Axum => processes.push(Process::start(cpu, &own, &["peer-axum", &at], dir.path())?),
            Self::Nchan => {
                let conf = dir.path().join("nginx.conf");
                let path = dir.path().to_string_lossy();
                let text = NCHAN_CONF.replace("@MODULE@", NCHAN_MODULE).replace("@DIR@", &path);
                fs::write(&conf, text.replace("@PORT@", &port.to_string()))?;
                let (conf, log) = (conf.to_string_lossy(), dir.path().join("error.log"));
                let args = ["-p", &path, "-e", &log.to_string_lossy(), "-c", &conf];
                processes.push(Process::start(cpu, "nginx", &args, dir.path())?);
            }
            Self::Pushpin => {
                let path = dir.path().to_string_lossy();
                fs::create_dir(dir.path().join("run"))?;
                fs::create_dir(dir.path().join("log"))?;
                let conf = dir.path().join("pushpin.conf");
                let text = PUSHPIN_CONF.replace("@DIR@", &path).replace("@PORT@", &port.to_string());
                fs::write(&conf, text.replace("@CONTROL@", &control.to_string()))?;
                fs::write(dir.path().join("routes"), PUSHPIN_ROUTES.replace("@ORIGIN@", &origin.to_string()))?;
                common.r#pub = format!("http://127.0.0.1:{control}/publish/").parse()?;
                common.format = Format::Grip;
                common.in_flight = 1;
                common.connect_window = 16; // with more it answers 502 to some
                let arg = format!("--config={}", conf.display());
                processes.push(Process::start(cpu, "pushpin", &[&arg], dir.path())?);
                let origin = format!("127.0.0.1:{origin}");
                let helper = Process::start(place.load_cpu, &own, &["grip-origin", &origin], dir.path())?;
                helper.wait_listening(origin.parse()?)?;
                processes.push(helper);
            }
        }
        common.pid = vec![processes[0].id()];
        processes[0].wait_listening(common.r#pub.address)?;
        let request =
            format!("GET /sub/start HTTP/1.1\r\nHost: {}\r\nAccept: text/event-stream\r\n\r\n", common.sub.address);
        processes[0].wait_answering(common.sub.address, request.as_bytes())?;
        Ok(Running { common, batch, _processes: processes, _dir: dir })
    }
}

/// Ports that nobody listens on now.
fn free_ports<const N: usize>() -> anyhow::Result<[u16; N]> {
    let held: Vec<_> =
        (0..N).map(|_| TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0)))).collect::<Result<_, _>>()?;
    let mut ports = [0; N];
    for (port, listener) in ports.iter_mut().zip(&held) {
        *port = listener.local_addr()?.port();
    }
    Ok(ports)
}

/// Why this file cannot be used.
fn absent(path: &Path) -> Option<String> {
    (!path.exists()).then(|| format!("{} is not there", path.display()))
}

/// Why this program cannot be run.
fn program(name: &str) -> Option<String> {
    let path = env::var_os("PATH").unwrap_or_default();
    let found = env::split_paths(&path).any(|dir| dir.join(name).is_file());
    (!found).then(|| format!("{name} is not installed"))
}
