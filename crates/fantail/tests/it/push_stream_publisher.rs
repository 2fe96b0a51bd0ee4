//! Publisher routes of the push-stream dialect: methods, refusals in their order, formats, deletion, caps.

use crate::client::{Answer, Client};
use crate::server::TestServer;

/// A publisher route of each kind, with these settings for all and these options for each.
fn config(settings: &str, options: &str) -> String {
    let route = |path: &str, kind: &str| {
        format!(
            "[[route]]\npath = '{path}'\naction = 'push_stream'\npublisher = '{kind}'\nchannels_path = '$arg_id'\n\
             public_publish = true\n{options}\n"
        )
    };
    format!("[push_stream]\n{settings}\n{}{}", route("= /pub", "normal"), route("= /admin", "admin"))
}

fn strict(settings: &str, options: &str) -> TestServer {
    TestServer::start(&config(&format!("strict = true\n{settings}"), options))
}

fn default(settings: &str, options: &str) -> TestServer {
    TestServer::start(&config(settings, options))
}

const EXPLAIN: &str = "x-nginx-pushstream-explain";

/// What is alike in all answers: nothing is for a cache. Those without a body say so and have no type.
fn check(answer: &Answer) {
    let head = &answer.head;
    assert_eq!(head.get("expires"), Some("Thu, 01 Jan 1970 00:00:01 GMT"), "{head:?}");
    assert_eq!(head.get("cache-control"), Some("no-cache, no-store, must-revalidate"), "{head:?}");
    if answer.body.is_empty() {
        assert_eq!((head.get("content-length"), head.get("content-type")), (Some("0"), None), "{head:?}");
    }
}

fn ask(server: &TestServer, method: &str, target: &str, body: &str) -> (u16, Option<String>, String) {
    let answer = server.public().request(method, target, &[], body.as_bytes());
    check(&answer);
    (answer.status, answer.head.get(EXPLAIN).map(str::to_owned), answer.text())
}

fn refused(status: u16, explain: &str) -> (u16, Option<String>, String) {
    (status, Some(explain.to_owned()), String::new())
}

/// The figures of channels that `GET` tells, as (published, stored, subscribers); nothing for one that is not there.
fn figures(server: &TestServer, id: &str) -> Option<(u64, u64, u64)> {
    let answer = server.public().get(&format!("/pub?id={id}"));
    if answer.status == 404 {
        return None;
    }
    let json = answer.json();
    let number = |name: &str| json[name].as_u64().unwrap_or_else(|| panic!("no number {name} in {json}"));
    Some((number("published_messages"), number("stored_messages"), number("subscribers")))
}

#[test]
fn push_stream_publisher_takes_the_methods_of_its_kind() {
    let server = strict("", "");
    for (path, allow, deletes) in [("/pub", "GET, POST, PUT", 405), ("/admin", "GET, POST, PUT, DELETE", 404)] {
        for (method, status) in [("POST", 200), ("PUT", 200), ("GET", 200), ("OPTIONS", 200), ("DELETE", deletes)] {
            let id = if method == "DELETE" { "none" } else { "a" };
            let body = if matches!(method, "POST" | "PUT") { "x" } else { "" };
            let answer = server.public().request(method, &format!("{path}?id={id}"), &[], body.as_bytes());
            check(&answer);
            assert_eq!(answer.status, status, "{method} {path}");
            assert_eq!(answer.head.get("allow"), (status == 405).then_some(allow), "{method} {path}");
            assert_eq!(answer.head.get(EXPLAIN), None);
        }
        for method in ["HEAD", "PATCH", "TRACE", "FOO"] {
            let answer = server.public().request(method, &format!("{path}?id=a"), &[], b"");
            check(&answer);
            assert_eq!((answer.status, answer.head.get("allow")), (405, Some(allow)), "{method} {path}");
        }
    }
    // No channel is needed to ask what may be done.
    assert_eq!(ask(&server, "OPTIONS", "/admin", ""), (200, None, String::new()));
}

#[test]
fn push_stream_publisher_refuses_in_order_and_says_why() {
    let server = strict("events_channel_id = 'events'\nmax_channel_id_length = 8", "");
    let no_channel = refused(400, "No channel id provided.");
    let reserved = refused(403, "Channel id not authorized for this method.");
    let too_long = refused(400, "Channel id is too large.");
    let events = refused(403, "Only internal routines can change events channel.");
    let empty = refused(400, "Empty post requests are not allowed.");
    let unknown = (404, None, String::new());
    for (method, target, body, expected) in [
        ("POST", "/pub", "x", &no_channel),
        ("POST", "/pub?id=", "x", &no_channel),
        ("GET", "/pub?other=a", "", &no_channel),
        ("DELETE", "/admin?id=", "", &no_channel),
        ("POST", "/pub?id=ALL", "x", &reserved),
        ("GET", "/pub?id=a*b", "", &reserved),
        ("DELETE", "/admin?id=*", "", &reserved),
        ("POST", "/pub?id=123456789", "x", &too_long),
        ("POST", "/pub?id=12345678*", "x", &reserved),
        ("GET", "/pub?id=123456789", "", &too_long),
        ("POST", "/pub?id=events", "x", &events),
        ("PUT", "/pub?id=events", "x", &events),
        ("DELETE", "/admin?id=events", "", &events),
        ("POST", "/pub?id=a/ALL", "", &reserved),
        ("POST", "/pub?id=events/ALL", "", &events),
        ("POST", "/pub?id=ALL/123456789", "x", &reserved),
        ("POST", "/pub?id=new", "", &empty),
        ("GET", "/pub?id=nobody", "", &unknown),
        ("GET", "/pub?id=nobody/neither", "", &unknown),
        ("DELETE", "/admin?id=nobody", "", &unknown),
    ] {
        assert_eq!(&ask(&server, method, target, body), expected, "{method} {target}");
    }
    assert_eq!(ask(&server, "GET", "/pub?id=events", "").0, 200);
    assert_eq!(ask(&server, "POST", "/pub?id=12345678", "x").0, 200);
}

#[test]
fn push_stream_publish_that_is_refused_leaves_the_channels_before() {
    let server = strict("", "store_messages = true");
    ask(&server, "POST", "/pub?id=empty", "");
    assert_eq!(figures(&server, "empty"), Some((0, 0, 0)));
    assert_eq!(ask(&server, "POST", "/pub?id=left/ALL/right", "x").0, 403);
    assert_eq!((figures(&server, "left"), figures(&server, "right")), (Some((0, 0, 0)), None));
    assert_eq!(figures(&server, "asked"), None);
    assert_eq!(figures(&server, "asked"), None, "asking makes no channel");
}

#[test]
fn push_stream_publisher_tells_figures_in_the_format_that_is_accepted() {
    let server = strict("", "store_messages = true");
    server.public().request("POST", "/pub?id=tk", &[], b"x");
    for (accept, content_type, body) in [
        (
            "application/json",
            "application/json",
            "{\"channel\": \"tk\", \"published_messages\": 1, \"stored_messages\": 1, \"subscribers\": 0}\r\n",
        ),
        (
            "text/plain",
            "text/plain",
            "channel: tk\r\npublished_messages: 1\r\nstored_messages: 1\r\nactive_subscribers: 0\r\n",
        ),
        (
            "application/yaml",
            "application/yaml",
            "  channel: tk\r\n  published_messages: 1\r\n  stored_messages: 1\r\n  subscribers: 0\r\n",
        ),
        (
            "text/html,application/xhtml+xml,application/xml;q=0.9",
            "application/xml",
            "<?xml version=\"1.0\" encoding=\"UTF-8\" ?>\r\n<channel>\r\n  <name>tk</name>\r\n  \
             <published_messages>1</published_messages>\r\n  <stored_messages>1</stored_messages>\r\n  \
             <subscribers>0</subscribers>\r\n</channel>\r\n\r\n",
        ),
        (
            "text/x-json",
            "text/x-json",
            "{\"channel\": \"tk\", \"published_messages\": 1, \"stored_messages\": 1, \"subscribers\": 0}\r\n",
        ),
        (
            "text/x-yaml",
            "text/x-yaml",
            "  channel: tk\r\n  published_messages: 1\r\n  stored_messages: 1\r\n  subscribers: 0\r\n",
        ),
    ] {
        // Of several only one is there: it is told as one.
        for target in ["/pub?id=tk", "/pub?id=tk/none"] {
            let answer = server.public().request("GET", target, &[("Accept", accept)], b"");
            check(&answer);
            assert_eq!((answer.head.get("content-type"), answer.text().as_str()), (Some(content_type), body));
        }
    }
    let answer = server.public().request("POST", "/pub?id=tk", &[], b"x");
    let expected = "{\"channel\": \"tk\", \"published_messages\": 2, \"stored_messages\": 2, \"subscribers\": 0}\r\n";
    assert_eq!((answer.head.get("content-type"), answer.text().as_str()), (Some("application/json"), expected));
    assert_eq!(answer.head.get("etag"), None);
}

#[test]
fn push_stream_publish_to_several_channels_gives_each_its_own_message() {
    let server = strict("", "store_messages = true");
    let stream = server.public().subscribe("/sub/b");
    server.public().request("POST", "/pub?id=b", &[], b"before");
    let answer = server.public().request("POST", "/pub?id=a/b.b7/a", &[], b"x");
    let infos = answer.json()["infos"].clone();
    let told: Vec<_> = infos.as_array().unwrap().iter().map(|info| info["published_messages"].as_u64()).collect();
    assert_eq!(told, [Some(2), Some(2), Some(2)], "strictly, one that is named twice is published to twice");
    let text = answer.text();
    assert!(text.starts_with("{\"hostname\": \"") && text.contains("\"infos\": [\r\n{\"channel\": \"a\""), "{text}");
    let mut stream = stream;
    assert_eq!([stream.event().data, stream.event().data], ["before", "x"]);
}

#[test]
fn push_stream_publisher_by_default_passes_over_empty_names_and_repetitions() {
    let server = default("", "store_messages = true");
    server.public().request("POST", "/pub?id=/a//a/", &[], b"x");
    assert_eq!(figures(&server, "a"), Some((1, 1, 0)));
    assert_eq!(ask(&server, "POST", "/pub?id=/", "x"), refused(400, "No channel id provided."));
    let server = strict("", "store_messages = true");
    server.public().request("POST", "/pub?id=/a", &[], b"x");
    let nameless = server.public().get("/pub?id=/").text();
    assert_eq!(
        nameless,
        "{\"channel\": \"\", \"published_messages\": 1, \"stored_messages\": 1, \"subscribers\": 0}\r\n"
    );
}

#[test]
fn push_stream_publisher_without_storing_or_telling() {
    let server = strict("", "channel_info_on_publish = false");
    let mut stream = server.public().subscribe("/sub/a");
    assert_eq!(ask(&server, "POST", "/pub?id=a", "now"), (200, None, String::new()));
    assert_eq!(stream.event().data, "now");
    assert_eq!(figures(&server, "a"), Some((1, 0, 1)));
}

#[test]
fn push_stream_publish_takes_any_body() {
    let server = strict("", "store_messages = true");
    let mut stream = server.public().subscribe("/sub/a");
    let mut client = server.public();
    client.send(
        "POST /pub?id=a HTTP/1.1\r\nHost: a\r\nContent-Type: image/png\r\nTransfer-Encoding: chunked\r\n\r\n\
         3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
    );
    assert_eq!(client.answer().status, 200);
    assert_eq!(stream.event().data, "abcde");
    let all: Vec<u8> = (0..=255).collect();
    assert_eq!(client.request("POST", "/pub?id=a", &[], &all).status, 200);
    assert_eq!(figures(&server, "a"), Some((2, 2, 1)));
    // An empty body in chunks is empty all the same.
    client.send("POST /pub?id=a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n");
    assert_eq!(client.answer().head.get(EXPLAIN), Some("Empty post requests are not allowed."));
}

#[test]
fn push_stream_publish_has_an_event_id_and_type() {
    let server = strict("", "store_messages = true");
    let mut stream = server.public().subscribe("/sub/a");
    let headers = [("event-ID", "e 1"), ("EVENT-type", "ty"), ("Event-Ids", "no"), ("Event-Id", "second")];
    assert_eq!(server.public().request("POST", "/pub?id=a", &headers, b"x").status, 200);
    let event = stream.event();
    assert_eq!((event.id.as_str(), event.name.as_str(), event.data.as_str()), ("e 1", "ty", "x"));
    for headers in [[("Event-Ids", "e2"), ("Event-Types", "t2")], [("Event-I", "e2"), ("Event-Typ", "t2")]] {
        assert_eq!(server.public().request("POST", "/pub?id=a", &headers, b"x").status, 200);
        let event = stream.event();
        assert!(event.id.starts_with('~') && event.name == "message", "{event:?}");
    }
    for (name, value, explain) in [
        (
            "Event-Id",
            "~1.2.3",
            "Event-Id must be at most 255 bytes of text without control characters, and not begin with '~'.",
        ),
        ("Event-Type", &*"x".repeat(256), "Event-Type must be at most 255 bytes of text."),
    ] {
        let answer = server.public().request("POST", "/pub?id=a", &[(name, value)], b"x");
        check(&answer);
        assert_eq!((answer.status, answer.head.get(EXPLAIN)), (400, Some(explain)));
    }
}

#[test]
fn push_stream_delete_ends_a_channel_and_another_begins() {
    let server = strict("", "store_messages = true");
    let mut told = server.public().subscribe("/sub/a");
    let mut by_body = server.public().subscribe("/sub/b");
    for id in ["a", "b"] {
        server.public().request("POST", &format!("/pub?id={id}"), &[], b"x");
    }
    assert_eq!((told.event().data, by_body.event().data), ("x".to_owned(), "x".to_owned()));
    assert_eq!(ask(&server, "DELETE", "/admin?id=none/a", ""), refused(200, "Channel deleted."));
    assert_eq!(ask(&server, "DELETE", "/admin?id=b", "so long"), refused(200, "Channel deleted."));
    assert_eq!((told.event().data, by_body.event().data), ("Channel deleted".to_owned(), "so long".to_owned()));
    drop((told, by_body));
    server.until_stat("subscribers", 0);
    assert_eq!(figures(&server, "a"), None);
    assert_eq!(ask(&server, "DELETE", "/admin?id=a", "").0, 404);
    let answer = server.public().request("POST", "/pub?id=a", &[], b"x").text();
    assert_eq!(
        answer,
        "{\"channel\": \"a\", \"published_messages\": 1, \"stored_messages\": 1, \"subscribers\": 0}\r\n"
    );
    assert_eq!(ask(&server, "POST", "/pub?id=b", "").0, 400);
    assert_eq!(figures(&server, "b"), Some((0, 0, 0)), "an empty message makes it anew as well");
}

#[test]
fn push_stream_deleted_text_is_a_setting() {
    let server = strict("channel_deleted_message_text = 'gone'", "store_messages = true");
    let mut stream = server.public().subscribe("/sub/a");
    ask(&server, "DELETE", "/admin?id=a", "");
    assert_eq!(stream.event().data, "gone");
}

#[test]
fn push_stream_publisher_is_open_to_the_origins_that_it_names() {
    let allowed = "If-Modified-Since,If-None-Match,Etag,Event-Id,Event-Type,Last-Event-Id";
    let server = strict("", "allowed_origins = '$http_origin'");
    for (method, target, status) in [
        ("OPTIONS", "/admin", 200),
        ("POST", "/admin?id=a", 200),
        ("GET", "/admin?id=a", 200),
        ("GET", "/admin?id=none", 404),
        ("POST", "/admin", 400),
        ("PATCH", "/admin", 405),
    ] {
        let answer = server.public().request(method, target, &[("Origin", "https://a.example")], b"x");
        assert_eq!(answer.status, status, "{method} {target}");
        for (name, value) in [
            ("access-control-allow-origin", "https://a.example"),
            ("access-control-allow-methods", "GET, POST, PUT, DELETE"),
            ("access-control-allow-headers", allowed),
        ] {
            assert_eq!(answer.head.get(name), Some(value), "{method} {target}");
        }
        assert_eq!(answer.head.get("vary"), None);
        let without = server.public().request(method, target, &[], b"x");
        assert_eq!(without.head.get("access-control-allow-origin"), None, "an empty value shuts them out");
    }
    let answer = server.public().request("OPTIONS", "/pub", &[("Origin", "https://a.example")], b"");
    assert_eq!(answer.head.get("access-control-allow-methods"), Some("GET, POST, PUT"));
}

#[test]
fn push_stream_caps_on_channels_are_kept_apart_for_wildcards() {
    let exceeded = refused(403, "Number of channels were exceeded.");
    let server = strict(
        "max_number_of_channels = 2\nmax_number_of_wildcard_channels = 1\nwildcard_channel_prefix = 'w_'\n\
         events_channel_id = 'events'",
        "",
    );
    assert_eq!(ask(&server, "POST", "/pub?id=a", "x").0, 200);
    assert_eq!(ask(&server, "POST", "/pub?id=b", "x"), exceeded, "the events channel counts");
    assert_eq!(ask(&server, "POST", "/pub?id=w_1", "x").0, 200);
    assert_eq!(ask(&server, "POST", "/pub?id=w_2", "x"), exceeded);
    assert_eq!(ask(&server, "POST", "/pub?id=a/w_1", "x").0, 200, "those that are there are let in");
    // A deleted channel makes room at once, and takes it again.
    assert_eq!(ask(&server, "DELETE", "/admin?id=a", "").0, 200);
    assert_eq!(ask(&server, "POST", "/pub?id=b", "x").0, 200);
    assert_eq!(ask(&server, "POST", "/pub?id=a", "x"), exceeded);
}

/// What a client sends after a request that is refused for its head is never taken for another request.
#[test]
fn push_stream_refused_body_is_not_the_next_request() {
    let server = strict("", "");
    let inner = "POST /pub?id=smuggled HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx";
    for target in ["/pub", "/pub?id=ALL"] {
        let mut client = server.public();
        client.send(format!("POST {target} HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", inner.len()));
        let answer = client.answer();
        assert!(matches!(answer.status, 400 | 403), "{answer:?}");
        client.send(inner);
        // The connection is closed, or goes on behind the body.
        let quiet = client.is_closed_or_silent();
        assert!(quiet, "something answered what was a body: {:?}", client.rest());
    }
    assert_eq!(figures(&server, "smuggled"), None);
}

#[test]
fn push_stream_message_that_is_too_large_is_refused_and_the_connection_closed() {
    let server = TestServer::start(&format!("[hub]\nmessage = '1 KiB'\n{}", config("strict = true", "")));
    let mut client = server.public();
    let answer = client.request("POST", "/pub?id=a", &[], &[b'x'; 1025]);
    assert_eq!((answer.status, answer.head.get("connection")), (413, Some("close")));
    assert!(client.is_closed());
    assert_eq!(ask(&server, "POST", "/pub?id=a", &"x".repeat(1024)).0, 200);
}

/// As nginx says it itself, before anything is asked of the module: a body that says beforehand how long it is is refused whatever
/// else is wrong with its request.
#[test]
fn push_stream_body_over_the_routes_limit_is_refused_as_nginx_refuses_it() {
    let server = strict("", "max_body = '1 KiB'\nallowed_origins = '*'");
    let page = "<html>\r\n<head><title>413 Request Entity Too Large</title></head>\r\n<body>\r\n<center><h1>413 Request Entity \
                Too Large</h1></center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n";
    let chunked = format!("Transfer-Encoding: chunked\r\n\r\n401\r\n{}\r\n0\r\n\r\n", "x".repeat(1025));
    let announced = format!("Content-Length: 1025\r\n\r\n{}", "x".repeat(1025));
    for (line, rest) in [
        ("POST /pub?id=a", &announced),
        ("PUT /pub?id=a", &announced),
        ("POST /pub", &announced),
        ("PATCH /pub?id=ALL", &announced),
        ("DELETE /admin?id=a", &announced),
        ("POST /pub?id=a", &chunked),
    ] {
        let mut client = server.public();
        client.send(format!("{line} HTTP/1.1\r\nHost: a\r\n{rest}"));
        let answer = client.answer();
        assert_eq!((answer.status, answer.text().as_str()), (413, page), "{line}");
        let field = |name| answer.head.get(name);
        assert_eq!((field("content-type"), field("connection")), (Some("text/html"), Some("close")), "{line}");
        assert_eq!(
            (field("expires"), field("cache-control"), field("access-control-allow-origin")),
            (None, None, None)
        );
        assert!(client.is_closed(), "{line}");
    }
    assert_eq!(figures(&server, "a"), Some((0, 0, 0)), "the last had its channel made before it was read");
    assert_eq!(ask(&server, "POST", "/pub?id=a", &"x".repeat(1024)).0, 200);
    let default = default("", "max_body = '1 KiB'");
    let answer = default.public().request("POST", "/pub?id=a", &[], &[b'x'; 1025]);
    assert_eq!((answer.status, answer.text().as_str(), answer.head.get("connection")), (413, "", Some("close")));
}

#[test]
fn push_stream_path_that_nginx_refuses_is_a_bad_request() {
    let page = "<html>\r\n<head><title>400 Bad Request</title></head>\r\n<body>\r\n<center><h1>400 Bad Request</h1></center>\r\n\
                <hr><center>nginx</center>\r\n</body>\r\n</html>\r\n";
    for server in [strict("", ""), default("", "")] {
        for (target, status) in [
            ("/../pub?id=a", 400),
            ("/a/../../pub?id=a", 400),
            ("/pub%zz?id=a", 400),
            ("/pub%?id=a", 400),
            ("/pub%00?id=a", 400),
            ("/a/../pub?id=a", 404),
            ("/%70ub?id=a", 404),
            ("/none", 404),
        ] {
            let answer = server.public().get(target);
            assert_eq!(answer.status, status, "{target}");
        }
        assert_eq!(server.public().request("POST", "/a/../pub?id=a", &[], b"x").status, 200);
    }
    let answer = strict("", "").public().get("/../pub?id=a");
    assert_eq!((answer.text().as_str(), answer.head.get("connection")), (page, Some("close")));
    let said = default("", "").public().get("/../pub?id=a").text();
    assert!(said.contains("/../pub") && said.contains("leads above the root"), "{said}");
    // Where no route is nginx's, such a path is one that nobody has.
    assert_eq!(TestServer::start("").public().get("/../pub").status, 404);
}

#[test]
fn push_stream_channels_are_named_by_the_route() {
    let route = |path: &str, channels: &str| {
        format!(
            "[[route]]\npath = '{path}'\naction = 'push_stream'\npublisher = 'normal'\nchannels_path = '{channels}'\n\
             public_publish = true\n"
        )
    };
    let routes = [
        route("~ ^/rooms/(.*)$", "room.$1"),
        route("= /host", "$host"),
        route("= /header", "$http_x_room/$cookie_room"),
        route("= /peer", "$remote_addr"),
    ];
    let server = TestServer::start(&format!("[push_stream]\nstrict = true\n{}", routes.concat()));
    let channels = |target: &str, headers: &[(&str, &str)]| {
        let answer = server.public().request("POST", target, headers, b"x").json();
        match answer["channel"].as_str() {
            Some(channel) => channel.to_owned(),
            None => answer["infos"].as_array().unwrap().iter().map(|info| info["channel"].as_str().unwrap()).collect(),
        }
    };
    assert_eq!(channels("/rooms/a%20b%2541", &[]), "room.a bA", "a path is decoded twice");
    assert_eq!(channels("/host", &[("Host", "App.Example:8080")]), "app.example");
    assert_eq!(channels("/header", &[("X-Room", "a"), ("Cookie", "x=1; room=b")]), "ab");
    assert_eq!(channels("/peer", &[]), "127.0.0.1");
}

#[test]
fn push_stream_publish_by_default_is_answered_with_its_place() {
    let sub =
        "[[route]]\npath = '= /poll'\naction = 'push_stream'\nsubscriber = 'polling'\nchannels_path = '$arg_id'\n";
    let server = TestServer::start(&format!("{}{sub}", config("", "store_messages = true")));
    let place = |answer: &Answer| ["etag", "last-modified"].map(|name| answer.head.get(name).map(str::to_owned));
    let first = place(&server.public().request("POST", "/pub?id=a/b", &[], b"1"));
    let second = place(&server.public().request("POST", "/pub?id=a", &[], b"2"));
    let [Some(tag), Some(time)] = first else { panic!("it is not told: {first:?}") };
    let headers = [("If-None-Match", tag.as_str()), ("If-Modified-Since", &time)];
    let answer = server.public().request("GET", "/poll?id=a", &headers, b"");
    assert_eq!((answer.text().as_str(), place(&answer)), ("2", second.clone()));
    assert_eq!(server.public().request("GET", "/poll?id=b", &headers, b"").status, 304);
    assert_eq!(place(&server.public().get("/pub?id=a")), [None, None], "it is no message's");
}

#[test]
fn push_stream_channel_on_disk_is_deleted_and_begins_anew() {
    let temp = tempfile::tempdir().expect("a directory");
    let sub =
        "[[route]]\npath = '= /ev'\naction = 'push_stream'\nsubscriber = 'eventsource'\nchannels_path = '$arg_id'\n";
    let config = config("strict = true\nchannel_inactivity_time = '1s'", "store_messages = true");
    let server = TestServer::start(&format!("[journal]\nurl = 'disk:{}'\n{config}{sub}", temp.path().display()));
    let replayed = |count: usize| {
        let mut client = server.public();
        client.ask("GET", "/ev?id=a.b9", &[], b"");
        let mut stream = client.stream_of("text/event-stream; charset=utf-8");
        (0..count).map(|_| stream.event().data).collect::<Vec<_>>()
    };
    for data in ["1", "2"] {
        assert_eq!(ask(&server, "POST", "/pub?id=a", data).0, 200);
    }
    assert_eq!(replayed(2), ["1", "2"]);
    // It leaves the memory, and is there all the same.
    server.until_stat("channels", 0);
    assert_eq!(figures(&server, "a"), Some((2, 2, 0)));
    assert_eq!(ask(&server, "DELETE", "/admin?id=a", "").0, 200);
    assert_eq!((figures(&server, "a"), ask(&server, "DELETE", "/admin?id=a", "").0), (None, 404));
    server.until_stat("channels", 0);
    assert_eq!((figures(&server, "a"), ask(&server, "DELETE", "/admin?id=a", "").0), (None, 404));
    assert_eq!(ask(&server, "POST", "/pub?id=a", "3").0, 200);
    assert_eq!(replayed(1), ["3"], "newcomers are not told of the deletion");
}

/// A client whose answer was read.
trait Behind {
    /// Whether nothing comes for a moment, or the connection has ended.
    fn is_closed_or_silent(&mut self) -> bool;
}

impl Behind for Client {
    fn is_closed_or_silent(&mut self) -> bool {
        self.is_silent_for(std::time::Duration::from_millis(300)) || self.is_closed()
    }
}
