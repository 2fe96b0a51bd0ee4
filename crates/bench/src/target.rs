//! Whom the load goes to: URL templates, channel names, and the requests that servers of different families expect.

use std::io::Write;
use std::net::{SocketAddr, ToSocketAddrs};
use std::str::FromStr;

use anyhow::{Context, bail};
use clap::ValueEnum;

use crate::stamp::Stamp;

/// An `http://host:port/path` with an optional `{channel}` in its path.
#[derive(Clone, Debug)]
pub(crate) struct Template {
    pub(crate) address: SocketAddr,
    authority: String,
    before: String,
    after: String,
}

impl FromStr for Template {
    type Err = anyhow::Error;

    fn from_str(url: &str) -> anyhow::Result<Self> {
        let Some(rest) = url.strip_prefix("http://") else { bail!("{url}: only http:// URLs are loaded") };
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let with_port = if authority.contains(':') { authority.to_owned() } else { format!("{authority}:80") };
        let address = with_port.to_socket_addrs().with_context(|| format!("{url}: unknown host"))?.next();
        let address = address.with_context(|| format!("{url}: host without an address"))?;
        let path = if path.is_empty() { "/" } else { path };
        let (before, after) = path.split_once("{channel}").unwrap_or((path, ""));
        Ok(Self { address, authority: authority.to_owned(), before: before.to_owned(), after: after.to_owned() })
    }
}

/// How a server wants to be given a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// The body is the data (Fantail, nchan, push-stream).
    Raw,
    /// A JSON item that holds the event's bytes (Pushpin).
    Grip,
    /// Many messages a request, one JSON line each (Fantail).
    Ndjson,
}

/// How subscribers are sent their messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    /// Event streams
    #[default]
    Events,
    /// Messages one behind the other in an answer without end, with or without line breaks between them
    Stream,
    /// An answer for each message, asked for again at once with what the last answer said in Last-Modified and Etag
    Polls,
    /// `WebSocket`s
    Websocket,
}

impl Mode {
    /// Header lines that say so.
    fn fields(self) -> &'static str {
        match self {
            Self::Events => "Accept: text/event-stream\r\n",
            Self::Stream | Self::Polls => "",
            Self::Websocket => {
                "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                 Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            }
        }
    }

    /// The status of an answer that messages follow.
    pub(crate) fn accepted(self) -> u16 {
        if self == Self::Websocket { 101 } else { 200 }
    }
}

/// The names of a run's channels.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Names {
    /// Part of every name, so that nothing an earlier run left is read.
    pub(crate) run: u32,
}

impl Names {
    fn write(self, out: &mut Vec<u8>, channel: u32) {
        let _ = write!(out, "b{:08x}-{channel}", self.run);
    }
}

/// Where and how to subscribe.
#[derive(Clone, Debug)]
pub(crate) struct SubscribeTarget {
    pub(crate) template: Template,
    pub(crate) mode: Mode,
    /// Between the names of several channels in one URL.
    pub(crate) joiner: String,
    /// Further header lines, each with its CRLF.
    pub(crate) headers: String,
    pub(crate) names: Names,
}

impl SubscribeTarget {
    /// The request for a stream of these channels.
    pub(crate) fn request(&self, channels: impl Iterator<Item = u32>, last_id: &[u8]) -> Vec<u8> {
        let mut out = format!("GET {}", self.template.before).into_bytes();
        for (n, channel) in channels.enumerate() {
            if n > 0 {
                out.extend_from_slice(self.joiner.as_bytes());
            }
            self.names.write(&mut out, channel);
        }
        let (after, host) = (&self.template.after, &self.template.authority);
        let _ = write!(out, "{after} HTTP/1.1\r\nHost: {host}\r\n{}{}", self.mode.fields(), self.headers);
        if !last_id.is_empty() {
            out.extend_from_slice(b"Last-Event-ID: ");
            out.extend_from_slice(last_id);
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(b"\r\n");
        out
    }
}

/// Where and how to publish.
#[derive(Clone, Debug)]
pub(crate) struct PublishTarget {
    pub(crate) template: Template,
    pub(crate) format: Format,
    /// Further header lines, each with its CRLF.
    pub(crate) headers: String,
    /// Bytes of data in a message.
    pub(crate) size: usize,
    pub(crate) names: Names,
}

impl PublishTarget {
    /// Appends the request that publishes these messages: one, except with [`Format::Ndjson`].
    pub(crate) fn request(&self, messages: &[Stamp], body: &mut Vec<u8>, out: &mut Vec<u8>) {
        body.clear();
        for stamp in messages {
            match self.format {
                Format::Raw => stamp.write(body, self.size),
                Format::Grip => {
                    body.extend_from_slice(b"{\"items\":[{\"channel\":\"");
                    self.names.write(body, stamp.channel);
                    body.extend_from_slice(b"\",\"formats\":{\"http-stream\":{\"content\":\"data: ");
                    stamp.write(body, self.size);
                    body.extend_from_slice(b"\\n\\n\"}}}]}");
                }
                Format::Ndjson => {
                    body.extend_from_slice(b"{\"channel\":\"");
                    self.names.write(body, stamp.channel);
                    body.extend_from_slice(b"\",\"data\":\"");
                    stamp.write(body, self.size);
                    body.extend_from_slice(b"\"}\n");
                }
            }
        }
        out.extend_from_slice(b"POST ");
        out.extend_from_slice(self.template.before.as_bytes());
        if let (Format::Raw, Some(stamp)) = (self.format, messages.first()) {
            self.names.write(out, stamp.channel);
        }
        let kind = match self.format {
            Format::Raw => "text/plain",
            Format::Grip => "application/json",
            Format::Ndjson => "application/x-ndjson",
        };
        let (after, host, length) = (&self.template.after, &self.template.authority, body.len());
        let _ = write!(
            out,
            "{after} HTTP/1.1\r\nHost: {host}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n{}\r\n",
            self.headers
        );
        out.extend_from_slice(body);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn template_is_split_around_the_channel() {
        let target = SubscribeTarget {
            template: "http://127.0.0.1:8080/sub/{channel}?x=1".parse().unwrap(),
            mode: Mode::Events,
            joiner: "/".into(),
            headers: String::new(),
            names: Names { run: 10 },
        };
        let request = String::from_utf8(target.request([0, 7].into_iter(), b"a.1")).unwrap();
        assert!(request.starts_with("GET /sub/b0000000a-0/b0000000a-7?x=1 HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n"));
        assert!(request.ends_with("\r\nLast-Event-ID: a.1\r\n\r\n"));
    }

    #[test]
    fn template_of_other_schemes_is_refused() {
        assert!("https://localhost/".parse::<Template>().is_err());
        assert!("localhost:80/".parse::<Template>().is_err());
    }

    #[test]
    fn publish_request_length_is_the_body_s() {
        for format in [Format::Raw, Format::Grip, Format::Ndjson] {
            let template = "http://127.0.0.1:8081/pub/{channel}".parse().unwrap();
            let target = PublishTarget { template, format, headers: String::new(), size: 100, names: Names { run: 1 } };
            let stamp = Stamp { run: 1, channel: 3, sequence: 1, scheduled: 1 };
            let (mut body, mut out) = (Vec::new(), Vec::new());
            target.request(&[stamp], &mut body, &mut out);
            let head = crate::head::parse(
                &[b"HTTP/1.1 200 OK\r\n", &out[out.windows(2).position(|w| w == b"\r\n").unwrap() + 2..]].concat(),
            )
            .unwrap()
            .unwrap();
            assert_eq!(head.framing, crate::head::Framing::Length(body.len() as u64));
            if format != Format::Raw {
                assert!(serde_json::from_slice::<serde_json::Value>(&body).is_ok());
            }
        }
    }
}
