//! Where a server of an upstream is.

use std::{fmt, path::PathBuf, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{
    host::{is_ipv6, is_name},
    section::{Kind, Setting},
    text,
};

const EXPECTED: &str = "expected \"http://host:port\" or \"unix:/path/to/socket\"";
const USER: &str =
    "has a user before \"@\", which is not supported; the route's set_request can add an Authorization field";
const HTTP_PORT: u16 = 80;

/// The most bytes of a Unix socket's path: the kernel's `sun_path`, less its NUL.
const LONGEST_PATH: usize = 107;

/// Where a server is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Server {
    /// `http://host:port`.
    Tcp {
        /// A name or an address; an IPv6 one without its brackets.
        host: String,
        /// The port.
        port: u16,
    },
    /// `unix:/path/to/socket`, an absolute path.
    Unix(PathBuf),
}

impl FromStr for Server {
    type Err = String;

    fn from_str(written: &str) -> Result<Self, String> {
        if let Some(path) = written.strip_prefix("unix:") {
            return unix(written, path);
        }
        // SECURITY: what stands before an "@" may be a password and is not repeated.
        if written.contains('@') {
            return Err(USER.to_owned());
        }
        if written.starts_with("https://") {
            return Err(format!(
                "\"{written}\" wants TLS, which Fantail does not speak to upstreams yet; give an http:// address, in front of \
                 which a local TLS tunnel may stand"
            ));
        }
        let Some(authority) = written.strip_prefix("http://") else {
            return Err(format!("\"{written}\" is not a server, {EXPECTED}"));
        };
        if authority.contains(['/', '?', '#']) {
            return Err(format!(
                "\"{written}\" has a path or a query, only the host and port are allowed; the route's strip_prefix and \
                 rewrite change paths"
            ));
        }
        tcp(written, authority)
    }
}

fn unix(written: &str, path: &str) -> Result<Server, String> {
    if !path.starts_with('/') {
        return Err(format!("\"{written}\" has no absolute path, such as \"unix:/run/app.sock\""));
    }
    if path.contains('\0') {
        return Err("holds a NUL, which no path can".to_owned());
    }
    if path.len() > LONGEST_PATH {
        return Err(format!("\"{written}\" is too long, a socket's path has at most {LONGEST_PATH} bytes"));
    }
    Ok(Server::Unix(path.into()))
}

fn tcp(written: &str, authority: &str) -> Result<Server, String> {
    let (host, port) = match authority.rsplit_once(':') {
        // A colon within the brackets belongs to the address.
        Some((host, port)) if !port.ends_with(']') => {
            let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
            let port = port.parse().ok().filter(|port| digits && *port != 0);
            (host, port.ok_or_else(|| format!("\"{written}\" has no port from 1 to 65535 behind its \":\""))?)
        }
        _ => (authority, HTTP_PORT),
    };
    if !is_name(host) && !is_ipv6(host) {
        return Err(format!("\"{written}\" has no host, {EXPECTED}"));
    }
    Ok(Server::Tcp { host: host.trim_matches(['[', ']']).to_ascii_lowercase(), port })
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "http://[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "http://{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl Serialize for Server {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Server {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text::deserialize(deserializer)
    }
}

impl Setting for Vec<Server> {
    const KIND: Kind = Kind::Value {
        name: "list of servers",
        allowed: "a list of servers, such as [\"http://127.0.0.1:3000\", \"unix:/run/app.sock\"]",
        text: false,
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_of_each_kind_is_read_and_shown() {
        let tcp = |host: &str, port| Server::Tcp { host: host.to_owned(), port };
        for (text, server, shown) in [
            ("http://127.0.0.1:3000", tcp("127.0.0.1", 3000), "http://127.0.0.1:3000"),
            ("http://App.internal", tcp("app.internal", 80), "http://app.internal:80"),
            ("http://my_app:8080", tcp("my_app", 8080), "http://my_app:8080"),
            ("http://[::1]:3000", tcp("::1", 3000), "http://[::1]:3000"),
            ("http://[::1]", tcp("::1", 80), "http://[::1]:80"),
            ("unix:/run/app.sock", Server::Unix("/run/app.sock".into()), "unix:/run/app.sock"),
        ] {
            assert_eq!(text.parse(), Ok(server.clone()), "{text}");
            assert_eq!(server.to_string(), shown);
            assert_eq!(shown.parse(), Ok(server));
        }
    }

    #[test]
    fn server_that_is_none_is_refused() {
        let host = "has no host, expected \"http://host:port\" or \"unix:/path/to/socket\"";
        let path = "has a path or a query, only the host and port are allowed; the route's strip_prefix and rewrite \
                    change paths";
        let port = "has no port from 1 to 65535 behind its \":\"";
        for (text, why) in [
            ("127.0.0.1:3000", "is not a server, expected \"http://host:port\" or \"unix:/path/to/socket\""),
            (
                "https://app",
                "wants TLS, which Fantail does not speak to upstreams yet; give an http:// address, in front of which a \
                 local TLS tunnel may stand",
            ),
            ("http://", host),
            ("http://a b", host),
            ("http://::1", host),
            ("http://[::g]:1", host),
            ("http://app:0", port),
            ("http://app:", port),
            ("http://app:+1", port),
            ("http://app:65536", port),
            ("http://app/", path),
            ("http://app?a", path),
            ("unix:run/app.sock", "has no absolute path, such as \"unix:/run/app.sock\""),
        ] {
            assert_eq!(text.parse::<Server>(), Err(format!("\"{text}\" {why}")));
        }
        let long = format!("unix:/{}", "a".repeat(LONGEST_PATH));
        assert!(long.parse::<Server>().unwrap_err().ends_with("a socket's path has at most 107 bytes"));
        assert!("unix:/a\0".parse::<Server>().is_err());
    }

    #[test]
    fn server_with_a_password_is_refused_without_showing_it() {
        for text in ["http://root:hunter2@app", "https://root:hunter2@app", "root:hunter2@app", "http://app/@hunter2"] {
            let error = text.parse::<Server>().unwrap_err();
            assert!(error.starts_with("has a user before \"@\", which is not supported"), "{error}");
            assert!(!error.contains("hunter2"));
        }
    }
}
