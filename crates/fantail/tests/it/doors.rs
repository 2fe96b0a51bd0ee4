//! Two doors: who may use the control listener, what the public one does not offer, and routes of one's own.

use crate::server::TestServer;

#[test]
fn control_refuses_foreign_hosts_and_names_value_and_setting() {
    let server = TestServer::start("control.hosts = ['hub.internal', 'Port.Example:99']");
    for (host, admitted) in [
        ("localhost", true),
        ("LocalHost:8081", true),
        ("127.0.0.1:1", true),
        ("[::1]:8081", true),
        ("HUB.internal:8081", true),
        ("port.example:99", true),
        ("port.example:98", false),
        ("evil.example", false),
        ("localhost.evil.example", false),
        ("127.0.0.1.nip.io", false),
        ("hub.internal.evil", false),
        ("", false),
    ] {
        for path in ["/", "/healthz", "/readyz", "/stats", "/metrics", "/pub/a", "/sub/ALL", "/nowhere"] {
            let answer = server.control().request("GET", path, &[("Host", host)], b"");
            assert_eq!(answer.status != 403, admitted, "{host:?} {path}: {}", answer.status);
            if !admitted {
                assert!(answer.error().contains(&format!("{host:?}")) && answer.error().contains("control.hosts"));
            }
        }
    }
    assert!(server.metric("fantail_refused_control_total") >= 8);
    let mut client = server.control();
    client.send("GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n");
    assert!(matches!(client.answer().status, 400 | 403));
    // A page's own name may resolve to loopback; on the public listener that does no harm.
    server.public().subscribe_with("/sub/a", &[("Host", "evil.example")]);
}

#[test]
fn control_takes_targets_in_absolute_form_and_trusts_neither_host() {
    let server = TestServer::start("");
    let mut client = server.control();
    client.send("GET http://localhost:8081/healthz HTTP/1.1\r\nHost: localhost:8081\r\n\r\n");
    assert_eq!(client.answer().status, 200, "RFC 9112 §3.2.2");
    client.send("GET http://evil.example/healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(client.answer().status, 403);
    client.send("GET http://localhost/healthz HTTP/1.1\r\nHost: evil.example\r\n\r\n");
    assert_eq!(client.answer().status, 403);
    let mut client = server.public();
    client.send("GET http://any.example/sub/a?last=1 HTTP/1.1\r\nHost: any.example\r\n\r\n");
    client.stream();
}

#[test]
fn control_refuses_foreign_origins_and_names_value_and_setting() {
    let server = TestServer::start("control.hosts = ['app.example']");
    let own = format!("http://{}", server.control);
    for (origin, admitted) in [
        (own.as_str(), true),
        ("https://app.example", true),
        ("http://localhost:3000", false),
        ("https://evil.example", false),
        ("null", false),
        ("", false),
    ] {
        let headers = [("Host", own.strip_prefix("http://").unwrap()), ("Origin", origin)];
        for (method, path) in [("POST", "/pub/a"), ("GET", "/stats"), ("GET", "/sub/ALL"), ("OPTIONS", "/pub/a")] {
            let answer = server.control().request(method, path, &headers, b"x");
            assert_eq!(answer.status != 403, admitted, "{origin:?} {method} {path}: {}", answer.status);
            if !admitted {
                assert!(answer.error().contains(&format!("{origin:?}")) && answer.error().contains("control.hosts"));
            }
            assert_eq!(answer.head.get("access-control-allow-origin"), None);
        }
    }
    assert_eq!(server.stat("published"), 2);
}

#[test]
fn control_key_is_asked_of_everything_but_health_and_page() {
    let server = TestServer::start("control.key = 's3cret'");
    for (method, path) in [
        ("POST", "/pub/a"),
        ("DELETE", "/pub/a"),
        ("GET", "/pub/a"),
        ("POST", "/pub"),
        ("GET", "/stats"),
        ("GET", "/stats/a"),
        ("GET", "/metrics"),
        ("GET", "/sub/a"),
        ("POST", "/subscribers/0-1/end"),
        ("GET", "/nowhere"),
    ] {
        for key in
            [None, Some("Bearer wrong"), Some("Basic s3cret"), Some("s3cret"), Some("Bearer s3cret2"), Some("Bearer ")]
        {
            let headers: Vec<_> = key.map(|key| ("Authorization", key)).into_iter().collect();
            let answer = server.control().request(method, path, &headers, b"x");
            assert_eq!(
                (answer.status, answer.head.get("www-authenticate")),
                (401, Some("Bearer")),
                "{method} {path} {key:?}"
            );
            assert!(answer.error().contains("control.key") && !answer.error().contains("s3cret"));
        }
    }
    for path in ["/healthz", "/readyz", "/"] {
        assert_eq!(server.control().get(path).status, 200, "{path}");
    }
    assert_eq!(server.control().request("GET", "/healthz", &[("Host", "evil.example")], b"").status, 403);
    let key = [("Authorization", "bearer s3cret")];
    assert_eq!(server.control().request("POST", "/pub/a", &key, b"x").status, 200);
    let mut stream = server.control().subscribe_with("/sub/a?last=1", &key);
    assert_eq!(stream.event().data, "x");
    assert_eq!(server.public().subscribe("/sub/a?last=1").event().data, "x", "the public listener has no key");
}

#[test]
fn control_serves_streams_without_a_word_of_other_origins() {
    let server = TestServer::start("");
    let mut stream = server.control().subscribe("/sub/a");
    assert_eq!(stream.head.get("access-control-allow-origin"), None);
    server.publish("a", "x");
    assert_eq!(stream.event().data, "x");
}

#[test]
fn public_takes_no_messages_unless_a_route_says_so() {
    let server = TestServer::start(
        "[[route]]\npath = '/say/{channel}'\naction = 'publish'\npublic_publish = true\n\
         [[route]]\npath = '/wish'\naction = 'publish'\nlistener = 'control'\nchannels = ['a', 'b']",
    );
    for (method, path) in
        [("POST", "/pub/a"), ("PUT", "/pub/a"), ("POST", "/pub"), ("DELETE", "/pub/a"), ("POST", "/wish")]
    {
        assert_eq!(server.public().request(method, path, &[], b"x").status, 404, "{method} {path}");
    }
    let mut stream = server.public().subscribe("/sub/a/b");
    assert_eq!(server.public().request("POST", "/say/a", &[], b"hi").status, 200);
    assert_eq!(server.public().request("POST", "/say/a/b", &[], b"hi").status, 404);
    let wish = server.control().request("POST", "/wish", &[], b"wish").json();
    assert_eq!(wish["published"].as_array().unwrap().len(), 2);
    assert_eq!(stream.data(3), ["hi", "wish", "wish"]);
}

#[test]
fn public_publish_route_lets_nobody_end_or_inspect_channels() {
    let server = TestServer::start("[[route]]\npath = '/say/{channel}'\naction = 'publish'\npublic_publish = true");
    server.publish("a", "x");
    for (method, target) in [("DELETE", "/say/a"), ("GET", "/say/a"), ("POST", "/say/a?end=1")] {
        let answer = server.public().request(method, target, &[], b"x");
        assert!(matches!(answer.status, 400 | 405), "{method} {target}: {}", answer.status);
    }
    assert_eq!(server.control().get("/stats/a").json()["ended"], false);
}

#[test]
fn routes_of_ones_own_take_channels_from_their_paths_and_the_most_specific_wins() {
    let server = TestServer::start(
        "[[route]]\npath = '/news'\nchannels = ['world', 'local']\n\
         [[route]]\npath = '/room/{channel}/events'\nretry = '1s'\nretry_jitter = '0s'\n\
         [[route]]\npath = '/room/lobby/events'\nchannels = ['the lobby']\n\
         [[route]]\npath = '/room/{channels...}'\nmax_channels = 2\n\
         [[route]]\npath = '/sub/special/{channel}'\nping = '50ms'\n\
         [[route]]\npath = '/inner'\nlistener = 'control'\nchannels = ['inner']",
    );
    let hears = |target: &str, channel: &str| {
        let mut stream = server.public().subscribe(target);
        server.publish(&channel.replace(' ', "%20"), target);
        assert_eq!(stream.event().data, target);
        drop(stream);
        server.until_stat("subscribers", 0);
    };
    hears("/news", "world");
    hears("/news?last=0", "local");
    hears("/room/7/events", "7");
    hears("/room/a%20b/events", "a b");
    hears("/room/lobby/events", "the lobby");
    hears("/room/a/b", "b");
    hears("/room/x/events/", "events");
    hears("/sub/special/one", "one");
    hears("/sub/special/two/three", "three");
    assert_eq!(server.public().get("/room/a/b/c").status, 400);
    assert_eq!(server.public().get("/room/ALL/events").status, 400);
    for path in ["/news/", "/inner", "/room", "/New"] {
        assert_eq!(server.public().get(path).status, 404, "{path}");
    }
    server.control().subscribe("/inner");
    assert_eq!(server.control().get("/news").status, 404);
    let mut quick = server.public().subscribe("/sub/special/one");
    quick.chunk().unwrap();
    assert_eq!(quick.chunk().unwrap(), b": ping\n");
    let mut first = server.public().subscribe("/room/7/events");
    assert!(first.chunk().unwrap().starts_with(b"retry: 1000\n"));
}

#[test]
fn native_routes_live_under_their_prefix() {
    let server = TestServer::start("native.prefix = '/events/'");
    let mut stream = server.public().subscribe("/events/sub/a");
    assert_eq!(server.control().request("POST", "/events/pub/a", &[], b"x").status, 200);
    let kind = [("Content-Type", "application/x-ndjson")];
    let batch = server.control().request("POST", "/events/pub", &kind, b"{\"channel\":\"a\",\"data\":\"y\"}");
    assert_eq!(batch.status, 200);
    assert_eq!(stream.data(2), ["x", "y"]);
    for path in ["/sub/a", "/events/", "/events/sub", "/eventssub/a"] {
        assert_eq!(server.public().get(path).status, 404, "{path}");
    }
    assert_eq!(server.control().request("POST", "/pub/a", &[], b"x").status, 404);
    assert_eq!(server.control().get("/stats").status, 200, "the rest stays where it is");
}

#[test]
fn routes_with_a_host_answer_for_it_alone() {
    let server = TestServer::start(
        "[[route]]\npath = '/news'\nhost = '*.example'\nchannels = ['wild']\n\
         [[route]]\npath = '/news'\nhost = 'app.example'\nchannels = ['own']\n\
         [[route]]\npath = '/{channels...}'\nhost = 'app.example'\n",
    );
    let subscribers = |channel: &str| server.control().request("GET", &format!("/stats/{channel}"), &[], b"").status;
    for (host, path, channel) in [
        ("App.Example.:8080", "/news", "own"),
        ("x.example", "/news", "wild"),
        ("app.example", "/other", "other"),
        // What is for every host is reached under one that takes every path.
        ("app.example", "/sub/native", "native"),
    ] {
        assert_eq!(subscribers(channel), 404, "nobody has asked for {channel} yet");
        let _stream = server.public().subscribe_with(path, &[("Host", host)]);
        assert_eq!(subscribers(channel), 200, "{host}{path}");
    }
    for host in ["example", "app.example.org"] {
        assert_eq!(server.public().request("GET", "/news", &[("Host", host)], b"").status, 404, "{host}");
    }
    let mut client = server.public();
    client.send("GET http://app.example/absolute HTTP/1.1\r\nHost: other\r\n\r\n");
    client.stream();
    assert_eq!(subscribers("absolute"), 200, "the target's host counts (RFC 9112 §3.2.2)");
}

#[test]
fn routes_that_are_internal_are_not_found_from_outside() {
    let server = TestServer::start(
        "[[route]]\npath = '/private/{channels...}'\ninternal = true\n[[route]]\npath = '/{channels...}'\n",
    );
    for path in ["/private/a", "/%70rivate/a", "/private/"] {
        let answer = server.public().request("GET", path, &[], b"");
        assert_eq!((answer.status, answer.error()), (404, format!("there is nothing at {path}")));
    }
    server.public().subscribe_with("/privat/a", &[]);
}
