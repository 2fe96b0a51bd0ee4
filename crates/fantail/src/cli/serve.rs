//! `fantail serve`: settings, logging, signals and the banner around [`Server`].

use std::{
    fmt,
    io::{IsTerminal, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use anyhow::Context;
use clap::Args;
use rustix::process::{self, Resource, Rlimit, getrlimit, setrlimit};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::oneshot,
};
use tracing_subscriber::EnvFilter;

use super::sources::SourceArgs;
use crate::{
    Server,
    config::{self, Config, Log, LogFormat, Upstream},
};

/// The exit code after a second signal, as a shell reports an interrupted program.
const INTERRUPTED: i32 = 130;

#[derive(Args)]
pub(super) struct ServeArgs {
    #[command(flatten)]
    sources: SourceArgs,
}

/// Serves until SIGTERM or SIGINT.
pub(super) async fn run(args: ServeArgs) -> anyhow::Result<()> {
    let config = config::load(&args.sources.sources())?;
    log_to_stderr(&config.log)?;
    raise_descriptor_limit();
    // A limit on the size of files is a full disk, which is survived, and no reason to be killed.
    let _too_large = signal(SignalKind::from_raw(process::Signal::XFSZ.as_raw())).context("cannot handle SIGXFSZ")?;
    let stop = stop_signal().context("cannot listen for signals")?;
    let mut banner = Banner::new(&config);
    let server = Server::new(config)?;
    banner.journal = server.journal();
    banner.public = server.public_addrs();
    banner.control = server.control_addr();
    // Whether anyone reads the banner is no reason to stop.
    let mut out = std::io::stdout();
    let _ = write!(out, "{banner}").and_then(|()| out.flush());
    server.run(stop).await?;
    Ok(())
}

/// Logs as the configuration says.
pub(super) fn log_to_stderr(log: &Log) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&log.level).context("log.level")?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        // A line that cannot be written is lost: to say so on stderr would fail as well, and panic in the thread that had
        // something to say. With a log on the disk that is full, that was the journal's.
        .log_internal_errors(false);
    match log.format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().try_init(),
    }
    .map_err(|error| anyhow::anyhow!("cannot set up logging: {error}"))
}

/// Every connection is a descriptor, and the usual soft limit of 1,024 is far below what the hard one allows.
fn raise_descriptor_limit() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum {
        return;
    }
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        tracing::warn!(?current, ?maximum, %error, "cannot raise the descriptor limit");
    }
}

/// Resolves with the first SIGTERM or SIGINT; the second ends the process at once.
fn stop_signal() -> std::io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (stop, stopped) = oneshot::channel();
    tokio::spawn(async move {
        either(&mut terminate, &mut interrupt).await;
        let _ = stop.send(());
        either(&mut terminate, &mut interrupt).await;
        std::process::exit(INTERRUPTED);
    });
    Ok(async move {
        let _ = stopped.await;
    })
}

async fn either(one: &mut Signal, other: &mut Signal) {
    tokio::select! {
        _ = one.recv() => {}
        _ = other.recv() => {}
    }
}

/// What is printed once the server can be reached.
struct Banner {
    public: Vec<SocketAddr>,
    control: Option<SocketAddr>,
    /// What it is and what it promises.
    journal: String,
    prefix: String,
    keyed: bool,
    /// A line for each upstream.
    upstreams: Vec<String>,
}

impl Banner {
    fn new(config: &Config) -> Self {
        Self {
            public: config.listen.public.all().to_vec(),
            control: config.control.listen.socket(),
            journal: config.journal.url.to_string(),
            prefix: config.native.prefix.clone(),
            keyed: config.control.key.is_some(),
            upstreams: config.upstream.iter().map(|(name, upstream)| servers(name, upstream)).collect(),
        }
    }
}

impl fmt::Display for Banner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { public, control, journal, prefix, keyed, upstreams } = self;
        let key = if *keyed { "-H \"Authorization: Bearer $KEY\" " } else { "" };
        writeln!(f, "fantail {}", env!("CARGO_PKG_VERSION"))?;
        for (index, public) in public.iter().enumerate() {
            writeln!(f, "  {:7}  http://{public}", if index == 0 { "public" } else { "" })?;
        }
        if let Some(control) = control {
            writeln!(f, "  control  http://{control}")?;
        }
        for (index, upstream) in upstreams.iter().enumerate() {
            writeln!(f, "  {:7}  {upstream}", if index == 0 { "proxy" } else { "" })?;
        }
        writeln!(f, "  journal  {journal}")?;
        let (Some(public), Some(control)) = (public.first(), control) else { return Ok(()) };
        let (from, to) = (reachable(*public), reachable(*control));
        writeln!(f)?;
        writeln!(f, "  try      curl -N http://{from}{prefix}sub/news")?;
        writeln!(f, "           curl {key}-d hello http://{to}{prefix}pub/news")?;
        writeln!(f, "           open http://{to}/")
    }
}

/// The servers of an upstream; the name goes without saying where it was not chosen.
fn servers(name: &str, upstream: &Upstream) -> String {
    let servers: Vec<String> = upstream.servers.iter().map(ToString::to_string).collect();
    let servers = servers.join(", ");
    if name == "default" { servers } else { format!("{servers} ({name})") }
}

/// The address at which this machine reaches a listener: one that is bound to all addresses is reached through loopback.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn banner_of_the_defaults_says_what_to_try() {
        let expected = "\
fantail 0.1.0
  public   http://127.0.0.1:8080
  control  http://127.0.0.1:8081
  journal  disk:fantail-data

  try      curl -N http://127.0.0.1:8080/sub/news
           curl -d hello http://127.0.0.1:8081/pub/news
           open http://127.0.0.1:8081/
";
        let expected = expected.replace("0.1.0", env!("CARGO_PKG_VERSION"));
        assert_eq!(Banner::new(&Config::default()).to_string(), expected);
    }

    #[test]
    fn banner_names_the_servers_of_upstreams() {
        let config = Config::from_toml(
            "[upstream.api]\nservers = ['http://10.0.0.1:3000', 'unix:/run/app.sock']\n[upstream.default]\n\
             servers = ['http://127.0.0.1:3000']\n",
        );
        let banner = Banner::new(&config.unwrap()).to_string();
        let lines = "  control  http://127.0.0.1:8081\n  proxy    http://10.0.0.1:3000, unix:/run/app.sock (api)\n           \
                     http://127.0.0.1:3000\n  journal  ";
        assert!(banner.contains(lines), "{banner}");
    }

    #[test]
    fn banner_of_an_open_listener_with_a_key_can_be_pasted() {
        let config = Config::from_toml(
            "[listen]\npublic = '[::]:80'\n[control]\nkey = 'hunter2'\nlisten = '0.0.0.0:81'\n[native]\nprefix = '/e/'\n",
        );
        let banner = Banner::new(&config.unwrap()).to_string();
        assert!(banner.contains("public   http://[::]:80\n"), "{banner}");
        assert!(banner.contains("curl -N http://[::1]:80/e/sub/news\n"), "{banner}");
        assert!(
            banner.contains("curl -H \"Authorization: Bearer $KEY\" -d hello http://127.0.0.1:81/e/pub/news\n"),
            "{banner}"
        );
        assert!(!banner.contains("hunter2"));
    }

    #[test]
    fn descriptor_limit_once_raised_is_the_hard_one() {
        raise_descriptor_limit();
        let limit = getrlimit(Resource::Nofile);
        assert_eq!(limit.current, limit.maximum);
    }
}
