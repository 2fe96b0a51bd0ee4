//! What is printed once the server can be reached.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::Server;
use crate::config::{Config, Upstream};

/// Where the server is, and what to try.
pub(super) struct Banner {
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
    pub(super) fn new(config: &Config) -> Self {
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

impl Banner {
    /// Puts in what is known only now.
    pub(super) fn fill(&mut self, server: &Server) {
        self.journal = server.journal();
        self.public = server.public_addrs();
        self.control = server.control_addr();
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
}
