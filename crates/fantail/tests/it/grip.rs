//! GRIP and `X-Accel-Redirect`: an application hands requests over, and publishes to those that are held. The applications are
//! raw sockets that say what they are told to.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use serde_json::{Value, json};

use crate::client::{Answer, Client, End};
use crate::server::{PATIENCE, TestServer};

/// An application that gives each path the answer it was made with.
pub(crate) struct Application {
    address: SocketAddr,
    /// The heads of the requests that reached it.
    asked: Receiver<String>,
}

impl Application {
    /// Answers are heads without length and bodies, by path; any other path is 404.
    pub(crate) fn start(answers: &[(&'static str, &str, &str)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let answers: Vec<_> = answers
            .iter()
            .map(|(path, head, body)| {
                let head = head.trim_end().replace('\n', "\r\n");
                (*path, format!("HTTP/1.1 {head}\r\nContent-Length: {}\r\n\r\n{body}", body.len()))
            })
            .collect();
        let (tell, asked) = sync_channel(64);
        std::thread::spawn(move || {
            for socket in listener.incoming().map_while(Result::ok) {
                let (answers, tell) = (answers.clone(), tell.clone());
                std::thread::spawn(move || {
                    let mut reader = BufReader::new(socket);
                    while let Some(head) = read_head(&mut reader) {
                        let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
                        tell.send(head).ok();
                        let answer =
                            answers.iter().find(|(known, _)| *known == path).map(|(_, answer)| answer.as_str());
                        let none = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";
                        reader.get_mut().write_all(answer.unwrap_or(none).as_bytes()).ok();
                    }
                });
            }
        });
        Self { address, asked }
    }

    /// A server whose other paths all lead here.
    pub(crate) fn served(&self, more: &str) -> TestServer {
        TestServer::start(&format!(
            "[upstream.app]\nservers = ['http://{}']\n\
             [[route]]\npath = '/{{path...}}'\naction = 'proxy'\nupstream = 'app'\n{more}",
            self.address
        ))
    }

    fn asked(&self) -> String {
        self.asked.recv_timeout(PATIENCE).expect("the application is asked")
    }
}

/// A request's head; a body of a given length is read and forgotten.
fn read_head(reader: &mut BufReader<TcpStream>) -> Option<String> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let length = head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
    reader.read_exact(&mut vec![0; length.unwrap_or(0)]).ok()?;
    Some(head)
}

fn publish(server: &TestServer, items: &Value) -> Answer {
    let body = json!({ "items": items }).to_string();
    server.control().request("POST", "/publish/", &[("Content-Type", "application/json")], body.as_bytes())
}

fn say(server: &TestServer, channel: &str, content: &str) {
    let answer =
        publish(server, &json!([{ "channel": channel, "formats": { "http-stream": { "content": content } } }]));
    assert_eq!((answer.status, answer.text().as_str()), (200, "Published\n"));
}

const STREAM: &str = "200 OK\nContent-Type: text/event-stream\nGrip-Hold: stream\nGrip-Channel: a";
const RESPONSE: &str = "200 OK\nContent-Type: text/plain\nGrip-Hold: response\nGrip-Channel: a";

#[test]
fn stream_hold_begins_with_the_answer_and_goes_on_with_items() {
    let app = Application::start(&[(
        "/events",
        &format!(
            "{STREAM}, b/c\nCache-Control: no-cache\nX-Own: kept\nETag: \"x\"\nGrip-Set-Meta: user=\"1\"\nX-Accel-Expires: 5"
        ),
        "event: open\ndata:\n\n",
    )]);
    let server = app.served("");
    let mut stream = server.public().subscribe("/events");
    for name in ["grip-hold", "grip-channel", "grip-set-meta", "x-accel-expires", "content-length", "etag"] {
        assert_eq!(stream.head.get(name), None, "{}", stream.head.raw);
    }
    assert_eq!(stream.head.get("cache-control"), Some("no-cache, no-transform"));
    assert_eq!((stream.head.get("x-accel-buffering"), stream.head.get("x-own")), (Some("no"), Some("kept")));
    assert_eq!(stream.event().name, "open");
    say(&server, "a", "data: 1\n\n");
    say(&server, "b/c", "data: 2\n\n");
    say(&server, "other", "data: not this\n\n");
    // Bytes as they are, and more than one format.
    let items =
        json!([{ "channel": "a", "http-stream": { "content-bin": "ZGF0YTogMwoK" }, "http-response": { "body": "x" } }]);
    assert_eq!(publish(&server, &items).status, 200);
    assert_eq!(stream.data(3), ["1", "2", "3"]);
}

#[test]
fn stream_hold_closed_by_an_item_ends_and_the_channel_lives_on() {
    let app = Application::start(&[("/events", STREAM, "")]);
    let server = app.served("");
    let mut streams = [server.public().subscribe("/events"), server.public().subscribe("/events")];
    server.until_stat("subscribers", 2);
    let items = json!([
        { "channel": "a", "formats": { "http-stream": { "content": "data: last\n\n" } } },
        { "channel": "a", "formats": { "http-stream": { "action": "close", "content": "" } } },
        { "channel": "a", "formats": { "http-stream": { "content": "data: later\n\n" } } },
    ]);
    assert_eq!(publish(&server, &items).status, 200);
    for stream in &mut streams {
        let (parts, end) = stream.to_end();
        let data: Vec<_> = parts.into_iter().filter_map(|part| part.event().map(|event| event.data)).collect();
        assert_eq!((data, end), (vec!["last".to_owned()], End::Said));
    }
    let mut stream = server.public().subscribe("/events");
    server.until_stat("subscribers", 1);
    say(&server, "a", "data: new\n\n");
    assert_eq!(stream.data(1), ["new"]);
}

#[test]
fn stream_hold_with_a_keep_alive_says_it_in_silence() {
    let keep_alive = format!("{STREAM}\nGrip-Keep-Alive: event: keep-alive\\ndata:\\n\\n; format=cstring; timeout=1");
    let app = Application::start(&[("/events", &keep_alive, "")]);
    let server = app.served("");
    let mut stream = server.public().subscribe("/events");
    assert_eq!(stream.events(2).into_iter().map(|event| event.name).collect::<Vec<_>>(), ["keep-alive", "keep-alive"]);
}

#[test]
fn stream_hold_of_any_type_and_status_is_not_spoken_into() {
    let head =
        "202 Accepted\nContent-Type: application/octet-stream\nGrip-Hold: stream\nGrip-Channel: a\nGrip-Status: 201";
    let app = Application::start(&[("/bytes", head, "begin ")]);
    let mut server = app.served("");
    let mut client = server.public();
    client.ask("GET", "/bytes", &[], b"");
    let head = client.read_head();
    assert_eq!((head.status, head.get("cache-control"), head.get("x-accel-buffering")), (201, None, None));
    server.until_stat("subscribers", 1);
    say(&server, "a", "middle");
    // The farewell of an event stream would be no part of it.
    server.begin_stop();
    let rest = String::from_utf8(client.rest()).unwrap();
    assert_eq!(rest, "6\r\nbegin \r\n6\r\nmiddle\r\n0\r\n\r\n");
}

#[test]
fn stream_hold_from_an_id_goes_on_behind_it() {
    let app = Application::start(&[
        ("/two", "200 OK\nContent-Type: text/event-stream\nGrip-Hold: stream\nGrip-Channel: a; prev-id=2", ""),
        ("/before", "200 OK\nContent-Type: text/event-stream\nGrip-Hold: stream\nGrip-Channel: a; prev-id=0", ""),
        ("/odd", "200 OK\nContent-Type: text/event-stream\nGrip-Hold: stream\nGrip-Channel: a; prev-id=~4", ""),
        ("/coming", "200 OK\nContent-Type: text/event-stream\nGrip-Hold: stream\nGrip-Channel: a; prev-id=6", ""),
    ]);
    let server = app.served("");
    let item = |id: &str, prev: &str| {
        let content = format!("data: {id}\n\n");
        json!({ "channel": "a", "id": id, "prev-id": prev, "formats": { "http-stream": { "content": content } } })
    };
    let items = json!([item("1", "0"), item("2", "1"), item("3", "2"), item("~4", "3"), item("5", "~4")]);
    assert_eq!(publish(&server, &items).status, 200);
    assert_eq!(server.public().subscribe("/two").data(3), ["3", "~4", "5"]);
    assert_eq!(server.public().subscribe("/before").data(5), ["1", "2", "3", "~4", "5"], "the successor names it");
    assert_eq!(server.public().subscribe("/odd").data(1), ["5"]);
    // The application speaks for a message that it has not published yet.
    server.until_stat("subscribers", 0);
    let mut coming = server.public().subscribe("/coming");
    server.until_stat("subscribers", 1);
    assert_eq!(publish(&server, &json!([item("6", "5"), item("7", "6")])).status, 200);
    assert_eq!(coming.data(1), ["7"]);
}

#[test]
fn filters_look_at_the_subscriber() {
    let held = |user: &str, channels: &str| {
        format!(
            "200 OK\nContent-Type: text/event-stream\nGrip-Hold: stream\nGrip-Channel: {channels}\n\
             Grip-Set-Meta: user=\"{user}\", id_format=\"a:%(a)s,b:%(b)s\""
        )
    };
    let channels = "a; prev-id=1; filter=skip-users; filter=build-id, b; filter=build-id, u; filter=require-sub";
    let app = Application::start(&[
        ("/one", &held("one", channels), "id: %I\ndata: 100%%\n\n"),
        ("/two", &held("two", channels), ""),
        ("/page", "200 OK\nGrip-Channel: a; prev-id=3; filter=build-id\nGrip-Link: </next>; rel=next", "%I %%\n"),
    ]);
    let server = app.served("");
    let mut one = server.public().subscribe("/one");
    let mut two = server.public().subscribe("/two");
    server.until_stat("subscribers", 2);
    let first = one.event();
    assert_eq!((&*first.id, &*first.data), ("a:1,b:", "100%"));
    let item = |channel: &str, id: &str, meta: Value| {
        let stream = json!({ "content": "id: %I\ndata: 5%% %I\n\n", "content-filters": ["build-id"] });
        json!({ "channel": channel, "id": id, "meta": meta, "http-stream": stream })
    };
    let items = json!([
        item("a", "2", json!({ "skip_users": "one,three" })),
        item("b", "7", json!({})),
        item("u", "kick", json!({ "require_sub": "c" })),
        item("u", "kick", json!({ "require_sub": "b" })),
    ]);
    assert_eq!(publish(&server, &items).status, 200);
    let said = |events: Vec<crate::client::Event>| events.into_iter().map(|event| event.data).collect::<Vec<_>>();
    assert_eq!(said(one.events(2)), ["5% a:2,b:7", "5% a:2,b:7"]);
    assert_eq!(said(two.events(3)), ["5% a:2,b:", "5% a:2,b:7", "5% a:2,b:7"]);
    // Without a hold the body is all there is.
    let page = server.public().get("/page");
    assert_eq!((page.text().as_str(), page.head.get("grip-link")), ("3 %\n", None));
}

#[test]
fn response_hold_is_answered_by_the_first_item_and_used_again() {
    let app =
        Application::start(&[("/poll", &format!("{RESPONSE}\nX-Own: kept\nETag: \"x\"\nX-Both: app"), "nothing\n")]);
    let server = app.served("");
    let mut client = server.public();
    for round in 0..2 {
        client.ask("GET", "/poll", &[], b"");
        server.until_stat("subscribers", 1);
        let items = json!([
            { "channel": "a", "formats": { "http-stream": { "content": "not for it" } } },
            { "channel": "a", "formats": { "http-response": { "code": 201, "reason": "Indeed", "body": format!("round {round}"),
                "headers": { "X-Both": "item", "Content-Length": "1" } } } },
            { "channel": "a", "formats": { "http-response": { "body": "too late" } } },
        ]);
        assert_eq!(publish(&server, &items).status, 200);
        let answer = client.answer();
        assert_eq!((answer.status, answer.text()), (201, format!("round {round}")));
        assert!(answer.head.raw.starts_with("HTTP/1.1 201 Indeed\r\n"), "{}", answer.head.raw);
        let head = |name: &str| answer.head.get(name).map(str::to_owned);
        assert_eq!(
            (head("x-own").as_deref(), head("x-both").as_deref(), head("etag")),
            (Some("kept"), Some("item"), None)
        );
        assert_eq!((head("content-type").as_deref(), head("grip-hold")), (Some("text/plain"), None));
        // An answer may be read before the shard has counted its going, and the next round's coming would not be waited for.
        server.until_stat("subscribers", 0);
    }
}

#[test]
fn response_hold_without_an_item_gets_what_the_application_said() {
    let app = Application::start(&[
        ("/poll", &format!("{RESPONSE}\nGrip-Timeout: 1\nGrip-Status: 304\nETag: \"x\""), "nothing\n"),
        ("/close", RESPONSE, "nothing\n"),
    ]);
    let server = app.served("");
    let mut client = server.public();
    let answer = client.get("/poll");
    assert_eq!((answer.status, answer.head.get("etag"), answer.body.len()), (304, Some("\"x\""), 0));
    // An answer may be read before the shard has counted its going.
    server.until_stat("subscribers", 0);
    client.ask("POST", "/close", &[], b"a body");
    server.until_stat("subscribers", 1);
    let items = json!([{ "channel": "a", "formats": { "http-response": { "action": "close" } } }]);
    assert_eq!(publish(&server, &items).status, 200);
    let answer = client.answer();
    assert_eq!((answer.status, answer.text().as_str()), (200, "nothing\n"));
    assert!(client.is_closed(), "a request with a body is its connection's last");
}

#[test]
fn instructions_in_a_json_body_are_followed() {
    let instruct = r#"{"hold": {"mode": "stream", "channels": [{"name": "a"}]},
        "response": {"headers": {"Content-Type": "text/event-stream"}, "body": "data: first\n\n"}}"#;
    let app = Application::start(&[("/old", "200 OK\nContent-Type: application/grip-instruct", instruct)]);
    let server = app.served("");
    let mut stream = server.public().subscribe("/old");
    server.until_stat("subscribers", 1);
    say(&server, "a", "data: second\n\n");
    assert_eq!(stream.data(2), ["first", "second"]);
}

#[test]
fn instructions_that_cannot_be_followed_are_502_and_named() {
    let app = Application::start(&[
        ("/hold", "200 OK\nGrip-Hold: maybe\nGrip-Channel: a", ""),
        ("/none", "200 OK\nGrip-Hold: stream", ""),
        ("/coded", &format!("{STREAM}\nContent-Encoding: gzip"), "x"),
        ("/large", STREAM, &"x".repeat(5000)),
        ("/nowhere", "200 OK\nX-Accel-Redirect: /none/such", ""),
        ("/named", "200 OK\nX-Accel-Redirect: @push", ""),
        ("/round", "200 OK\nX-Accel-Redirect: /round", ""),
    ]);
    let server = app.served("hand_over = true\n[hub]\nmessage = '4KiB'\n");
    for (path, named) in [
        ("/hold", "Grip-Hold: \"maybe\""),
        ("/none", "no Grip-Channel"),
        ("/coded", "Content-Encoding"),
        ("/large", "4096 bytes (hub.message)"),
        ("/named", "X-Accel-Redirect: \"@push\""),
        ("/round", "X-Accel-Redirect led from route to route 10 times"),
    ] {
        let answer = server.public().get(path);
        assert_eq!(answer.status, 502, "{path}");
        assert!(answer.error().contains(named), "{path}: {}", answer.error());
    }
    let wants = [("Accept", "text/event-stream")];
    assert_eq!(server.public().request("GET", "/hold", &wants, b"").status, 502);
    // The catch-all route serves it, and so the application says what it is.
    assert_eq!(server.public().get("/nowhere").status, 404);
}

#[test]
fn instructions_that_cannot_be_followed_do_not_silence_an_event_source_where_failures_are_soft() {
    let app = Application::start(&[("/hold", "200 OK\nGrip-Hold: maybe\nGrip-Channel: a", "")]);
    let server = app.served("soft_failure = true\n");
    let answer = server.public().request("GET", "/hold", &[("Accept", "text/event-stream")], b"");
    assert_eq!((answer.status, answer.head.get("content-type")), (200, Some("text/event-stream")));
    assert!(answer.text().contains("retry: "), "{}", answer.text());
}

#[test]
fn hand_over_that_is_off_passes_answers_without_the_fields() {
    let app =
        Application::start(&[("/events", STREAM, "data: 1\n\n"), ("/away", "200 OK\nX-Accel-Redirect: /sub/a", "x")]);
    let server = app.served("hand_over = false\n[proxy]\ngrip_key = 'k'\n");
    let mut stream = server.public().subscribe("/events");
    assert_eq!((stream.data(1), stream.head.get("grip-hold")), (vec!["1".to_owned()], None));
    assert_eq!(server.public().get("/away").text(), "x");
    assert!(!app.asked().to_ascii_lowercase().contains("grip-sig"));
}

#[test]
fn requests_are_signed_and_what_clients_send_of_it_is_not_passed_on() {
    let app = Application::start(&[("/", "200 OK", "x")]);
    let server = app.served("[proxy]\ngrip_key = 'changeme'\ngrip_issuer = 'edge'\n");
    let forged = [("Grip-Sig", "forged"), ("Grip-Hold", "stream"), ("X-Accel-Redirect", "/sub/a")];
    assert_eq!(server.public().request("GET", "/", &forged, b"").text(), "x");
    let head = app.asked().to_ascii_lowercase();
    let signatures: Vec<_> = head.lines().filter_map(|line| line.strip_prefix("grip-sig: ")).collect();
    let [signature] = signatures.as_slice() else { panic!("{head}") };
    assert_eq!(signature.split('.').count(), 3, "{signature}");
    assert!(!head.contains("grip-hold") && !head.contains("x-accel"), "{head}");
}

#[test]
fn redirect_serves_the_internal_route_with_the_applications_fields() {
    let redirect = "200 OK\nX-Accel-Redirect: /private/room-42?last=1\nContent-Type: text/html\nETag: \"x\"\n\
                    Cache-Control: public\nSet-Cookie: a=1\nSet-Cookie: b=2\nVary: Cookie\n\
                    Access-Control-Allow-Origin: https://app.example\nAccess-Control-Allow-Credentials: true";
    let app =
        Application::start(&[("/chat", redirect, "not shown"), ("/poll", &redirect.replace("last=1", "wait=20s"), "")]);
    let server = app.served(
        "[[route]]\npath = '/private/{channels...}'\naction = 'subscribe'\ninternal = true\n\
         [[route]]\npath = '/sub/{channels...}'\naction = 'subscribe'\ninternal = true\n\
         [cors]\norigins = ['https://other.example']\n",
    );
    server.publish("room-42", "0");
    let id = server.publish("room-42", "1");
    for path in ["/private/room-42", "/sub/room-42"] {
        assert_eq!(server.public().get(path).status, 404, "{path} is not for requests from outside");
    }
    let mut stream = server.public().subscribe("/chat");
    assert_eq!(stream.data(1), ["1"]);
    let cookies = |head: &crate::client::Head| {
        head.headers.iter().filter(|(name, _)| name == "set-cookie").map(|(_, value)| value.clone()).collect::<Vec<_>>()
    };
    assert_eq!(cookies(&stream.head), ["a=1", "b=2"]);
    assert_eq!(stream.head.get("access-control-allow-origin"), Some("https://app.example"));
    assert_eq!(stream.head.get("access-control-allow-credentials"), Some("true"));
    assert_eq!(stream.head.get("cache-control"), Some("no-store, no-transform"));
    assert_eq!((stream.head.get("etag"), stream.head.get("content-length")), (None, None));
    // What the browser says when it comes back counts.
    server.publish("room-42", "2");
    let mut again = server.public().subscribe_with("/chat", &[("Last-Event-ID", &id)]);
    assert_eq!(again.data(1), ["2"]);
    // A single answer has them too; a body was the application's.
    let mut client = server.public();
    client.ask("POST", "/poll", &[("Last-Event-ID", &id)], b"body");
    let answer = client.answer();
    assert_eq!(answer.events()[0].data, "2");
    assert_eq!(
        (cookies(&answer.head).len(), answer.head.get("access-control-allow-origin")),
        (2, Some("https://app.example"))
    );
    assert!(client.is_closed());
    let head = server.public().request("HEAD", "/chat", &[], b"");
    assert_eq!((head.status, head.head.get("content-type")), (200, Some("text/event-stream")));
}

#[test]
fn redirect_to_another_upstream_passes_its_answer_on() {
    let inner = Application::start(&[
        ("/inner/events", "200 OK\nContent-Type: text/event-stream\nAccess-Control-Allow-Origin: *", "data: inner\n\n"),
        ("/inner/hold", STREAM, "data: held\n\n"),
    ]);
    let outer = Application::start(&[
        (
            "/events",
            "200 OK\nX-Accel-Redirect: /inner/events\nSet-Cookie: a=1\nAccess-Control-Allow-Origin: https://a.example",
            "",
        ),
        ("/hold", "200 OK\nX-Accel-Redirect: /inner/hold\nSet-Cookie: a=1", ""),
    ]);
    let server = outer.served(&format!(
        "[upstream.inner]\nservers = ['http://{}']\n\
         [[route]]\npath = '/inner/{{path...}}'\naction = 'proxy'\nupstream = 'inner'\ninternal = true\n",
        inner.address
    ));
    let mut stream = server.public().subscribe("/events");
    assert_eq!(stream.data(1), ["inner"]);
    assert_eq!(
        (stream.head.get("set-cookie"), stream.head.get("access-control-allow-origin")),
        (Some("a=1"), Some("https://a.example"))
    );
    let mut stream = server.public().subscribe("/hold");
    server.until_stat("subscribers", 1);
    say(&server, "a", "data: said\n\n");
    assert_eq!(
        (stream.data(2), stream.head.get("set-cookie")),
        (vec!["held".to_owned(), "said".to_owned()], Some("a=1"))
    );
}

#[test]
fn held_channels_are_not_native_ones() {
    let app = Application::start(&[("/events", STREAM, "")]);
    let server = app.served("");
    let mut stream = server.public().subscribe("/events");
    server.until_stat("subscribers", 1);
    for (method, client) in [("GET", &mut server.public()), ("POST", &mut server.control())] {
        let target = if method == "GET" { "/sub/grip:a" } else { "/pub/grip:a" };
        let answer = client.request(method, target, &[], b"");
        assert_eq!(answer.status, 400);
        assert!(answer.error().contains("belongs to GRIP"), "{}", answer.error());
    }
    server.publish("a", "native");
    say(&server, "a", "data: held\n\n");
    assert_eq!(stream.data(1), ["held"]);
    assert_eq!(server.control().get("/stats/grip:a").json()["channel"], "grip:a");
}

#[test]
fn publish_wants_a_post_of_items_and_the_key() {
    let server = TestServer::start("[control]\nkey = 's3cret'\n[proxy]\ngrip_key = 'changeme'\n");
    let item = json!({ "items": [{ "channel": "a", "formats": { "http-stream": { "content": "x" } } }] }).to_string();
    let post = |target: &str, authorization: &str, body: &str| {
        let headers = [("Authorization", authorization)];
        server.control().request("POST", target, &headers, body.as_bytes())
    };
    // HS256 of {"iss":"app","exp":4102444800} with "changeme", as any library makes it.
    let token = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJhcHAiLCJleHAiOjQxMDI0NDQ4MDB9.\
                 SG2MRl2oFNRalW5b5Ryfj8qmoVLL8pkzRUZ0rBGFzbk";
    for authorization in [&*format!("Bearer {token}"), "Bearer s3cret", "Basic YW55OnMzY3JldA=="] {
        for target in ["/publish/", "/publish"] {
            assert_eq!(post(target, authorization, &item).status, 200, "{target} {authorization}");
        }
    }
    assert_eq!(post("/publish/", "Bearer wrong", &item).status, 401);
    assert_eq!(post("/pub/a", &format!("Bearer {token}"), "x").status, 401, "the token opens nothing else");
    let wrong = post("/publish/", "Bearer s3cret", r#"{"items": [{"channel": "a", "formats": {"http-stream": {}}}]}"#);
    assert_eq!((wrong.status, &*wrong.error()), (400, "items[0].formats.http-stream.content is missing"));
    let key = [("Authorization", "Bearer s3cret")];
    assert_eq!(server.control().request("GET", "/publish/", &key, b"").status, 405);
    assert_eq!(server.public().request("POST", "/publish/", &key, item.as_bytes()).status, 404, "it is not public");
}

#[test]
fn publish_of_what_the_hub_refuses_names_the_item() {
    let server = TestServer::start("[hub]\nmessage = '1KiB'\n");
    let item = |content: &str| json!({ "channel": "a", "formats": { "http-stream": { "content": content } } });
    let answer = publish(&server, &json!([item("x"), item(&"x".repeat(2000)), item("y")]));
    assert_eq!(answer.status, 413);
    assert!(answer.error().starts_with("items[1] cannot be published: message has "), "{}", answer.error());
    assert_eq!(publish(&server, &json!([item(&"x".repeat(20_000))])).status, 413);
}

#[test]
fn client_that_leaves_a_response_hold_is_forgotten() {
    let app = Application::start(&[("/poll", RESPONSE, "")]);
    let server = app.served("");
    let mut client: Client = server.public();
    client.ask("GET", "/poll", &[], b"");
    server.until_stat("subscribers", 1);
    assert!(client.is_silent_for(Duration::from_millis(50)));
    drop(client);
    server.until_stat("subscribers", 0);
}
