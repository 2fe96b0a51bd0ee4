//! What the commands share that talk to a server: its URL, one connection, and what an error of its looks like.

use std::{str::FromStr, time::Duration};

use anyhow::{Context, bail};
use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode, Uri, header, request::Builder};
use http_body::Body;
use http_body_util::{BodyExt, Limited};
use hyper::{Response, body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use socket2::{SockRef, TcpKeepalive};
use tokio::{net::TcpStream, time::timeout};

/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Silence after which the kernel asks whether the server is still there, so that a stream does not wait for a dead one.
const KEEPALIVE: Duration = Duration::from_secs(30);
/// The most of an answer that is read into memory; an event stream is not.
const LARGEST_ANSWER: usize = 1 << 20;

/// What is left as it is in a segment of a path or a value of a query (RFC 3986, section 2.3).
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Escapes a channel's name, or a value of a query.
pub(super) fn escape(text: &str) -> String {
    utf8_percent_encode(text, ESCAPED).to_string()
}

/// The server that a URL names, and the path under which its routes live.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ServerUrl {
    authority: String,
    host: String,
    port: u16,
    prefix: String,
}

impl ServerUrl {
    /// From the argument, else the environment variable, else the default.
    pub(super) fn choose(argument: Option<String>, variable: &str, default: &str) -> anyhow::Result<Self> {
        match argument {
            Some(url) => url.parse(),
            None => match std::env::var(variable) {
                Ok(url) if !url.is_empty() => url.parse().with_context(|| variable.to_owned()),
                _ => default.parse(),
            },
        }
    }

    /// A request for `path` below the prefix.
    pub(super) fn request(&self, path: &str) -> Builder {
        Request::builder()
            .uri(format!("{}{path}", self.prefix))
            .header(header::HOST, &self.authority)
            .header(header::USER_AGENT, concat!("fantail/", env!("CARGO_PKG_VERSION")))
    }

    /// Opens a connection and sends the request; the answer's head has arrived when it returns.
    pub(super) async fn send<B>(&self, request: Request<B>) -> anyhow::Result<Response<Incoming>>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let cannot = || format!("cannot connect to http://{}", self.authority);
        let socket = timeout(CONNECT_TIMEOUT, TcpStream::connect((self.host.as_str(), self.port)))
            .await
            .with_context(|| format!("no answer within {CONNECT_TIMEOUT:?}"))
            .with_context(cannot)?
            .with_context(cannot)?;
        socket.set_nodelay(true)?;
        SockRef::from(&socket).set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE))?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(socket)).await?;
        tokio::spawn(connection);
        let answer = sender.send_request(request).await;
        answer.with_context(|| format!("http://{} broke the connection off", self.authority))
    }
}

impl FromStr for ServerUrl {
    type Err = anyhow::Error;

    fn from_str(url: &str) -> anyhow::Result<Self> {
        let expected = "expected one such as http://127.0.0.1:8080";
        let uri: Uri = url.parse().with_context(|| format!("\"{url}\" is not a URL, {expected}"))?;
        let (Some(authority), Some(scheme)) = (uri.authority(), uri.scheme_str()) else {
            bail!("\"{url}\" is not a URL, {expected}");
        };
        if scheme != "http" {
            bail!("\"{scheme}://\" is not supported, {expected}");
        }
        if authority.as_str().contains('@') || uri.query().is_some() {
            bail!("\"{url}\" holds more than a server and a path, {expected}");
        }
        let path = uri.path();
        Ok(Self {
            authority: authority.to_string(),
            host: authority.host().trim_matches(['[', ']']).to_owned(),
            port: authority.port_u16().unwrap_or(80),
            prefix: if path.ends_with('/') { path.to_owned() } else { format!("{path}/") },
        })
    }
}

/// The `Authorization` header for the key from the argument, else the environment variable; none without one.
pub(super) fn authorization(token: Option<String>) -> anyhow::Result<Option<HeaderValue>> {
    let variable = || std::env::var(crate::config::TOKEN).ok();
    let Some(token) = token.or_else(variable).filter(|token| !token.is_empty()) else { return Ok(None) };
    let mut value = HeaderValue::try_from(format!("Bearer {token}")).context("the key cannot be sent in a header")?;
    value.set_sensitive(true);
    Ok(Some(value))
}

/// Reads a whole answer, up to 1 MiB.
pub(super) async fn text(body: Incoming) -> anyhow::Result<Bytes> {
    let body = Limited::new(body, LARGEST_ANSWER).collect().await;
    Ok(body.map_err(|error| anyhow::anyhow!(error)).context("cannot read the answer")?.to_bytes())
}

/// What an answer that refuses says.
pub(super) async fn refusal(response: Response<Incoming>) -> String {
    let status = response.status();
    let body = text(response.into_body()).await.unwrap_or_default();
    said(status, &body)
}

fn said(status: StatusCode, body: &[u8]) -> String {
    #[derive(serde::Deserialize)]
    struct Refusal {
        error: String,
    }
    match serde_json::from_slice(body) {
        Ok(Refusal { error }) => format!("the server answered {status}: {error}"),
        Err(_) => format!("the server answered {status}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn url_is_taken_apart() {
        let url: ServerUrl = "http://[::1]:8080/events".parse().unwrap();
        assert_eq!((url.host.as_str(), url.port, url.prefix.as_str()), ("::1", 8080, "/events/"));
        let request = url.request("sub/a").body(()).unwrap();
        assert_eq!(request.uri(), "/events/sub/a");
        assert_eq!(request.headers()["host"], "[::1]:8080");
        let url: ServerUrl = "http://example.com".parse().unwrap();
        assert_eq!((url.port, url.prefix.as_str()), (80, "/"));
    }

    #[test]
    fn url_that_cannot_be_used_is_refused() {
        for (url, error) in [
            ("https://a", "\"https://\" is not supported, expected one such as http://127.0.0.1:8080"),
            ("localhost:8080", "\"localhost:8080\" is not a URL, expected one such as http://127.0.0.1:8080"),
            (
                "http://a?b",
                "\"http://a?b\" holds more than a server and a path, expected one such as http://127.0.0.1:8080",
            ),
        ] {
            assert_eq!(url.parse::<ServerUrl>().unwrap_err().to_string(), error);
        }
    }

    #[test]
    fn channel_names_are_escaped() {
        assert_eq!(escape("user.42_~-"), "user.42_~-");
        assert_eq!(escape("a b/ü?"), "a%20b%2F%C3%BC%3F");
    }

    #[test]
    fn refusal_with_and_without_a_reason_is_said() {
        let status = StatusCode::FORBIDDEN;
        assert_eq!(said(status, br#"{"error":"no key"}"#), "the server answered 403 Forbidden: no key");
        assert_eq!(said(status, b"<html>"), "the server answered 403 Forbidden");
    }

    #[test]
    fn authorization_of_a_key_is_not_shown() {
        let value = authorization(Some("hunter2".to_owned())).unwrap().unwrap();
        assert_eq!(value, "Bearer hunter2");
        assert!(!format!("{value:?}").contains("hunter2"));
        assert!(authorization(Some("a\nb".to_owned())).is_err());
    }
}
