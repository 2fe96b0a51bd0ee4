//! `fantail publish`: a message from an argument or standard input, or a message for each line.

use std::{
    io::{self, BufRead, IsTerminal, Read, Write},
    pin::Pin,
    task::{Context as Task, Poll},
    time::Duration,
};

use anyhow::{Context, bail};
use bytes::Bytes;
use clap::Args;
use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use http_body::{Body, Frame};
use http_body_util::Full;
use serde::{Deserialize, Serialize};
use tokio::{sync::mpsc, time::timeout};

use super::{
    client::{ServerUrl, authorization, escape, refusal, text},
    output,
};
use crate::config::CONTROL_URL;

const DEFAULT_URL: &str = "http://127.0.0.1:8081";
/// How long the answer to one message may take. Lines have no limit: they take as long as standard input.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// Lines that are waiting are sent together, up to about this many bytes.
const PIECE: usize = 64 * 1024;
/// Pieces that are read ahead of what the server takes.
const PIECES: usize = 4;

#[derive(Args)]
pub(super) struct PublishArgs {
    /// The channel
    channel: String,
    /// The message; "-" or nothing reads it from standard input, without its last line break
    #[arg(conflicts_with = "lines", allow_negative_numbers = true)]
    data: Option<String>,
    /// Publish every line of standard input as a message
    #[arg(long, conflicts_with_all = ["id", "key"])]
    lines: bool,
    /// The event's name
    #[arg(long, value_name = "NAME")]
    event: Option<String>,
    /// An id of the publisher's own
    #[arg(long)]
    id: Option<String>,
    /// An idempotency key: the server publishes only the first of several messages with the same
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    #[arg(
        long,
        help = "The control listener [env: FANTAIL_CONTROL_URL] [default: http://127.0.0.1:8081]",
        value_name = "URL"
    )]
    control: Option<String>,
    #[arg(long, help = "The control listener's key [env: FANTAIL_TOKEN]", value_name = "KEY")]
    token: Option<String>,
}

pub(super) async fn run(args: PublishArgs) -> anyhow::Result<()> {
    let server = ServerUrl::choose(args.control.clone(), CONTROL_URL, DEFAULT_URL)?;
    let token = authorization(args.token.clone())?;
    let mut out = io::stdout();
    if args.lines {
        let lines = Lines::read(io::BufReader::new(io::stdin()), args.channel, args.event)?;
        return publish_lines(&server, token, lines, &mut out, &mut io::stderr()).await;
    }
    let data = match args.data.as_deref() {
        None | Some("-") => standard_input()?,
        Some(data) => data.as_bytes().to_vec(),
    };
    publish_one(&server, token, &args, data.into(), &mut out).await
}

/// One message, without its last line break: `echo hello` means "hello".
fn standard_input() -> anyhow::Result<Vec<u8>> {
    let mut input = io::stdin();
    if input.is_terminal() {
        let _ = writeln!(io::stderr(), "type the message, end with Ctrl-D");
    }
    let mut data = Vec::new();
    input.read_to_end(&mut data).context("cannot read standard input")?;
    data.truncate(without_line_break(&data).len());
    Ok(data)
}

fn without_line_break(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

#[derive(Deserialize)]
struct Answer {
    published: Vec<Published>,
}

#[derive(Deserialize)]
struct Published {
    channel: String,
    id: String,
    subscribers: u64,
    duplicate: bool,
}

async fn publish_one(
    server: &ServerUrl,
    token: Option<HeaderValue>,
    args: &PublishArgs,
    data: Bytes,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let mut request = server.request(&format!("pub/{}", escape(&args.channel))).method(Method::POST);
    for (name, argument, value) in [
        ("event-type", "--event", &args.event),
        ("event-id", "--id", &args.id),
        ("idempotency-key", "--key", &args.key),
    ] {
        if let Some(value) = value {
            let sent = HeaderValue::from_bytes(value.as_bytes());
            let sent = sent.with_context(|| format!("{argument} {value:?} cannot be sent in a header"))?;
            request = request.header(HeaderName::from_static(name), sent);
        }
    }
    if let Some(token) = token {
        request = request.header(header::AUTHORIZATION, token);
    }
    let exchange = async {
        let response = server.send(request.body(Full::new(data))?).await?;
        if response.status() != StatusCode::OK {
            bail!(refusal(response).await);
        }
        text(response.into_body()).await
    };
    let body = timeout(ANSWER_TIMEOUT, exchange)
        .await
        .with_context(|| format!("the server has not answered within {ANSWER_TIMEOUT:?}"))??;
    let answer: Answer = serde_json::from_slice(&body).context("the answer is not one of Fantail's")?;
    for Published { channel, id, subscribers, duplicate } in answer.published {
        let duplicate = if duplicate { ", published before" } else { "" };
        output(writeln!(out, "{channel} {id}, {subscribers} subscribers{duplicate}"))?;
    }
    output(out.flush())
}

#[derive(Deserialize)]
struct BatchAnswer {
    applied: u64,
    #[serde(default)]
    error: Option<String>,
    #[serde(default)]
    refused: Vec<Refused>,
}

#[derive(Deserialize)]
struct Refused {
    line: u64,
    error: String,
}

async fn publish_lines(
    server: &ServerUrl,
    token: Option<HeaderValue>,
    lines: Lines,
    out: &mut impl Write,
    err: &mut impl Write,
) -> anyhow::Result<()> {
    let mut request = server.request("pub").method(Method::POST).header(header::CONTENT_TYPE, "application/x-ndjson");
    if let Some(token) = token {
        request = request.header(header::AUTHORIZATION, token);
    }
    let response = server.send(request.body(lines)?).await?;
    let status = response.status();
    if !matches!(status, StatusCode::OK | StatusCode::SERVICE_UNAVAILABLE | StatusCode::INSUFFICIENT_STORAGE) {
        bail!(refusal(response).await);
    }
    let body = text(response.into_body()).await?;
    let Ok(answer) = serde_json::from_slice::<BatchAnswer>(&body) else {
        bail!("the server answered {status}: {}", String::from_utf8_lossy(&body));
    };
    for Refused { line, error } in &answer.refused {
        let _ = writeln!(err, "line {line}: {error}");
    }
    output(writeln!(out, "{} applied", answer.applied).and_then(|()| out.flush()))?;
    if status != StatusCode::OK {
        let why = answer.error.map(|error| format!(" ({error})")).unwrap_or_default();
        bail!("the server answered {status}{why}, lines from {} on were not published", answer.applied + 1);
    }
    if !answer.refused.is_empty() {
        bail!("lines were refused");
    }
    Ok(())
}

/// A request's body: lines as NDJSON, read by a thread of their own that stays a few pieces ahead.
struct Lines(mpsc::Receiver<anyhow::Result<Bytes>>);

#[derive(Serialize)]
struct Message<'a> {
    channel: &'a str,
    data: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<&'a str>,
}

impl Lines {
    fn read(
        input: io::BufReader<impl Read + Send + 'static>,
        channel: String,
        event: Option<String>,
    ) -> io::Result<Self> {
        let (pieces, body) = mpsc::channel(PIECES);
        let thread = std::thread::Builder::new().name("fantail-stdin".to_owned());
        thread.spawn(move || {
            if let Err(error) = send_lines(input, &channel, event.as_deref(), &pieces) {
                let _ = pieces.blocking_send(Err(error));
            }
        })?;
        Ok(Self(body))
    }
}

/// Reads to the end of the input, or until nobody takes the pieces any more.
fn send_lines(
    mut input: io::BufReader<impl Read>,
    channel: &str,
    event: Option<&str>,
    pieces: &mpsc::Sender<anyhow::Result<Bytes>>,
) -> anyhow::Result<()> {
    let (mut line, mut piece) = (Vec::new(), Vec::new());
    for number in 1_u64.. {
        line.clear();
        let end = input.read_until(b'\n', &mut line).context("cannot read standard input")? == 0;
        if !end {
            let data = str::from_utf8(without_line_break(&line))
                .with_context(|| format!("line {number} of standard input is not UTF-8"))?;
            serde_json::to_writer(&mut piece, &Message { channel, data, event })?;
            piece.push(b'\n');
        }
        // What a person or a slow program writes leaves at once, what is waiting leaves together.
        let waiting = !end && input.buffer().contains(&b'\n') && piece.len() < PIECE;
        let taken = waiting || piece.is_empty() || pieces.blocking_send(Ok(std::mem::take(&mut piece).into())).is_ok();
        if end || !taken {
            break;
        }
    }
    Ok(())
}

impl Body for Lines {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(mut self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.0.poll_recv(task).map(|piece| piece.map(|piece| piece.map(Frame::data).map_err(Into::into)))
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;

    /// A server that reads one request until it holds `until`, gives `answer`, and returns what it read.
    async fn server(until: &'static str, answer: String) -> (ServerUrl, tokio::task::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let request = tokio::spawn(async move {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut read = Vec::new();
            while !String::from_utf8_lossy(&read).contains(until) {
                if socket.read_buf(&mut read).await.unwrap() == 0 {
                    break;
                }
            }
            socket.write_all(answer.as_bytes()).await.unwrap();
            String::from_utf8(read).unwrap()
        });
        (url, request)
    }

    fn answer(status: &str, body: &str) -> String {
        format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
    }

    fn message(channel: &str) -> PublishArgs {
        PublishArgs {
            channel: channel.to_owned(),
            data: None,
            lines: false,
            event: Some("greeting".to_owned()),
            id: Some("7".to_owned()),
            key: Some("k".to_owned()),
            control: None,
            token: None,
        }
    }

    #[tokio::test]
    async fn publish_of_one_message_sends_it_and_says_the_result() {
        let body =
            r#"{"published":[{"channel":"a b","epoch":"e","offset":"1","id":"7","subscribers":3,"duplicate":true}]}"#;
        let (url, request) = server("hello", answer("200 OK", body)).await;
        let token = authorization(Some("secret".to_owned())).unwrap();
        let mut out = Vec::new();
        publish_one(&url, token, &message("a b"), "hello".into(), &mut out).await.unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "a b 7, 3 subscribers, published before\n");
        let request = request.await.unwrap();
        assert!(request.starts_with("POST /pub/a%20b HTTP/1.1\r\n"), "{request}");
        for header in
            ["event-type: greeting", "event-id: 7", "idempotency-key: k", "authorization: Bearer secret", "host: 127."]
        {
            assert!(request.contains(&format!("\r\n{header}")), "{header} in {request}");
        }
    }

    #[tokio::test]
    async fn publish_that_is_refused_says_why() {
        let (url, _request) = server("hello", answer("403 Forbidden", r#"{"error":"wrong key"}"#)).await;
        let error = publish_one(&url, None, &message("a"), "hello".into(), &mut Vec::new()).await.unwrap_err();
        assert_eq!(format!("{error:#}"), "the server answered 403 Forbidden: wrong key");
    }

    #[tokio::test]
    async fn publish_without_a_server_names_the_url() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let url: ServerUrl = format!("http://{address}").parse().unwrap();
        let error = publish_one(&url, None, &message("a"), "".into(), &mut Vec::new()).await.unwrap_err();
        let said = format!("{error:#}");
        assert!(said.starts_with(&format!("cannot connect to http://{address}: Connection refused")), "{said}");
    }

    #[tokio::test]
    async fn publish_of_lines_sends_ndjson() {
        let (url, request) = server("\r\n0\r\n\r\n", answer("200 OK", r#"{"applied":3,"refused":[]}"#)).await;
        let input = io::BufReader::new(&b"one\n\"two\"\r\n\nlast"[..]);
        let lines = Lines::read(input, "c".to_owned(), Some("e".to_owned())).unwrap();
        let (mut out, mut err) = (Vec::new(), Vec::new());
        publish_lines(&url, None, lines, &mut out, &mut err).await.unwrap();
        assert_eq!((out.as_slice(), err.as_slice()), (&b"3 applied\n"[..], &b""[..]));
        let request = request.await.unwrap();
        assert!(request.starts_with("POST /pub HTTP/1.1\r\n"), "{request}");
        for line in ["one", r#"\"two\""#, "", "last"] {
            assert!(request.contains(&format!(r#"{{"channel":"c","data":"{line}","event":"e"}}"#)), "{request}");
        }
    }

    #[tokio::test]
    async fn publish_of_lines_that_are_refused_fails_and_names_them() {
        let body = r#"{"applied":1,"refused":[{"line":1,"error":"too large"}]}"#;
        let (url, _request) = server("\r\n0\r\n\r\n", answer("200 OK", body)).await;
        let lines = Lines::read(io::BufReader::new(&b"one\n"[..]), "c".to_owned(), None).unwrap();
        let mut err = Vec::new();
        let error = publish_lines(&url, None, lines, &mut Vec::new(), &mut err).await.unwrap_err();
        assert_eq!((error.to_string().as_str(), err.as_slice()), ("lines were refused", &b"line 1: too large\n"[..]));
    }

    #[tokio::test]
    async fn publish_of_lines_when_the_journal_fails_says_where() {
        for (status, body, said) in [
            ("503 Service Unavailable", r#"{"applied":4}"#, "503 Service Unavailable"),
            ("507 Insufficient Storage", r#"{"applied":4,"error":"no room"}"#, "507 Insufficient Storage (no room)"),
        ] {
            let (url, _request) = server("\r\n0\r\n\r\n", answer(status, body)).await;
            let lines = Lines::read(io::BufReader::new(&b"one\n"[..]), "c".to_owned(), None).unwrap();
            let error = publish_lines(&url, None, lines, &mut Vec::new(), &mut Vec::new()).await.unwrap_err();
            assert_eq!(error.to_string(), format!("the server answered {said}, lines from 5 on were not published"));
        }
    }

    #[tokio::test]
    async fn publish_of_a_line_that_is_not_utf8_names_it() {
        let (url, _request) = server("never", String::new()).await;
        let lines = Lines::read(io::BufReader::new(&b"one\n\xff\n"[..]), "c".to_owned(), None).unwrap();
        let error = publish_lines(&url, None, lines, &mut Vec::new(), &mut Vec::new()).await.unwrap_err();
        assert!(format!("{error:#}").contains("line 2 of standard input is not UTF-8"), "{error:#}");
    }

    #[test]
    fn arguments_that_begin_with_a_dash_are_told_apart() {
        #[derive(clap::Parser)]
        struct Command {
            #[command(flatten)]
            publish: PublishArgs,
        }
        let data = |arguments: &[&str]| {
            let parsed = <Command as clap::Parser>::try_parse_from([&["publish", "news"], arguments].concat());
            parsed.map(|command| command.publish.data)
        };
        for (arguments, expected) in [
            (&[][..], None),
            (&["-"], Some("-")),
            (&["-5"], Some("-5")),
            (&["--", "--event"], Some("--event")),
            (&["--event", "x"], None),
        ] {
            assert_eq!(data(arguments).unwrap().as_deref(), expected, "{arguments:?}");
        }
        for arguments in [&["--evnt"][..], &["hello", "--lines"], &["--lines", "--id", "7"]] {
            assert!(data(arguments).is_err(), "{arguments:?}");
        }
    }

    #[test]
    fn line_break_at_the_end_is_dropped_once() {
        for (line, rest) in [("a\n", "a"), ("a\r\n", "a"), ("a\n\n", "a\n"), ("a", "a"), ("", "")] {
            assert_eq!(without_line_break(line.as_bytes()), rest.as_bytes());
        }
    }
}
