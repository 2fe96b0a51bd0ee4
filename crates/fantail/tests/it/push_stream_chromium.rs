//! Push-stream routes in a real browser: a page made for the module's script, in each of its modes and over a network that is cut; and
//! what a browser makes of closes, streams, scripts and fields of other origins.

use std::time::Duration;

use serde_json::{Value, json};

use crate::browser::{Browser, Report};
use crate::cut::Cutter;
use crate::push_stream_page::{CONTROL, SCRIPT, TEMPLATE, frame};
use crate::push_stream_subscriber::{publish, server};
use crate::server::{PATIENCE, TestServer};
use crate::upstream::Upstream;

const PAGE: &str = include_str!("../browser/push_page.js");

/// How a page gets its messages.
#[derive(Clone, Copy, Debug)]
struct Way {
    mode: &'static str,
    /// Where it stands is said in the query.
    by_argument: bool,
    /// The page comes from another origin than its channels.
    abroad: bool,
}

const fn way(mode: &'static str, by_argument: bool, abroad: bool) -> Way {
    Way { mode, by_argument, abroad }
}

/// A site that a page comes from, and the module's routes beside it.
fn site(strict: bool, upstream: &Upstream) -> TestServer {
    let waits = "longpolling_connection_ttl = '1s'\n";
    let routes = [
        ("/ev/", "eventsource", TEMPLATE, "ping_message_interval = '300ms'\n".to_owned()),
        ("/ws/", "websocket", TEMPLATE, format!("websocket_allow_publish = true\nstore_messages = true\n{CONTROL}")),
        ("/sub/", "streaming", SCRIPT, frame("300ms")),
        ("/lp/", "long-polling", TEMPLATE, waits.to_owned()),
        ("/lpa/", "long-polling", TEMPLATE, format!("{waits}{CONTROL}")),
    ];
    let routes: Vec<_> = routes
        .iter()
        .map(|(path, mode, template, more)| {
            format!(
                "[[route]]\naction = 'push_stream'\npath = '~ ^{path}(.*)$'\nsubscriber = '{mode}'\nchannels_path = '$1'\n\
                 message_template = {}\nallowed_origins = '*'\n{more}",
                json!(template)
            )
        })
        .collect();
    TestServer::start(&format!(
        "[push_stream]\nstrict = {strict}\n[upstream.site]\nservers = ['{}']\n\
         [[route]]\npath = '/page'\naction = 'proxy'\nupstream = 'site'\n\
         [[route]]\npath = '/pub'\naction = 'push_stream'\npublisher = 'admin'\npublic_publish = true\nchannels_path = '$arg_id'\n\
         store_messages = true\nallowed_origins = '*'\n{}",
        upstream.name,
        routes.concat()
    ))
}

fn upstream() -> Upstream {
    let page = "<!doctype html><title>A site</title><body></body>";
    let head =
        format!("HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: {}\r\n\r\n", page.len());
    Upstream::serve(move |_, _| format!("{head}{page}").into_bytes())
}

/// Messages from before, live ones, those of a time without network, one of its own, and an end.
fn gets_everything_once(browser: &mut Browser, server: &TestServer, way: Way, number: usize) {
    let (one, two) = (format!("a{number}"), format!("b{number}"));
    let say = |channel: &str, text: &str, id: &str| {
        publish(server, &format!("/pub?id={channel}"), &[("Event-Id", id)], text.as_bytes());
    };
    let cutter = Cutter::start(server.public);
    let at = format!("http://{}", cutter.addr());
    let page = if way.abroad { browser.page().to_owned() } else { format!("{at}/page") };
    browser.open(&page);
    browser.evaluate(PAGE);
    say(&one, "before", "1");
    let options = json!({
        "server": at, "mode": way.mode, "byArgument": way.by_argument, "channels": { &one: 1, &two: 0 }, "silence": 2000,
    });
    browser.evaluate(&format!("window.page = new PushPage({options}); page.open()"));
    let mut told: Vec<Value> = Vec::new();
    let mut until = |browser: &mut Browser, more: &[Value]| {
        told.extend_from_slice(more);
        browser.wait_until(&format!("page.told.length >= {}", told.len()), PATIENCE);
        assert_eq!(browser.evaluate("page.told"), json!(told), "{way:?}");
    };
    let message = |channel: &str, text: &str| json!(["message", channel, text]);
    until(browser, &[message(&one, "before")]);
    if way.mode == "eventsource" {
        // What has a name does not reach it.
        let named = [("Event-Id", "1b"), ("Event-Type", "named")];
        publish(server, &format!("/pub?id={two}"), &named, b"unheard");
    }
    say(&two, "first", "2");
    until(browser, &[message(&two, "first")]);

    cutter.refuse(true);
    cutter.cut_all();
    say(&one, "100%25 of %C3%BC", "3");
    say(&two, "second", "4");
    cutter.refuse(false);
    until(browser, &[message(&one, "100% of ü"), message(&two, "second")]);

    browser.evaluate("page.send('from the page')");
    until(browser, &[message(&one, "from the page"), message(&two, "from the page")]);

    // A poll is only told of it while it waits.
    server.until_stat("subscribers", 1);
    assert_eq!(server.public().request("DELETE", &format!("/pub?id={one}"), &[], b"").status, 200);
    until(browser, &[json!(["deleted", one])]);
    if way.mode == "websocket" {
        assert_eq!(browser.evaluate("page.ends[0]"), 1006, "the network was cut");
    }
    browser.evaluate("page.close()");
    server.until_stat("subscribers", 0);
}

#[test]
fn chromium_with_a_page_of_the_modules_script_gets_everything_once_in_every_mode() {
    let upstream = upstream();
    let mut browser = Browser::start();
    let at_home = [
        way("eventsource", false, false),
        way("websocket", true, false),
        way("stream", true, false),
        way("longpolling", false, false),
        way("longpolling", true, false),
        way("jsonp", true, true),
    ];
    // Strictly, pages of other origins may not read the `Etag`.
    let abroad = [way("eventsource", false, true), way("websocket", true, true), way("longpolling", false, true)];
    for strict in [true, false] {
        let server = site(strict, &upstream);
        let ways = at_home.iter().chain(if strict { &[][..] } else { &abroad });
        for (number, way) in ways.enumerate() {
            gets_everything_once(&mut browser, &server, *way, number);
        }
    }
}

#[test]
fn chromium_is_told_with_which_code_a_websocket_ends() {
    let options =
        "subscriber = 'websocket'\nchannels_path = '$arg_id'\nfooter_template = 'FTR'\nwebsocket_allow_publish = ";
    let mut browser = Browser::start();
    for (strict, orderly, at_the_stop) in [(true, 1005, 1005), (false, 1000, 1001)] {
        let (says, short) = (format!("{options}true"), format!("{options}false\nsubscriber_connection_ttl = '300ms'"));
        let mut server =
            server(&format!("strict = {strict}\n[hub]\nmessage = '1KiB'"), &[("/ws", &says), ("/short", &short)]);
        let cutter = Cutter::start(server.public);
        let open = |browser: &mut Browser, target: &str| {
            browser.evaluate(&format!(
                "window.ended = null; window.said = []; window.socket = new WebSocket('ws://{}{target}');
                 socket.onmessage = ({{ data }}) => said.push(data);
                 socket.onclose = ({{ code, reason, wasClean }}) => ended = [code, reason, wasClean, said];
                 undefined",
                cutter.addr()
            ));
        };
        let is_open = |browser: &mut Browser| browser.wait_until("socket.readyState === WebSocket.OPEN", PATIENCE);
        let ended = |browser: &mut Browser| {
            browser.wait_until("ended !== null", PATIENCE);
            browser.evaluate("ended")
        };
        open(&mut browser, "/ws?id=ALL");
        let reason = r#"{"http_status": 403, "explain":"Channel id not authorized for this method."}"#;
        assert_eq!(ended(&mut browser), json!([1008, reason, true, []]));
        open(&mut browser, "/short?id=a");
        assert_eq!(ended(&mut browser), json!([orderly, "", true, ["FTR"]]), "its time is over");
        for (says, code) in
            [("new Uint8Array([1, 2]).buffer", 1003), ("'x'.repeat(1025)", 1009), ("'\\u00fc'.repeat(513)", 1009)]
        {
            open(&mut browser, "/ws?id=a");
            is_open(&mut browser);
            browser.evaluate(&format!("socket.send({says})"));
            assert_eq!(ended(&mut browser), json!([code, "", true, []]), "{says}");
        }
        open(&mut browser, "/ws?id=a");
        is_open(&mut browser);
        browser.evaluate("socket.send('\\u00fc'.repeat(512))");
        browser.wait_until("said.length === 1 && said[0] === '\\u00fc'.repeat(512)", PATIENCE);
        browser.evaluate("socket.close(3001, 'enough')");
        let end = ended(&mut browser);
        assert_eq!((&end[0], &end[1], &end[2]), (&json!(3001), &json!("enough"), &json!(true)));
        open(&mut browser, "/ws?id=a");
        is_open(&mut browser);
        cutter.cut_all();
        assert_eq!(ended(&mut browser), json!([1006, "", false, []]));
        server.until_stat("subscribers", 0);
        open(&mut browser, "/ws?id=a");
        is_open(&mut browser);
        server.until_stat("subscribers", 1);
        server.begin_stop();
        assert_eq!(ended(&mut browser), json!([at_the_stop, "", true, ["FTR"]]));
    }
}

#[test]
fn chromium_reads_a_stream_of_another_origin_as_it_comes() {
    let options = "subscriber = 'streaming'\nchannels_path = '$arg_id'\nheader_template = 'HDR\\n'\nmessage_template = '~text~\\n'\n\
                   allowed_origins = '$http_origin'\ndefault_type = ";
    let options = options.replace('\'', "\"");
    let mut browser = Browser::start();
    // Strictly, plain text has to wait until the browser has guessed what it is.
    for (strict, kind) in [(true, "text/html"), (false, "text/plain"), (false, "application/octet-stream")] {
        let server = server(&format!("strict = {strict}"), &[("/sub", &format!("{options}'{kind}'"))]);
        browser.evaluate(&format!(
            "window.request = new XMLHttpRequest(); request.open('GET', 'http://{}/sub?id=a'); request.send()",
            server.public
        ));
        let mut said = "HDR\n".to_owned();
        browser.wait_until(&format!("request.responseText === {}", json!(said)), PATIENCE);
        for text in ["one", "two", "grüße"] {
            publish(&server, "/pub?id=a", &[], text.as_bytes());
            said = format!("{said}{text}\n");
            browser.wait_until(&format!("request.responseText === {}", json!(said)), PATIENCE);
        }
        assert_eq!(browser.evaluate("request.readyState"), 3, "it goes on");
        browser.evaluate("request.abort()");
        server.until_stat("subscribers", 0);
    }
}

#[test]
fn chromium_runs_what_a_link_names_as_callback_only_if_strict() {
    let route =
        [("/poll", "subscriber = 'polling'\nchannels_path = '$arg_id'\nmessage_template = '{\"text\":\"~text~\"}'")];
    let mut browser = Browser::start();
    for strict in [true, false] {
        let server = server(&format!("strict = {strict}"), &route);
        publish(&server, "/pub?id=a", &[], b"1");
        browser.evaluate("window.taken = null; window.app = { cb: [(messages) => taken = messages] }; undefined");
        let load = |browser: &mut Browser, callback: &str| {
            let url = format!("http://{}/poll?id=a.b1&callback={callback}", server.public);
            browser.evaluate(&format!(
                "new Promise((done) => {{
                   const script = document.createElement('script');
                   script.onload = () => done('loaded');
                   script.onerror = () => done('refused');
                   script.src = {};
                   document.head.append(script);
                 }})",
                json!(url)
            ))
        };
        assert_eq!(load(&mut browser, "app.cb[0]"), "loaded");
        assert_eq!(browser.evaluate("taken"), json!([{ "text": "1" }]));
        let ran = load(&mut browser, "window.ran%3Dtrue%3Bapp.cb[0]");
        assert_eq!(ran, if strict { "loaded" } else { "refused" });
        assert_eq!(browser.evaluate("window.ran === true"), strict);
        let page = browser.page().to_owned();
        browser.open(&page);
    }
}

#[test]
fn chromium_of_another_origin_polls_with_fields_and_reads_why_it_is_refused() {
    let route = [(
        "/lp",
        "subscriber = 'long-polling'\nchannels_path = '$arg_id'\nallowed_origins = '$http_origin'\nlongpolling_connection_ttl = '200ms'",
    )];
    let server = server("", &route);
    let mut browser = Browser::start();
    let mut poll = |id: &str, fields: &Value| {
        browser.evaluate(&format!(
            "fetch('http://{}/lp?id={id}', {{ headers: {fields} }}).then(async (answer) => [
               answer.status, await answer.text(),
               ...['Etag', 'Last-Modified', 'X-Nginx-PushStream-Explain'].map((field) => answer.headers.get(field))])",
            server.public
        ))
    };
    publish(&server, "/pub?id=a", &[], b"1");
    let first = poll("a.b1", &json!({}));
    assert_eq!((&first[0], &first[1]), (&json!(200), &json!("1")));
    let place = json!({ "If-None-Match": first[2], "If-Modified-Since": first[3] });
    assert!(place["If-None-Match"].as_str().is_some_and(|tag| tag.starts_with("W/")), "{first}");
    let nothing = poll("a", &place);
    assert_eq!(nothing, json!([304, "", first[2], first[3], null]));
    publish(&server, "/pub?id=a", &[], b"2");
    let second = poll("a", &place);
    assert_eq!((&second[0], &second[1]), (&json!(200), &json!("2")));
    assert_ne!(second[2], first[2]);
    let refused = poll("ALL", &json!({}));
    assert_eq!((&refused[0], &refused[4]), (&json!(403), &json!("Channel id not authorized for this method.")));
}

#[test]
fn chromium_with_an_event_source_comes_back_after_its_time_and_goes_on() {
    let options = "subscriber = 'eventsource'\nchannels_path = '$arg_id'\nallowed_origins = '*'\nheader_template = 'hello'\n\
                   footer_template = 'bye'\nsubscriber_connection_ttl = '400ms'\nping_message_interval = '100ms'";
    let server = server("[stream]\nretry = '50ms'\nretry_jitter = '0s'", &[("/ev", options)]);
    let mut browser = Browser::start();
    let source = browser.subscribe(&format!("http://{}/ev?id=a", server.public), &["named"]);
    source.wait_open(PATIENCE);
    let mut reopened = 0;
    for n in 0..40 {
        // Some have ids of their own, some have none, some have names.
        let (id, number) = (format!("own-{n}"), n.to_string());
        let own = [("Event-Id", id.as_str()), ("Event-Type", "named")];
        publish(&server, "/pub?id=a", [&own[..], &[], &own[..1], &own[1..]][n % 4], number.as_bytes());
        let event = loop {
            match source.next(PATIENCE) {
                Report::Event(event) => break event,
                Report::GaveUp => panic!("it gave up"),
                Report::Open => reopened += 1,
                Report::Retrying => {}
            }
        };
        assert_eq!(
            (&*event.data, &*event.name),
            (&*number, if n % 4 == 0 || n % 4 == 3 { "named" } else { "message" })
        );
        if n % 4 == 0 || n % 4 == 2 {
            assert_eq!(event.id, id);
        }
        std::thread::sleep(Duration::from_millis(40));
    }
    assert!(reopened >= 2, "it came back {reopened} times");
    assert_eq!(server.stat("gaps"), 0);
}
