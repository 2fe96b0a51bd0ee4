//! What an application asks for in the header fields of its answer: which channels, what kind of hold, what is sent in
//! silence, and what is known of the subscriber.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use fantail_hub::ChannelName;
use http::{HeaderMap, HeaderValue, StatusCode};
use thiserror::Error;

use super::channel::{self, ChannelError};
use super::elements::{elements, pairs};
use super::filter::Filter;

/// How long a response hold lasts that says nothing of it, as in other GRIP proxies.
const TIMEOUT: Duration = Duration::from_secs(55);
/// The longest response hold.
const MAX_TIMEOUT: u64 = 3600;
/// After which silence a keep-alive is sent that says nothing of it.
const KEEP_ALIVE: Duration = Duration::from_secs(55);
/// The longest silence before a keep-alive.
const MAX_KEEP_ALIVE: u64 = 86_400;

/// What kind of hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// The answer goes on, with every message.
    Stream,
    /// The answer is the first message, or the application's own when none comes in time.
    Response,
}

/// A channel that the request is held on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Channel {
    /// As the application calls it.
    pub name: String,
    /// As the hub calls it.
    pub key: ChannelName,
    /// The id of the last message that the answer already speaks for.
    pub prev_id: Option<String>,
    /// What is done to messages on their way to this subscriber.
    pub filters: Vec<Filter>,
}

/// What is sent in silence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeepAlive {
    /// The bytes.
    pub content: Bytes,
    /// After how long.
    pub after: Duration,
}

/// Where more of the answer is to be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Next {
    /// A URI at the application, relative to the request's.
    pub uri: String,
    /// After which silence of a held stream it may be asked for.
    pub timeout: Option<Duration>,
}

/// What an application asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instruct {
    /// The kind of hold; without one the answer is complete, and its channels only name the filters of its body.
    pub hold: Option<Hold>,
    /// Each once.
    pub channels: Vec<Channel>,
    /// How long a response hold lasts.
    pub timeout: Duration,
    /// What is sent in silence, if anything.
    pub keep_alive: Option<KeepAlive>,
    /// The status that counts instead of the answer's own: some application servers allow no GRIP fields with a 304.
    pub status: Option<StatusCode>,
    /// What is known of the subscriber; filters look at it.
    pub meta: BTreeMap<String, String>,
    /// Where more of the answer is to be had.
    pub next: Option<Next>,
}

/// Why instructions cannot be followed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InstructError {
    /// A field's value.
    #[error("{field}: {value:?} is not {expected}")]
    Value {
        /// Its name.
        field: &'static str,
        /// What was given.
        value: String,
        /// What is allowed.
        expected: &'static str,
    },
    /// A field is not text.
    #[error("{0} is not valid UTF-8")]
    NotUtf8(&'static str),
    /// A channel.
    #[error("Grip-Channel: {0}")]
    Channel(#[from] ChannelError),
    /// A hold on nothing.
    #[error("Grip-Hold is given, but no Grip-Channel")]
    NoChannel,
}

impl Instruct {
    /// Instructions that ask for nothing yet.
    pub(super) fn new(hold: Option<Hold>) -> Self {
        Self {
            hold,
            channels: Vec::new(),
            timeout: TIMEOUT,
            keep_alive: None,
            status: None,
            meta: BTreeMap::new(),
            next: None,
        }
    }

    /// Reads an answer's fields. Fields of other uses (`Grip-Expose-Headers`, those of `WebSocket`) are passed over: none of
    /// them changes what such a hold delivers.
    ///
    /// # Errors
    /// [`InstructError`] names the field and the value.
    pub fn of(headers: &HeaderMap) -> Result<Self, InstructError> {
        let mut instruct = Self::new(one(headers, "Grip-Hold")?.map(parse_hold).transpose()?);
        for text in all(headers, "Grip-Channel")? {
            for element in elements(text) {
                let mut prev_id = None;
                let mut filters = Vec::new();
                for (name, value) in element.params {
                    match &*name {
                        "prev-id" => prev_id = Some(value),
                        "filter" => filters.push(Filter::parse(&value).ok_or(InstructError::Value {
                            field: "Grip-Channel",
                            value: format!("filter={value}"),
                            expected: Filter::EXPECTED,
                        })?),
                        // Parameters of later versions do not make a channel another one.
                        _ => {}
                    }
                }
                instruct.add(element.value, prev_id, filters)?;
            }
        }
        if let Some(seconds) = one(headers, "Grip-Timeout")? {
            instruct.timeout = parse_timeout("Grip-Timeout", seconds)?;
        }
        instruct.keep_alive = one(headers, "Grip-Keep-Alive")?.map(parse_keep_alive).transpose()?;
        instruct.status = one(headers, "Grip-Status")?.map(parse_status).transpose()?;
        for text in all(headers, "Grip-Set-Meta")? {
            instruct.meta.extend(pairs(text).filter(|(name, _)| !name.is_empty()));
        }
        for text in all(headers, "Grip-Link")? {
            instruct.next = instruct.next.or(parse_links(text)?);
        }
        instruct.check()
    }

    /// Adds a channel; of one that is named twice the first counts.
    pub(super) fn add(
        &mut self,
        name: String,
        prev_id: Option<String>,
        filters: Vec<Filter>,
    ) -> Result<(), InstructError> {
        let key = channel::channel(&name)?;
        if self.channels.iter().all(|known| known.key != key) {
            self.channels.push(Channel { name, key, prev_id: prev_id.filter(|id| !id.is_empty()), filters });
        }
        Ok(())
    }

    pub(super) fn check(self) -> Result<Self, InstructError> {
        if self.hold.is_some() && self.channels.is_empty() {
            return Err(InstructError::NoChannel);
        }
        Ok(self)
    }
}

/// The values of a field. Not trimmed: a keep-alive's text may end with what it likes.
fn all<'h>(headers: &'h HeaderMap, field: &'static str) -> Result<Vec<&'h str>, InstructError> {
    let text = |value: &'h HeaderValue| std::str::from_utf8(value.as_bytes());
    headers.get_all(field).iter().map(text).collect::<Result<_, _>>().map_err(|_| InstructError::NotUtf8(field))
}

fn one<'h>(headers: &'h HeaderMap, field: &'static str) -> Result<Option<&'h str>, InstructError> {
    let values = all(headers, field)?;
    match values.as_slice() {
        [] => Ok(None),
        [value] => Ok(Some(value)),
        [_, other, ..] => {
            Err(InstructError::Value { field, value: (*other).to_owned(), expected: "allowed beside another value" })
        }
    }
}

pub(super) fn parse_hold(text: &str) -> Result<Hold, InstructError> {
    match text.trim() {
        "stream" => Ok(Hold::Stream),
        "response" => Ok(Hold::Response),
        _ => Err(InstructError::Value {
            field: "Grip-Hold",
            value: text.to_owned(),
            expected: "\"stream\" or \"response\"",
        }),
    }
}

pub(super) fn parse_timeout(field: &'static str, text: &str) -> Result<Duration, InstructError> {
    let seconds = text.trim().parse().ok().filter(|seconds| (1..=MAX_TIMEOUT).contains(seconds));
    let seconds = seconds.ok_or_else(|| InstructError::Value {
        field,
        value: text.to_owned(),
        expected: "a number of seconds from 1 to 3600",
    })?;
    Ok(Duration::from_secs(seconds))
}

fn parse_status(text: &str) -> Result<StatusCode, InstructError> {
    let code = text.trim().parse().ok().filter(|code| (200..=599).contains(code));
    code.and_then(|code: u16| StatusCode::from_u16(code).ok()).ok_or_else(|| InstructError::Value {
        field: "Grip-Status",
        value: text.to_owned(),
        expected: "a status from 200 to 599",
    })
}

/// `CONTENT; format=…; timeout=…`. The content itself may hold semicolons, so that the parameters are taken from the end.
fn parse_keep_alive(text: &str) -> Result<KeepAlive, InstructError> {
    let wrong = |expected| InstructError::Value { field: "Grip-Keep-Alive", value: text.to_owned(), expected };
    let mut content = text;
    let (mut format, mut after) = ("raw", KEEP_ALIVE);
    while let Some((before, param)) = content.rsplit_once(';') {
        let Some((name, value)) = param.split_once('=') else { break };
        match &*name.trim().to_ascii_lowercase() {
            "format" => format = value.trim(),
            "timeout" => {
                let seconds = value.trim().parse().ok().filter(|seconds| (1..=MAX_KEEP_ALIVE).contains(seconds));
                let seconds = seconds.ok_or_else(|| wrong("with a timeout of 1 to 86400 seconds"))?;
                after = Duration::from_secs(seconds);
            }
            // An interval is kept from the last write as well: what shows that a connection lives need not be said twice.
            "mode" if matches!(value.trim(), "idle" | "interval") => {}
            _ => break,
        }
        content = before;
    }
    let content = content.trim();
    let content = match format {
        "raw" => content.as_bytes().to_vec(),
        "cstring" => cstring(content).ok_or_else(|| wrong(r"a cstring: only \\, \r, \n and \t may be escaped"))?,
        "base64" => STANDARD.decode(content).map_err(|_| wrong("valid base64"))?,
        _ => return Err(wrong("of format raw, cstring or base64")),
    };
    if content.is_empty() {
        return Err(wrong("anything that could be sent"));
    }
    Ok(KeepAlive { content: content.into(), after })
}

fn cstring(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'\\' => match bytes.next()? {
                b'\\' => b'\\',
                b'r' => b'\r',
                b'n' => b'\n',
                b't' => b'\t',
                _ => return None,
            },
            byte => byte,
        });
    }
    Some(out)
}

/// `<URI>; rel=next; timeout=…`, among links of other relations. A URI may hold commas and semicolons.
fn parse_links(text: &str) -> Result<Option<Next>, InstructError> {
    let mut rest = text.trim();
    while !rest.is_empty() {
        let uri = rest.strip_prefix('<').and_then(|rest| rest.split_once('>'));
        let (uri, params) = uri.ok_or_else(|| InstructError::Value {
            field: "Grip-Link",
            value: rest.to_owned(),
            expected: "a URI in angle brackets",
        })?;
        let (params, behind) = params.split_once(',').unwrap_or((params, ""));
        rest = behind.trim_start();
        let link = elements(params).next();
        let param = |wanted: &str| link.iter().flat_map(|link| &link.params).find(|(name, _)| name == wanted);
        if param("rel").is_some_and(|(_, rel)| rel == "next") {
            let timeout = param("timeout").map(|(_, seconds)| parse_timeout("Grip-Link", seconds)).transpose()?;
            return Ok(Some(Next { uri: uri.to_owned(), timeout }));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use http::HeaderName;

    use super::*;

    fn read(fields: &[(&'static str, &str)]) -> Result<Instruct, String> {
        let fields = fields
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_bytes(value.as_bytes()).unwrap()));
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(name, value);
        }
        Instruct::of(&headers).map_err(|error| error.to_string())
    }

    fn keep_alive(text: &str) -> Result<(Vec<u8>, u64), String> {
        let read = read(&[("grip-keep-alive", text)])?;
        let keep_alive = read.keep_alive.unwrap();
        Ok((keep_alive.content.to_vec(), keep_alive.after.as_secs()))
    }

    #[test]
    fn of_a_stream_as_django_eventstream_asks_for_it() {
        let instruct = read(&[
            ("grip-hold", "stream"),
            ("grip-channel", "events-a%20b; prev-id=7; filter=build-id; filter=skip-users, user-1; filter=require-sub"),
            ("grip-keep-alive", r"event: keep-alive\ndata:\n\n; format=cstring; timeout=20"),
            ("grip-set-meta", r#"id_format="a:%(events-a)s,b:%(events-b)s", user="1""#),
            ("grip-link", "</events/?a=1,2&es-meta=x>; rel=next"),
        ])
        .unwrap();
        assert_eq!(instruct.hold, Some(Hold::Stream));
        let [events, user] = instruct.channels.as_slice() else { panic!("{instruct:?}") };
        assert_eq!((&*events.name, events.prev_id.as_deref()), ("events-a%20b", Some("7")));
        assert_eq!(events.key.as_str(), "grip:events-a%2520b");
        assert_eq!(events.filters, [Filter::BuildId, Filter::SkipUsers]);
        assert_eq!((&*user.name, user.prev_id.as_deref(), &*user.filters), ("user-1", None, &[Filter::RequireSub][..]));
        let keep_alive = instruct.keep_alive.unwrap();
        assert_eq!((&*keep_alive.content, keep_alive.after.as_secs()), (&b"event: keep-alive\ndata:\n\n"[..], 20));
        assert_eq!(instruct.meta["id_format"], "a:%(events-a)s,b:%(events-b)s");
        assert_eq!(instruct.meta["user"], "1");
    }

    #[test]
    fn of_a_response_hold_with_repeated_channels() {
        let instruct = read(&[
            ("grip-hold", "response"),
            ("grip-channel", "a, b"),
            ("grip-channel", "a; prev-id=9, c"),
            ("grip-timeout", "30"),
            ("grip-status", "304"),
        ])
        .unwrap();
        let names: Vec<_> = instruct.channels.iter().map(|channel| &*channel.name).collect();
        assert_eq!((instruct.hold, names), (Some(Hold::Response), vec!["a", "b", "c"]));
        assert_eq!((instruct.timeout.as_secs(), instruct.status), (30, Some(StatusCode::NOT_MODIFIED)));
        assert_eq!(read(&[("grip-channel", "a")]).unwrap().timeout.as_secs(), 55);
    }

    #[test]
    fn of_bad_values_names_field_and_value() {
        for (fields, expected) in [
            (&[("grip-hold", "forever")][..], "Grip-Hold: \"forever\" is not \"stream\" or \"response\""),
            (&[("grip-hold", "stream")], "Grip-Hold is given, but no Grip-Channel"),
            (&[("grip-hold", "stream"), ("grip-channel", " ,")], "Grip-Hold is given, but no Grip-Channel"),
            (&[("grip-channel", "; prev-id=1")], "Grip-Channel: a channel's name is empty"),
            (
                &[("grip-channel", "a; filter=magic")],
                "Grip-Channel: \"filter=magic\" is not skip-self, skip-users, require-sub, build-id or var-subst",
            ),
            (&[("grip-timeout", "0")], "Grip-Timeout: \"0\" is not a number of seconds from 1 to 3600"),
            (&[("grip-timeout", "1h")], "Grip-Timeout: \"1h\" is not a number of seconds from 1 to 3600"),
            (&[("grip-status", "101")], "Grip-Status: \"101\" is not a status from 200 to 599"),
            (&[("grip-link", "/x; rel=next")], "Grip-Link: \"/x; rel=next\" is not a URI in angle brackets"),
            (
                &[("grip-hold", "stream"), ("grip-hold", "response")],
                "Grip-Hold: \"response\" is not allowed beside another value",
            ),
        ] {
            assert_eq!(read(fields).unwrap_err(), expected);
        }
        let latin = HeaderMap::from_iter([(
            HeaderName::from_static("grip-channel"),
            HeaderValue::from_bytes(b"caf\xe9").unwrap(),
        )]);
        assert_eq!(Instruct::of(&latin).unwrap_err().to_string(), "Grip-Channel is not valid UTF-8");
    }

    #[test]
    fn keep_alive_in_each_format() {
        assert_eq!(keep_alive(": ping"), Ok((b": ping".to_vec(), 55)));
        assert_eq!(keep_alive("a; b=c; format=raw; timeout=5"), Ok((b"a; b=c".to_vec(), 5)));
        assert_eq!(keep_alive(r"a\\n\t\r\n;timeout=5;Format=cstring"), Ok((b"a\\n\t\r\n".to_vec(), 5)));
        assert_eq!(keep_alive("AAEC/w==; format=base64; timeout=30; mode=interval"), Ok((vec![0, 1, 2, 255], 30)));
        for bad in [
            r"\x; format=cstring",
            r"a\; format=cstring",
            "?; format=base64",
            "a; format=hex",
            "; timeout=5",
            "a; timeout=0",
        ] {
            let error = keep_alive(bad).unwrap_err();
            assert!(error.starts_with("Grip-Keep-Alive: "), "{bad}: {error}");
        }
    }

    #[test]
    fn next_link_is_found_among_others() {
        let link = |text| read(&[("grip-link", text)]).unwrap().next;
        let next = |uri: &str, timeout| Some(Next { uri: uri.to_owned(), timeout });
        assert_eq!(link("</a>; rel=gone, </b?c=d>; rel=next; timeout=9"), next("/b?c=d", Some(Duration::from_secs(9))));
        assert_eq!(link("</a>; rel=prev"), None);
        assert_eq!(link("</b?a=1,2;3>; rel=next"), next("/b?a=1,2;3", None));
    }
}
