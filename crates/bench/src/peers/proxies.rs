//! Reverse proxies to compare, each before the same application.

use std::net::SocketAddr;
use std::{env, fs};

use clap::ValueEnum;
use tempfile::TempDir;

use crate::args::Common;
use crate::peers::process::{self, Process};
use crate::peers::{Place, Running, absent, free_ports, program};

const NGINX_CONF: &str = include_str!("../../peers/proxy.conf");
const FANTAIL_CONF: &str = include_str!("../../peers/proxy.toml");

/// What stands before the application.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Proxy {
    /// Nothing: what the others add is told against it
    Direct,
    Fantail,
    Nginx,
}

impl Proxy {
    /// What the table calls it.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Fantail => "Fantail",
            Self::Nginx => "nginx",
        }
    }

    /// Why it cannot be measured here.
    pub(crate) fn missing(self, place: &Place) -> Option<String> {
        match self {
            Self::Direct => None,
            Self::Fantail => absent(&place.fantail),
            Self::Nginx => program("nginx"),
        }
    }

    /// The version, as the proxy tells it.
    pub(crate) fn version(self, place: &Place) -> String {
        match self {
            Self::Direct => format!("fantail-bench {}", env!("CARGO_PKG_VERSION")),
            Self::Fantail => process::output(place.fantail.as_os_str(), "--version"),
            Self::Nginx => process::output("nginx".as_ref(), "-v"),
        }
    }

    /// The configuration it runs with, to be printed beside its figures.
    pub(crate) fn configuration(self) -> &'static str {
        match self {
            Self::Direct => "the load's own application",
            Self::Fantail => FANTAIL_CONF,
            Self::Nginx => NGINX_CONF,
        }
    }

    /// Starts it on its core before this application. `share`: viewers of one URL are to share a connection to it, which
    /// only Fantail can.
    pub(crate) fn start(
        self,
        place: &Place,
        like: &Common,
        origin: SocketAddr,
        share: bool,
    ) -> anyhow::Result<Running> {
        let dir = TempDir::with_prefix("fantail-bench-")?;
        let path = dir.path().to_string_lossy();
        let [port, control] = free_ports()?;
        let at = if self == Self::Direct { origin } else { SocketAddr::from(([127, 0, 0, 1], port)) };
        let configure = |template: &str| {
            let text = template.replace("@DIR@", &path).replace("@PORT@", &port.to_string());
            text.replace("@ORIGIN@", &origin.port().to_string()).replace("@SHARE@", &share.to_string())
        };
        let mut common = Common { sub: format!("http://{at}/stream/{{channel}}").parse()?, ..like.clone() };
        let mut processes = Vec::new();
        match self {
            Self::Direct => {}
            Self::Fantail => {
                let conf = dir.path().join("fantail.toml");
                fs::write(&conf, configure(FANTAIL_CONF))?;
                let (program, conf) = (place.fantail.to_string_lossy(), conf.to_string_lossy());
                let (listen, control) = (at.to_string(), format!("127.0.0.1:{control}"));
                let args = ["serve", "--config", &conf, "--listen", &listen, "--control", &control];
                let args = [&args[..], &["--shards", "1", "--ephemeral"]].concat();
                processes.push(Process::start(place.server_cpu, &program, &args, dir.path())?);
            }
            Self::Nginx => {
                let (conf, log) = (dir.path().join("nginx.conf"), dir.path().join("error.log"));
                fs::write(&conf, configure(NGINX_CONF))?;
                let args = ["-p", &path, "-e", &log.to_string_lossy(), "-c", &conf.to_string_lossy()];
                processes.push(Process::start(place.server_cpu, "nginx", &args, dir.path())?);
            }
        }
        common.pid = processes.iter().map(Process::id).collect();
        if let Some(process) = processes.first() {
            process.wait_listening(at)?;
        }
        Ok(Running { common, batch: None, _processes: processes, _dir: dir })
    }
}
