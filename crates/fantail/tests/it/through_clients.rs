//! Clients as people use them, before the server: of the heartbeats between events nothing surfaces, and errors, ends and
//! aborts are what they would be without it.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::apps::{App, Kind};
use crate::browser::{Browser, Report};
use crate::clients::Script;
use crate::program::tests_folder;
use crate::server::PATIENCE;
use crate::tee::Tee;

/// A heartbeat as it must be: one line, and no blank line after it.
const HEARTBEAT: &str = ": hb\n";

/// How many heartbeats come before a stream goes on: the first of them may have been sent before the last event.
const HEARTBEATS: usize = 2;

/// Lets streams go on step by step, each after heartbeats, for as long as the client is not done.
fn go_on(app: &App, tee: &Tee, mut is_done: impl FnMut() -> bool) {
    let end = Instant::now() + 2 * PATIENCE;
    let mut heard = tee.count(HEARTBEAT);
    while !is_done() {
        assert!(Instant::now() < end, "the client is not done after {} heartbeats", tee.count(HEARTBEAT));
        if tee.count(HEARTBEAT) >= heard + HEARTBEATS && app.try_step() {
            heard = tee.count(HEARTBEAT);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// `GET /steps` of an application, by one of tests/clients.
fn gets_nothing_but_events(script: &str) {
    let app = App::start(Kind::Express);
    let server = app.behind_server();
    let tee = Tee::start(server.public);
    let mut script = Script::start(script, &[&format!("http://{}/steps?n=4", tee.address)]);
    // There is no heartbeat before the first event.
    app.step();
    go_on(&app, &tee, || script.is_done());
    let event = |k| json!({ "report": "event", "type": "message", "data": format!("event {k}: grüße 🦜"), "id": format!("{k}") });
    let expected = [json!({ "report": "open" }), event(0), event(1), event(2), event(3), json!({ "report": "end" })];
    assert_eq!(script.reports(), expected);
}

/// `POST /llm` of an application, by one of tests/clients.
fn posts_and_gets_nothing_but_events(script: &str) {
    let app = App::start(Kind::Express);
    let server = app.behind_server();
    let tee = Tee::start(server.public);
    let url = format!("http://{}/llm", tee.address);
    let mut script = Script::start(script, &[&url, r#"{"prompt":"one two three"}"#]);
    app.step();
    go_on(&app, &tee, || script.is_done());
    let event = |data: String| json!({ "report": "event", "type": "message", "data": data, "id": "" });
    let word = |word| event(json!({ "choices": [{ "delta": { "content": word } }] }).to_string());
    let done = event("[DONE]".to_owned());
    let (open, end) = (json!({ "report": "open" }), json!({ "report": "end" }));
    assert_eq!(script.reports(), [open, word("one"), word("two"), word("three"), done, end]);
}

#[test]
fn eventsource_is_given_nothing_but_events() {
    gets_nothing_but_events("eventsource.mjs");
}

#[test]
fn fetch_event_source_is_given_nothing_but_events() {
    gets_nothing_but_events("fetch_event_source.mjs");
    posts_and_gets_nothing_but_events("fetch_event_source.mjs");
}

#[test]
fn eventsource_parser_is_given_nothing_but_events() {
    gets_nothing_but_events("eventsource_parser.mjs");
    posts_and_gets_nothing_but_events("eventsource_parser.mjs");
}

#[test]
fn httpx_sse_is_given_nothing_but_events() {
    gets_nothing_but_events("httpx_events.py");
    posts_and_gets_nothing_but_events("httpx_events.py");
}

#[test]
fn sseclient_is_given_nothing_but_events() {
    gets_nothing_but_events("sseclient_events.py");
    posts_and_gets_nothing_but_events("sseclient_events.py");
}

#[test]
fn chromium_is_given_nothing_but_events() {
    let app = App::start(Kind::Express);
    let server = app.behind_server();
    let tee = Tee::start(server.public);
    let mut browser = Browser::start();
    let source = browser.subscribe(&format!("http://{}/steps?n=4", tee.address), &[]);
    app.step();
    let mut reports = Vec::new();
    go_on(&app, &tee, || {
        reports.extend(source.try_next(Duration::from_millis(1)));
        matches!(reports.last(), Some(Report::Retrying | Report::GaveUp))
    });
    browser.close(&source);
    let event = |k| {
        let (name, data, id) = ("message".into(), format!("event {k}: grüße 🦜"), format!("{k}"));
        Report::Event(crate::browser::Event { name, data, id })
    };
    assert_eq!(reports, [Report::Open, event(0), event(1), event(2), event(3), Report::Retrying]);
}

/// The models of tests/apps/llm.mjs that the SDKs are driven with.
const MODELS: [&str; 6] = ["steps", "plain", "endless", "broken", "cut", "limited"];

/// Drives an SDK of tests/clients with all models through these APIs, on a route with further settings.
pub(crate) fn sdk_works(script: &str, apis: &[Api], route: &str) {
    let mut app = App::start(Kind::Llm);
    let server = app.behind_server_with(route);
    let tee = Tee::start(server.public);
    let base = format!("http://{}", tee.address);
    let mut script = Script::start(script, &[&[&*base], &MODELS[..]].concat());
    go_on(&app, &tee, || script.is_done());
    let mut reports = script.reports().into_iter();
    let asked: Vec<_> = MODELS.iter().flat_map(|model| apis.iter().map(move |api| (api, model))).collect();
    // Each was asked once, and those that had no end were told that nobody listens any more.
    let lines: Vec<_> = asked.iter().map(|(api, model)| format!("asked POST {} {model}", api.path)).collect();
    app.until_said_enough("what it was asked, and that its clients left", |said| {
        let told = said.iter().filter(|line| line.starts_with("asked"));
        told.eq(&lines) && said.iter().filter(|line| *line == "gone").count() == apis.len()
    });
    for (api, model) in asked {
        let begin = json!({ "report": "begin", "what": format!("{} {model}", api.name) });
        assert_eq!(reports.next(), Some(begin));
        let of_this = reports.as_slice().iter().take_while(|report| report["report"] != "begin").count();
        let told: Vec<Value> = reports.by_ref().take(of_this).collect();
        api.check(model, told);
    }
    assert_eq!(reports.next(), None);
}

/// An API of tests/apps/llm.mjs.
pub(crate) struct Api {
    pub(crate) name: &'static str,
    pub(crate) path: &'static str,
}

pub(crate) const CHAT: Api = Api { name: "chat", path: "/v1/chat/completions" };
pub(crate) const RESPONSES: Api = Api { name: "responses", path: "/v1/responses" };
pub(crate) const MESSAGES: Api = Api { name: "messages", path: "/v1/messages" };

impl Api {
    /// What surfaces of its events: an SDK keeps Anthropic's pings to itself.
    pub(crate) fn events(&self) -> Vec<Value> {
        let said = std::fs::read(tests_folder("apps").join("llm.json")).expect("what the API says");
        let mut said: Value = serde_json::from_slice(&said).expect("JSON");
        let Value::Array(mut events) = said[self.name].take() else { panic!("no events of {}", self.name) };
        events.retain(|event| event["type"] != "ping");
        events
    }

    fn check(&self, model: &str, told: Vec<Value>) {
        let what = format!("{} {model}: {told:#?}", self.name);
        let kind = |report: &Value| report["report"].as_str().expect("a report").to_owned();
        let kinds: Vec<String> = told.iter().map(kind).collect();
        let last = told.last().cloned().unwrap_or_default();
        let reason = last["reason"].as_str().unwrap_or_default().to_owned();
        let events: Vec<Value> = told.into_iter().filter(|report| report["report"] == "event").collect();
        let events: Vec<Value> = events.into_iter().map(|mut report| report["data"].take()).collect();
        // How many of its events surface, and what the SDK says after them.
        let (count, end) = match model {
            "steps" | "plain" => (usize::MAX, "end"),
            "endless" => (1, "end"),
            "broken" => (1, "error"),
            "cut" => (2, "error"),
            _ => (0, "error"),
        };
        let mut expected: Vec<Value> = self.events().into_iter().take(count).collect();
        match (model, self.name) {
            // Both SDKs hand this error on as an event.
            ("broken", "responses") => {
                let error = ("error", "overloaded");
                let given = events.last().map(|event| (&event["type"], &event["message"]));
                assert!(given.is_some_and(|(kind, message)| *kind == error.0 && *message == error.1), "{what}");
                expected.extend(events.last().cloned());
                assert_eq!(kinds.last().map(String::as_str), Some("end"), "{what}");
            }
            ("broken", _) => assert!(reason.contains("overloaded"), "{what}"),
            ("limited", _) => {
                assert_eq!((&last["status"], &last["retry_after"]), (&429.into(), &"7".into()), "{what}");
                assert_eq!(kinds, ["error"], "{what}");
                return;
            }
            _ => assert_eq!(kinds.last().map(String::as_str), Some(end), "{what}"),
        }
        assert_eq!(kinds.first().map(String::as_str), Some("open"), "{what}");
        assert_eq!(events, expected, "{what}");
    }
}

#[test]
fn openai_for_node_works() {
    sdk_works("openai_sdk.mjs", &[CHAT, RESPONSES], "");
}

#[test]
fn openai_for_python_works() {
    sdk_works("openai_sdk.py", &[CHAT, RESPONSES], "");
}

#[test]
fn anthropic_for_node_works() {
    sdk_works("anthropic_sdk.mjs", &[MESSAGES], "");
}

#[test]
fn anthropic_for_python_works() {
    sdk_works("anthropic_sdk.py", &[MESSAGES], "");
}
