//! Pages written for the module's own script, as they look from the wire: in each of its HTTP modes a page of ours says what such
//! a page says, and makes of the answers what it makes of them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Instant;

use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde_json::Value;

use crate::client::{Answer, Part, Stream};
use crate::push_stream_subscriber::server;
use crate::server::{PATIENCE, TestServer, eventually};

/// A message as pages read it.
pub(crate) const TEMPLATE: &str =
    r#"{"id":~id~,"channel":"~channel~","text":"~text~","tag":"~tag~","time":"~time~","eventid":"~event-id~"}"#;

/// How it gets its messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    EventSource,
    /// Scripts in a page without an end.
    Stream,
    LongPolling,
    /// Scripts that call a function of the page.
    Jsonp,
}

/// What the page's callbacks were told.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Told {
    Message { channel: String, text: String },
    Deleted(String),
}

struct Page<'a> {
    server: &'a TestServer,
    mode: Mode,
    /// Where it has come to is said in the query, not in fields.
    by_argument: bool,
    /// Each with its backtrack.
    channels: BTreeMap<String, u32>,
    tag: String,
    time: String,
    event_id: String,
    stream: Option<Stream>,
    told: Vec<Told>,
    requests: u32,
}

/// Where a client stands, as it says in its URL.
pub(crate) const CONTROL: &str = "last_received_message_time = '$arg_time'\nlast_received_message_tag = '$arg_tag'\nlast_event_id = '$arg_eventid'\n";
/// A message as a streaming frame takes it.
pub(crate) const SCRIPT: &str = "<script>p(~id~,'~channel~','~text~','~event-id~', '~time~', '~tag~');</script>";

/// A streaming route whose answers are frames of a page, with a ping so often.
pub(crate) fn frame(ping: &str) -> String {
    format!(
        "header_template = '<html><body><script>parent.PushStream.register(this)</script>'\ndefault_type = 'text/html; charset=utf-8'\n\
         footer_template = '</body></html>'\nping_message_interval = '{ping}'\n{CONTROL}"
    )
}

fn routes() -> Vec<(&'static str, String)> {
    let subscriber = |mode: &str, template: &str, more: &str| {
        format!(
            "subscriber = '{mode}'\nchannels_path = '$1'\nmessage_template = {}\nallowed_origins = '*'\n{more}",
            serde_json::to_string(template).expect("as pages need it")
        )
    };
    let page = frame("10s");
    let waits = "longpolling_connection_ttl = '10s'\n";
    vec![
        ("~ ^/ev/(.*)$", subscriber("eventsource", TEMPLATE, "ping_message_interval = '10s'")),
        ("~ ^/sub/(.*)$", subscriber("streaming", SCRIPT, &page)),
        ("~ ^/lp/(.*)$", subscriber("long-polling", TEMPLATE, waits)),
        ("~ ^/lpa/(.*)$", subscriber("long-polling", TEMPLATE, &format!("{waits}{CONTROL}"))),
    ]
}

impl<'a> Page<'a> {
    fn open(server: &'a TestServer, mode: Mode, by_argument: bool, channels: &[(&str, u32)]) -> Self {
        let channels = channels.iter().map(|(channel, backtrack)| ((*channel).to_owned(), *backtrack)).collect();
        let none = String::new;
        Self {
            server,
            mode,
            by_argument,
            channels,
            tag: none(),
            time: none(),
            event_id: none(),
            stream: None,
            told: Vec::new(),
            requests: 0,
        }
    }

    fn target(&mut self) -> String {
        let prefix = match self.mode {
            Mode::EventSource => "/ev",
            Mode::Stream => "/sub",
            Mode::LongPolling | Mode::Jsonp if self.by_argument => "/lpa",
            Mode::LongPolling | Mode::Jsonp => "/lp",
        };
        let knows = self.by_argument && !(self.time.is_empty() && self.event_id.is_empty());
        let mut target = prefix.to_owned();
        for (channel, backtrack) in &self.channels {
            let _ = write!(target, "/{channel}");
            if *backtrack > 0 && !knows {
                let _ = write!(target, ".b{backtrack}");
            }
        }
        self.requests += 1;
        let said = |value: &str| {
            if self.by_argument { utf8_percent_encode(value, NON_ALPHANUMERIC).to_string() } else { String::new() }
        };
        let event_id = if self.time.is_empty() { said(&self.event_id) } else { String::new() };
        let _ =
            write!(target, "?_={}&tag={}&time={}&eventid={event_id}", self.requests, said(&self.tag), said(&self.time));
        if self.mode == Mode::Stream {
            target += "&streamid=0";
        }
        if self.mode == Mode::Jsonp {
            let _ = write!(target, "&callback=PushStreamManager_0_onmessage_{}", self.requests);
        }
        target
    }

    /// One document of a message.
    fn take(&mut self, document: &Value) {
        let text =
            |key: &str| document[key].as_str().unwrap_or_else(|| panic!("no text {key} in {document}")).to_owned();
        let id = document["id"].as_i64().expect("an id without quotes");
        if id == -2 {
            self.told.push(Told::Deleted(text("channel")));
        } else if id > 0 {
            (self.tag, self.time, self.event_id) = (text("tag"), text("time"), text("eventid"));
            let said = percent_decode_str(&text("text")).decode_utf8().expect("as pages need it").into_owned();
            self.told.push(Told::Message { channel: text("channel"), text: said });
        }
    }

    /// Goes on until it has been told so many things.
    fn until(&mut self, told: usize) {
        let end = Instant::now() + PATIENCE;
        while self.told.len() < told {
            assert!(Instant::now() < end, "{:?} was told no more than {:?}", self.mode, self.told);
            match self.mode {
                Mode::EventSource => self.event(),
                Mode::Stream => self.script(),
                Mode::LongPolling | Mode::Jsonp => self.poll(),
            }
        }
    }

    /// Takes an event; a browser comes back by itself, to the URL that it first had.
    fn event(&mut self) {
        if self.stream.is_none() {
            let target = self.target();
            let id = self.event_id.clone();
            let fields: Vec<_> =
                [("Last-Event-ID", id.as_str())].into_iter().filter(|(_, id)| !id.is_empty()).collect();
            let mut client = self.server.public();
            client.ask("GET", &target, &fields, b"");
            self.stream = Some(client.stream_of("text/event-stream; charset=utf-8"));
        }
        let stream = self.stream.as_mut().expect("it is open");
        match stream.part() {
            // Only what has no name reaches `onmessage`.
            Ok(Part::Event(event)) if event.name == "message" => {
                let document = serde_json::from_str(&event.data).expect("as pages need it");
                self.take(&document);
                self.event_id = self.stream.as_ref().expect("it is open").last_event_id();
            }
            Ok(_) => self.event_id = stream.last_event_id(),
            Err(_) => self.stream = None,
        }
    }

    /// Takes a script of the page in the frame.
    fn script(&mut self) {
        if self.stream.is_none() {
            let target = self.target();
            let mut client = self.server.public();
            client.ask("GET", &target, &[], b"");
            let mut stream = client.stream_of("text/html; charset=utf-8");
            let head = String::from_utf8(stream.chunk().expect("as pages need it")).expect("as pages need it");
            assert!(head.contains("parent.PushStream.register(this)"), "{head}");
            self.stream = Some(stream);
        }
        let Ok(chunk) = self.stream.as_mut().expect("it is open").chunk() else { return self.stream = None };
        let chunk = String::from_utf8(chunk).expect("as pages need it");
        let Some(call) = chunk.strip_prefix("<script>p(").and_then(|call| call.strip_suffix(");</script>")) else {
            return;
        };
        let (id, rest) = call.split_once(',').expect("as pages need it");
        let arguments: Vec<_> = rest.split('\'').skip(1).step_by(2).collect();
        let [channel, text, event_id, time, tag] = arguments[..] else { panic!("{call}") };
        let id: i64 = id.parse().expect("as pages need it");
        let document = serde_json::json!({ "id": id, "channel": channel, "text": text, "eventid": event_id, "time": time, "tag": tag });
        self.take(&document);
    }

    fn poll(&mut self) {
        let target = self.target();
        let (time, tag) = (self.time.clone(), self.tag.clone());
        let known = !self.by_argument && !time.is_empty();
        let fields: Vec<_> = if known {
            vec![("If-Modified-Since", time.as_str()), ("If-None-Match", tag.as_str())]
        } else {
            Vec::new()
        };
        let answer = self.server.public().request("GET", &target, &fields, b"");
        let kind = answer.head.get("content-type").map(str::to_owned);
        let text = match answer.status {
            304 => String::new(),
            200 => answer.text(),
            status => panic!("{status} for {target}"),
        };
        if self.mode == Mode::Jsonp {
            // The script's load is all that the page sees; a 304 is a load without a call.
            assert!(text.is_empty() || kind.as_deref() == Some("application/javascript"), "{answer:?}");
            let call = format!("PushStreamManager_0_onmessage_{}([", self.requests);
            let list = text.strip_prefix(&call).and_then(|list| list.strip_suffix("]);")).unwrap_or_default();
            let list: Value = serde_json::from_str(&format!("[{list}]")).expect("as pages need it");
            list.as_array().expect("as pages need it").iter().for_each(|document| self.take(document));
            return;
        }
        for document in text.replace("}{", "}\r\n{").split("\r\n").filter(|document| !document.is_empty()) {
            let document = serde_json::from_str(document).expect("as pages need it");
            self.take(&document);
        }
        if !self.by_argument {
            self.place(&answer);
            // From here on the channels are asked for without their past, which would come again each time.
            self.channels.values_mut().for_each(|backtrack| *backtrack = 0);
        }
    }

    fn place(&mut self, answer: &Answer) {
        for (field, value) in [("last-modified", &mut self.time), ("etag", &mut self.tag)] {
            if let Some(said) = answer.head.get(field) {
                said.clone_into(value);
            }
        }
    }

    /// `sendMessage`: to all of its channels.
    fn send(&self, text: &str) {
        let names: Vec<_> = self.channels.keys().cloned().collect();
        let fields = [("Content-Type", "application/x-www-form-urlencoded"), ("Accept", "application/json")];
        let body = utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        let target = format!("/pub?id=/{}", names.join("/"));
        let answer = self.server.public().request("POST", &target, &fields, body.as_bytes());
        assert_eq!(answer.status, 200, "{answer:?}");
    }
}

fn message(channel: &str, text: &str) -> Told {
    Told::Message { channel: channel.to_owned(), text: text.to_owned() }
}

#[test]
fn page_of_the_modules_script_gets_everything_once_in_every_mode() {
    let routes = routes();
    let routes: Vec<_> = routes.iter().map(|(path, options)| (*path, options.as_str())).collect();
    for strict in [true, false] {
        let server = server(&format!("strict = {strict}"), &routes);
        for (number, (mode, by_argument)) in [
            (Mode::EventSource, false),
            (Mode::Stream, true),
            (Mode::LongPolling, false),
            (Mode::LongPolling, true),
            (Mode::Jsonp, true),
        ]
        .into_iter()
        .enumerate()
        {
            let (one, two) = (format!("a{number}"), format!("b{number}"));
            let publish = |channel: &str, text: &str, id: &str| {
                let answer = server.public().request(
                    "POST",
                    &format!("/pub?id={channel}"),
                    &[("Event-Id", id)],
                    text.as_bytes(),
                );
                assert_eq!(answer.status, 200, "{answer:?}");
            };
            publish(&one, "before", "1");
            let mut page = Page::open(&server, mode, by_argument, &[(&one, 1), (&two, 0)]);
            page.until(1);
            publish(&two, "first", "2");
            page.until(2);
            // It is away for a moment, as it is between two polls.
            page.stream = None;
            publish(&one, "100%25 of %C3%BC", "3");
            publish(&two, "second", "4");
            if mode == Mode::EventSource && strict {
                // With a backtrack in its URL the module sends a browser that again, whatever it has seen.
                page.channels.values_mut().for_each(|backtrack| *backtrack = 0);
            }
            let expected =
                [message(&one, "before"), message(&two, "first"), message(&one, "100% of ü"), message(&two, "second")];
            if mode == Mode::EventSource && strict {
                // And an id that one channel knows says nothing of the others.
                page.until(3);
                assert_eq!(page.told, [expected[0].clone(), expected[1].clone(), expected[3].clone()], "{mode:?}");
                page.told = expected.to_vec();
            }
            page.until(4);
            assert_eq!(page.told, expected, "{mode:?}, by argument: {by_argument}, strict: {strict}");
            page.send("from the page");
            page.until(6);
            let mut sent = page.told.split_off(4);
            sent.sort_by_key(|told| format!("{told:?}"));
            assert_eq!(sent, [message(&one, "from the page"), message(&two, "from the page")]);
            page.told = expected.to_vec();
            let polls = matches!(mode, Mode::LongPolling | Mode::Jsonp);
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    // A poll is only told of it while it waits.
                    eventually("the page waits", || !polls || server.stat("subscribers") == 1);
                    let target = format!("/pub?id={one}");
                    assert_eq!(server.public().request("DELETE", &target, &[], b"").status, 200);
                });
                page.until(5);
            });
            assert_eq!(page.told[4], Told::Deleted(one), "{mode:?}");
        }
    }
}
