//! `fantail tail`: an event stream on standard output, resumed where it broke off. Behaves as `EventSource` does (WHATWG HTML
//! §9.2), but gives up when the first connection fails.

use std::{
    io::{self, Write},
    time::Duration,
};

use anyhow::{Context, bail};
use bytes::Bytes;
use clap::Args;
use fantail_sse::{Decoder, Event, Item};
use http::{HeaderValue, StatusCode, header};
use http_body_util::{BodyExt, Empty};
use hyper::{Response, body::Incoming};
use serde::Serialize;
use tokio::time::{sleep, timeout};

use super::{
    client::{ServerUrl, authorization, escape, refusal},
    output,
};
use crate::config::PUBLIC_URL;

const DEFAULT_URL: &str = "http://127.0.0.1:8080";
/// How long the head of the answer may take.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// The time before a reconnect, until the server says another.
const RETRY: Duration = Duration::from_secs(3);
/// Even if the server says 0, or always ends its streams, it is not hammered.
const SHORTEST_RETRY: Duration = Duration::from_millis(100);
/// While the server cannot be reached the time doubles, up to this, or to the server's if that is longer.
const LONGEST_RETRY: Duration = Duration::from_secs(30);
/// What a server may ask for at most; beyond, it might as well have ended the stream.
const MOST_RETRY: Duration = Duration::from_hours(1);

#[derive(Args)]
pub(super) struct TailArgs {
    /// The channels
    #[arg(required = true, value_name = "CHANNEL")]
    channels: Vec<String>,
    #[arg(long, help = "The public listener [env: FANTAIL_PUBLIC_URL] [default: http://127.0.0.1:8080]")]
    url: Option<String>,
    /// Begin with the last N messages of each channel
    #[arg(long, value_name = "N", group = "start")]
    last: Option<u64>,
    /// Begin with the messages since a duration ago, or an RFC 3339 time
    #[arg(long, value_name = "10m", group = "start")]
    since: Option<String>,
    /// Begin with everything that is kept
    #[arg(long, group = "start")]
    from_start: bool,
    /// Print every message as a JSON object with its event, id and data
    #[arg(long)]
    json: bool,
    #[arg(long, help = "A key, where the listener asks for one [env: FANTAIL_TOKEN]", value_name = "KEY")]
    token: Option<String>,
}

pub(super) async fn run(args: TailArgs) -> anyhow::Result<()> {
    let server = ServerUrl::choose(args.url.clone(), PUBLIC_URL, DEFAULT_URL)?;
    let token = authorization(args.token.clone())?;
    let mut tail = Tail {
        server,
        path: path(&args),
        token,
        json: args.json,
        last_id: Vec::new(),
        retry: RETRY,
        out: io::BufWriter::new(io::stdout()),
        err: io::stderr(),
    };
    tail.follow().await
}

/// The path and query; the query is only heeded without a `Last-Event-ID`, so that it can stay as it is on reconnects.
fn path(args: &TailArgs) -> String {
    let channels: Vec<String> = args.channels.iter().map(|name| escape(name)).collect();
    let start = match (args.last, &args.since, args.from_start) {
        (Some(last), _, _) => format!("?last={last}"),
        (_, Some(since), _) => format!("?since={}", escape(since)),
        (_, _, true) => "?from=start".to_owned(),
        _ => String::new(),
    };
    format!("sub/{}{start}", channels.join("/"))
}

struct Tail<O, E> {
    server: ServerUrl,
    path: String,
    token: Option<HeaderValue>,
    json: bool,
    last_id: Vec<u8>,
    retry: Duration,
    out: O,
    err: E,
}

#[derive(Serialize)]
struct Line<'a> {
    event: &'a str,
    id: &'a str,
    data: &'a str,
}

impl<O: Write, E: Write> Tail<O, E> {
    /// Prints until the server says that there will be no more.
    async fn follow(&mut self) -> anyhow::Result<()> {
        let mut failures = 0;
        let mut response = self.open().await?;
        loop {
            let why = match response {
                Ok(response) if response.status() == StatusCode::NO_CONTENT => return Ok(()),
                Ok(response) => {
                    failures = 0;
                    self.print(response).await?
                }
                Err(busy) => busy,
            };
            let wait = backoff(self.retry, failures);
            let _ = writeln!(self.err, "{why}, again in {wait:?}");
            sleep(wait).await;
            failures += 1;
            response = match self.open().await {
                Ok(response) => response,
                Err(error) if error.is::<Final>() => return Err(error),
                Err(error) => Err(format!("{error:#}")),
            };
        }
    }

    /// Opens the stream: a stream or 204, or else why the server has no time for it now.
    async fn open(&self) -> anyhow::Result<Result<Response<Incoming>, String>> {
        let mut request = self.server.request(&self.path).header(header::ACCEPT, "text/event-stream");
        if !self.last_id.is_empty() {
            request = request.header("last-event-id", HeaderValue::from_bytes(&self.last_id)?);
        }
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, token);
        }
        let response = timeout(HEAD_TIMEOUT, self.server.send(request.body(Empty::<Bytes>::new())?))
            .await
            .with_context(|| format!("the server has not answered within {HEAD_TIMEOUT:?}"))??;
        match response.status() {
            StatusCode::NO_CONTENT => Ok(Ok(response)),
            StatusCode::OK => {
                let kind = response.headers().get(header::CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
                if !kind.starts_with(b"text/event-stream") {
                    let kind = String::from_utf8_lossy(kind);
                    bail!(Final(format!("the server answered with \"{kind}\", not with an event stream")));
                }
                Ok(Ok(response))
            }
            StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT => Ok(Err(refusal(response).await)),
            status if status.is_server_error() => Ok(Err(refusal(response).await)),
            _ => bail!(Final(refusal(response).await)),
        }
    }

    /// Prints a stream to its end; says how it ended.
    async fn print(&mut self, response: Response<Incoming>) -> anyhow::Result<String> {
        let mut body = response.into_body();
        let mut decoder = Decoder::new();
        loop {
            let bytes = match body.frame().await {
                None => return Ok("the stream has ended".to_owned()),
                Some(Err(error)) => return Ok(format!("the connection broke: {error}")),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(bytes) => bytes,
                    Err(_) => continue,
                },
            };
            let (mut printed, mut retry) = (Ok(()), None);
            let valid = decoder.feed(&bytes, |item| match item {
                Item::Event(event) if printed.is_ok() => printed = self.print_event(&event),
                Item::Retry(milliseconds) => retry = Some(Duration::from_millis(milliseconds)),
                _ => {}
            });
            output(printed.and_then(|()| self.out.flush()))?;
            valid?;
            self.retry = retry.map_or(self.retry, |retry| retry.min(MOST_RETRY));
            if !decoder.last_event_id().is_empty() {
                self.last_id = decoder.last_event_id().to_vec();
            }
        }
    }

    fn print_event(&mut self, event: &Event<'_>) -> io::Result<()> {
        match event.name {
            b"fantail-gap" => {
                let _ = writeln!(self.err, "gap: {}", String::from_utf8_lossy(event.data));
            }
            b"fantail-end" => {
                let _ = writeln!(self.err, "end: {}", String::from_utf8_lossy(event.data));
            }
            name if self.json => {
                let (name, id) = (String::from_utf8_lossy(name), String::from_utf8_lossy(event.id));
                let line = Line { event: &name, id: &id, data: &String::from_utf8_lossy(event.data) };
                serde_json::to_writer(&mut self.out, &line)?;
                self.out.write_all(b"\n")?;
            }
            _ => {
                self.out.write_all(event.data)?;
                self.out.write_all(b"\n")?;
            }
        }
        Ok(())
    }
}

/// An answer that will not be another one next time.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Final(String);

fn backoff(retry: Duration, failures: u32) -> Duration {
    let retry = retry.max(SHORTEST_RETRY);
    retry.max(LONGEST_RETRY.min(retry.saturating_mul(1 << failures.min(10))))
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
        task::JoinHandle,
    };

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        tail: TailArgs,
    }

    fn args(arguments: &[&str]) -> Result<TailArgs, clap::Error> {
        Command::try_parse_from([&["tail"], arguments].concat()).map(|command| command.tail)
    }

    /// A server that gives one answer per connection, and returns the requests it got.
    async fn server(answers: &'static [&'static str]) -> (ServerUrl, JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let requests = tokio::spawn(async move {
            let mut requests = Vec::new();
            for answer in answers {
                let (mut socket, _) = listener.accept().await.unwrap();
                let mut read = Vec::new();
                while !read.ends_with(b"\r\n\r\n") {
                    socket.read_buf(&mut read).await.unwrap();
                }
                requests.push(String::from_utf8(read).unwrap());
                socket.write_all(answer.as_bytes()).await.unwrap();
            }
            requests
        });
        (url, requests)
    }

    fn tail(server: ServerUrl, json: bool) -> Tail<Vec<u8>, Vec<u8>> {
        let path = "sub/news?last=1".to_owned();
        Tail { server, path, token: None, json, last_id: Vec::new(), retry: RETRY, out: Vec::new(), err: Vec::new() }
    }

    const GONE: &str = "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n";

    #[tokio::test]
    async fn tail_that_is_cut_off_resumes_until_204() {
        let (url, requests) = server(&[
            "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n\
             retry: 1\nid: start\n\n",
            "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 16\r\n\r\n{\"error\":\"busy\"}",
            "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n\
             data: a\ndata: b\nid: 7\n\n: ping\nevent: fantail-gap\ndata: {}\n\nevent: fantail-end\ndata: bye\n\ndata: cut",
            GONE,
        ])
        .await;
        let mut tail = tail(url, false);
        tail.follow().await.unwrap();
        assert_eq!(String::from_utf8(tail.out).unwrap(), "a\nb\n");
        assert_eq!(
            String::from_utf8(tail.err).unwrap(),
            "the stream has ended, again in 100ms\nthe server answered 503 Service Unavailable: busy, again in 200ms\n\
             gap: {}\nend: bye\nthe stream has ended, again in 100ms\n"
        );
        let requests = requests.await.unwrap();
        assert!(requests[0].starts_with("GET /sub/news?last=1 HTTP/1.1\r\n") && !requests[0].contains("last-event-id"));
        assert!(requests[1].contains("\r\nlast-event-id: start\r\n"), "{}", requests[1]);
        assert!(requests[2].contains("\r\nlast-event-id: start\r\n"), "{}", requests[2]);
        assert!(requests[3].contains("\r\nlast-event-id: 7\r\n"), "{}", requests[3]);
    }

    #[tokio::test]
    async fn tail_as_json_prints_an_object_a_line() {
        let (url, _requests) = server(&[
            "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nConnection: close\r\n\r\n\
             retry: 1\n\nevent: x\ndata: a\ndata: \"b\"\nid: 7\n\ndata: c\n\n",
            GONE,
        ])
        .await;
        let mut tail = tail(url, true);
        tail.follow().await.unwrap();
        assert_eq!(
            String::from_utf8(tail.out).unwrap(),
            "{\"event\":\"x\",\"id\":\"7\",\"data\":\"a\\n\\\"b\\\"\"}\n{\"event\":\"message\",\"id\":\"7\",\"data\":\"c\"}\n"
        );
    }

    #[tokio::test]
    async fn tail_that_is_refused_says_why() {
        for (answer, said) in [
            (
                "HTTP/1.1 404 Not Found\r\nContent-Length: 14\r\n\r\n{\"error\":\"no\"}",
                "the server answered 404 Not Found: no",
            ),
            (
                "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 0\r\n\r\n",
                "the server answered with \"text/html\", not with an event stream",
            ),
        ] {
            let (url, _requests) = server(vec![answer].leak()).await;
            assert_eq!(tail(url, false).follow().await.unwrap_err().to_string(), said);
        }
    }

    #[tokio::test]
    async fn tail_whose_reader_is_gone_ends_quietly() {
        struct Closed;
        impl Write for Closed {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let (url, _requests) = server(&["HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: a\n\n"]).await;
        let Tail { server, path, .. } = tail(url, false);
        let (last_id, err) = (Vec::new(), Vec::new());
        let mut tail = Tail { server, path, token: None, json: false, last_id, retry: RETRY, out: Closed, err };
        assert!(tail.follow().await.unwrap_err().is::<super::super::ClosedOutput>());
    }

    #[test]
    fn path_of_each_start_is_asked_for() {
        for (arguments, expected) in [
            (&["a b", "c/d"][..], "sub/a%20b/c%2Fd"),
            (&["a", "--last", "5"], "sub/a?last=5"),
            (&["a", "--since", "2026-01-01T00:00:00+01:00"], "sub/a?since=2026-01-01T00%3A00%3A00%2B01%3A00"),
            (&["a", "--from-start"], "sub/a?from=start"),
        ] {
            assert_eq!(path(&args(arguments).unwrap()), expected);
        }
        assert!(args(&["a", "--last", "5", "--from-start"]).is_err());
        assert!(args(&[]).is_err());
    }

    #[test]
    fn backoff_doubles_up_to_its_limit() {
        let seconds = |n| Duration::from_secs(n);
        assert_eq!(backoff(seconds(3), 0), seconds(3));
        assert_eq!(backoff(seconds(3), 1), seconds(6));
        assert_eq!(backoff(seconds(3), 100), seconds(30));
        assert_eq!(backoff(seconds(60), 3), seconds(60));
        assert_eq!(backoff(Duration::ZERO, 0), SHORTEST_RETRY);
    }
}
