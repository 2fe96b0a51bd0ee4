//! Who may subscribe: tokens and signed URLs, what they open, how they are refused, and when what they opened ends.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fantail::auth::{issue, sign};
use fantail::config::Algorithm;
use serde_json::{Value, json};

use crate::client::{Answer, End, Part};
use crate::push_stream_websocket::{FIELDS, Socket};
use crate::server::TestServer;
use crate::upstream::{Upstream, ok};

pub(crate) const SECRET: &str = "0123456789abcdef0123456789abcdef";
const JWT: &str =
    "[access.members]\nby = 'jwt'\nsecret = '0123456789abcdef0123456789abcdef'\nleeway = '0'\ncookie = 'sid'\n";
const SIGNED: &str = "[access.links]\nby = 'signed'\nsecret = '0123456789abcdef0123456789abcdef'\n";
const EVENTS: (&str, &str) = ("Accept", "text/event-stream");

/// Seconds since the epoch, so many from now.
pub(crate) fn seconds(from_now: i64) -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970").as_secs();
    i64::try_from(now).expect("a clock") + from_now
}

/// The same for what may not be negative.
pub(crate) fn moment(from_now: i64) -> u64 {
    seconds(from_now).cast_unsigned()
}

/// A token with these claims, good for a minute.
pub(crate) fn token(claims: Value) -> String {
    let mut all = json!({ "exp": seconds(60) });
    let Value::Object(claims) = claims else { panic!("claims are an object") };
    all.as_object_mut().expect("an object").extend(claims);
    issue(Algorithm::Hs256, SECRET.as_bytes(), &all.to_string()).expect("a token")
}

fn listener(channels: &[&str]) -> String {
    token(json!({ "sub": "42", "subscribe": channels }))
}

fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

/// A server whose subscribers need a token.
fn guarded(more: &str) -> TestServer {
    TestServer::start(&format!("stream.access = 'members'\n{JWT}{more}"))
}

fn ask(server: &TestServer, target: &str, token: &str) -> Answer {
    server.public().request("GET", target, &[("Authorization", &bearer(token))], b"")
}

#[test]
fn token_opens_the_channels_that_it_names_and_no_others() {
    let server = guarded("");
    let (token, authorization) =
        (listener(&["orders.*", "user.42.**"]), bearer(&listener(&["orders.*", "user.42.**"])));
    for mut stream in [
        server.public().subscribe_with("/sub/orders.1/user.42.a.b", &[("Authorization", &authorization)]),
        server.public().subscribe(&format!("/sub/orders.1?token={token}")),
        server.public().subscribe_with("/sub/orders.1", &[("Cookie", &format!("a=b; sid={token}"))]),
    ] {
        server.publish("orders.1", "x");
        assert_eq!(stream.event().data, "x");
    }
    for (target, channel) in [
        ("/sub/orders", "orders"),
        ("/sub/orders.1.2", "orders.1.2"),
        ("/sub/user.42", "user.42"),
        ("/sub/orders.1/news", "news"),
        ("/sub/news?wait=1s", "news"),
    ] {
        let answer = ask(&server, target, &token);
        assert_eq!(
            (answer.status, answer.error()),
            (403, format!("channel {channel:?} is not granted to you")),
            "{target}"
        );
        assert_eq!(answer.head.get("www-authenticate"), None);
        assert_eq!(answer.head.get("access-control-allow-origin"), Some("*"), "a page is to see why");
    }
    assert_eq!(server.public().request("HEAD", "/sub/news", &[("Authorization", &authorization)], b"").status, 403);
    assert_eq!(server.public().request("HEAD", "/sub/orders.1", &[("Authorization", &authorization)], b"").status, 200);
    let preflight = [("Origin", "https://a.example"), ("Access-Control-Request-Method", "GET")];
    assert_eq!(
        server.public().request("OPTIONS", "/sub/orders.1", &preflight, b"").status,
        204,
        "it has no credentials"
    );
    assert_eq!(server.metric("fantail_access_denied_total"), 6);
}

#[test]
fn request_without_a_token_is_refused_to_the_byte() {
    let server = guarded("");
    let mut client = server.public();
    client.send("GET /sub/a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    let said = String::from_utf8(client.rest()).expect("text");
    let (head, body) = said.split_once("\r\n\r\n").expect("a head");
    let mut lines: Vec<_> = head.split("\r\n").filter(|line| !line.starts_with("date: ")).collect();
    lines.sort_unstable();
    let expected = "{\"error\":\"a valid credential is needed: a token, as Authorization: Bearer TOKEN, as a parameter of the URL \
                    or as a cookie\"}\n";
    assert_eq!(body, expected);
    let length = format!("content-length: {}", expected.len());
    assert_eq!(
        lines,
        [
            "HTTP/1.1 401 Unauthorized",
            "access-control-allow-origin: *",
            "connection: close",
            &length,
            "content-type: application/json",
            "www-authenticate: Bearer"
        ]
    );
}

#[test]
fn token_that_is_not_believed_is_refused_with_the_reason() {
    let server = guarded("audience = ['fantail']\nissuer = 'app'\nmax_token = '1KiB'\n");
    let good = json!({ "iss": "app", "aud": "fantail", "exp": seconds(60), "subscribe": ["a"] });
    let with = |name: &str, value: Value| {
        let mut claims = good.clone();
        claims[name] = value;
        claims.to_string()
    };
    let signed = |claims: &str| issue(Algorithm::Hs256, SECRET.as_bytes(), claims).expect("a token");
    let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let stripped = format!("{}.{}.", part(r#"{"alg":"none"}"#), part(&good.to_string()));
    let twice = good.to_string().replacen('{', "{\"exp\":1,", 1);
    assert_eq!(ask(&server, "/sub/a?last=0&wait=1ms", &signed(&good.to_string())).status, 200);
    for (token, reason, error) in [
        (stripped, "algorithm", "the token is signed with \"none\", for which there is no key"),
        (
            issue(Algorithm::Hs512, SECRET.as_bytes(), &good.to_string()).expect("a token"),
            "algorithm",
            "the token is signed with \"HS512\", for which there is no key",
        ),
        (
            issue(Algorithm::Hs256, b"another", &good.to_string()).expect("a token"),
            "signature",
            "the token was not signed with a key that is known",
        ),
        (signed(&with("exp", json!(seconds(-1)))), "time", "the token has expired"),
        (signed(&with("nbf", json!(seconds(60)))), "time", "the token is not valid yet"),
        (signed(&with("exp", Value::Null)), "malformed", "the token's claim \"exp\" is not a number of seconds"),
        (signed(&with("aud", json!("other"))), "issuer_or_audience", "the token is for another audience (\"aud\")"),
        (signed(&with("iss", json!("other"))), "issuer_or_audience", "the token's issuer is another (\"iss\")"),
        (signed(&twice), "malformed", "the token says \"exp\" twice"),
        (
            signed(&with("x", json!("y".repeat(1024)))),
            "malformed",
            "the token has 1551 bytes, at most 1024 are allowed (max_token)",
        ),
        (
            "x".to_owned(),
            "malformed",
            "the token is not a JSON web token: three parts of base64url with dots between them are expected",
        ),
    ] {
        let figure = format!("fantail_access_denied_total{{reason=\"{reason}\"}}");
        let before = server.metric(&figure);
        let answer = ask(&server, "/sub/a", &token);
        let shortened = |text: String| {
            if text.contains("bytes, at most") {
                "the token has 1551 bytes, at most 1024 are allowed (max_token)".to_owned()
            } else {
                text
            }
        };
        assert_eq!((answer.status, shortened(answer.error())), (401, error.to_owned()));
        assert_eq!(answer.head.get("www-authenticate"), Some("Bearer error=\"invalid_token\""));
        assert_eq!(server.metric(&figure), before + 1, "{reason}");
    }
}

#[test]
fn connection_ends_with_its_token_and_may_come_back_with_another() {
    let server = guarded("");
    let short = token(json!({ "exp": seconds(2), "subscribe": ["a"], "sub": "42" }));
    let mut stream = server.public().subscribe_with("/sub/a", &[("Authorization", &bearer(&short))]);
    let waiting = format!("/sub/a?wait=1m&token={short}");
    let mut client = server.public();
    client.ask("GET", &waiting, &[], b"");
    let (_, end) = stream.to_end();
    assert_eq!(end, End::Said, "in good order, so that a browser comes back");
    let answer = client.answer();
    assert_eq!((answer.status, answer.events().len()), (200, 0), "a wait is over with it");
    let answer = ask(&server, "/sub/a", &short);
    assert_eq!((answer.status, answer.error()), (401, "the token has expired".to_owned()));
    let mut stream = server.public().subscribe(&format!("/sub/a?token={}", listener(&["a"])));
    server.publish("a", "x");
    assert_eq!(stream.event().data, "x");
}

#[test]
fn connections_of_one_identity_are_listed_and_ended_together() {
    let silent = Upstream::serve(|_, _| {
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n8\r\ndata: 1\n\r\n"
            .to_vec()
    });
    let server = guarded(&format!(
        "[upstream.app]\nservers = ['{}']\n[[route]]\npath = '/app/{{path...}}'\naction = 'proxy'\nupstream = 'app'\naccess = 'members'\n\
         [[route]]\npath = '/ws'\naction = 'push_stream'\nsubscriber = 'websocket'\nchannels_path = '$arg_id'\n",
        silent.name
    ));
    let (mine, theirs) = (listener(&["**"]), token(json!({ "sub": "7 & co", "subscribe": ["**"] })));
    let mut streams = [
        server.public().subscribe(&format!("/sub/a/b?token={mine}")),
        server.public().subscribe_with(&format!("/app/x?token={mine}"), &[EVENTS]),
    ];
    let mut client = server.public();
    client.ask("GET", &format!("/sub/a?wait=1m&token={mine}"), &[], b"");
    let mut socket = Socket::open(&server, &format!("/ws?id=a&token={mine}"));
    let mut other = server.public().subscribe(&format!("/sub/a?token={theirs}"));
    server.until_stat("subscribers", 4);

    let list = server.control().get("/subscribers?sub=42").json();
    assert_eq!((list["others"].as_u64(), list["subscribers"].as_array().map(Vec::len)), (Some(2), Some(2)), "{list}");
    assert!(list.to_string().contains("\"identity\":\"42\"") && list.to_string().contains("[\"a\",\"b\"]"), "{list}");
    let ended = server.control().request("DELETE", "/subscribers?sub=42", &[], b"");
    assert_eq!((ended.status, ended.json()), (200, json!({ "ended": 4 })));
    assert_eq!(streams[0].to_end().1, End::Said);
    let (parts, end) = streams[1].to_end();
    assert!(
        matches!(parts.last(), Some(Part::Retry(_))) && end == End::Said || end == End::Broken,
        "{parts:?} {end:?}"
    );
    assert_eq!(client.answer().status, 200);
    socket.expect_close(Some(1000), "");
    server.publish("a", "still here");
    assert_eq!(other.event().data, "still here");
    assert_eq!(server.control().request("DELETE", "/subscribers?sub=42", &[], b"").json(), json!({ "ended": 0 }));
    assert_eq!(server.control().request("DELETE", "/subscribers?sub=7+%26+co", &[], b"").json(), json!({ "ended": 1 }));
    assert_eq!(server.control().get("/subscribers").status, 400);
    assert_eq!(server.control().request("POST", "/subscribers?sub=42", &[], b"").status, 405);
}

#[test]
fn proxied_route_is_guarded_and_its_application_decides_the_rest() {
    let app = Upstream::serve(|head, _| {
        if head.starts_with("GET /app/to-sub") {
            b"HTTP/1.1 200 OK\r\nX-Accel-Redirect: /sub/secret?last=1&wait=1s\r\nContent-Length: 0\r\n\r\n".to_vec()
        } else {
            ok("from the application")
        }
    });
    let server = guarded(&format!(
        "[upstream.app]\nservers = ['{}']\n[[route]]\npath = '/app/{{path...}}'\naction = 'proxy'\nupstream = 'app'\naccess = 'members'\n\
         [[route]]\npath = '/open/{{path...}}'\naction = 'proxy'\nupstream = 'app'\nrewrite = '/app/{{path...}}'\n",
        app.name
    ));
    server.publish("secret", "handed over");
    assert_eq!(server.public().get("/app/x").status, 401);
    assert_eq!(server.public().request("POST", "/app/x", &[], b"body").status, 401);
    assert_eq!(ask(&server, "/app/x", &listener(&[])).text(), "from the application");
    assert_eq!(ask(&server, "/sub/secret", &listener(&[])).status, 403);
    for target in ["/app/to-sub", "/open/to-sub"] {
        let answer = ask(&server, target, &listener(&[]));
        assert_eq!(answer.events()[0].data, "handed over", "{target}");
    }
}

#[test]
fn recorded_stream_is_seen_again_by_whoever_may_use_its_route() {
    let app = Upstream::serve(|_, _| {
        let body = "data: 1\n\ndata: 2\n\n";
        format!("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: {}\r\n\r\n{body}", body.len())
            .into()
    });
    for (access, target) in [
        ("members", format!("/chat?token={}", listener(&[]))),
        ("links", sign(SECRET.as_bytes(), "/chat", moment(2), None)),
    ] {
        let server = TestServer::start(&format!(
            "{JWT}{SIGNED}[upstream.app]\nservers = ['{}']\n[[route]]\npath = '/chat'\naction = 'proxy'\nupstream = 'app'\nrecord = true\n\
             access = '{access}'\n",
            app.name
        ));
        let mut stream = server.public().subscribe_with(&target, &[]);
        let url = stream.head.get("fantail-stream").expect("a URL to resume at").to_owned();
        assert_eq!(stream.data(2), ["1", "2"]);
        if access == "members" {
            assert_eq!(server.public().get(&url).status, 401, "its URL alone does not do");
            assert_eq!(server.public().request("DELETE", &url, &[], b"").status, 401);
            assert_eq!(server.public().subscribe(&format!("{url}?token={}", listener(&[]))).data(2), ["1", "2"]);
        } else {
            assert_eq!(server.public().subscribe(&url).data(2), ["1", "2"]);
            crate::server::eventually("its time is over", || {
                server.public().request("HEAD", &url, &[], b"").status == 401
            });
        }
    }
}

#[test]
fn signed_url_opens_its_path_until_its_time() {
    let server = TestServer::start(&format!(
        "stream.access = 'links'\n{SIGNED}previous_secret = 'fedcba9876543210fedcba9876543210'\n"
    ));
    let later = moment(60);
    for secret in [SECRET, "fedcba9876543210fedcba9876543210"] {
        let url = sign(secret.as_bytes(), "/sub/a/b%20c", later, Some("42"));
        let mut stream = server.public().subscribe(&format!("{url}&last=1"));
        server.publish("b%20c", "x");
        assert_eq!(stream.event().data, "x");
        server.until_stat("subscribers", 1);
        assert_eq!(server.control().request("DELETE", "/subscribers?sub=42", &[], b"").json(), json!({ "ended": 1 }));
        assert_eq!(stream.to_end().1, End::Said);
    }
    let url = sign(SECRET.as_bytes(), "/sub/a", later, None);
    for (wrong, error) in [
        ("/sub/a".to_owned(), "a valid credential is needed: a signed URL, with exp and sig"),
        (
            url.replace("/sub/a", "/sub/b"),
            "the URL is not signed, or not for this path and these values: sig is another",
        ),
        (format!("{url}&sub=43"), "the URL is not signed, or not for this path and these values: sig is another"),
        (
            format!("{url}&exp=1"),
            "the URL is not signed, or not for this path and these values: exp, sub and sig may each be there once",
        ),
        (sign(SECRET.as_bytes(), "/sub/a", moment(-1), None), "the URL has expired"),
    ] {
        let answer = server.public().get(&wrong);
        assert_eq!((answer.status, answer.error()), (401, error.to_owned()), "{wrong}");
    }
}

#[test]
fn push_stream_subscribers_are_let_in_to_what_they_may() {
    let server = guarded(
        "[[route]]\npath = '/ev'\naction = 'push_stream'\nsubscriber = 'eventsource'\nchannels_path = '$arg_id'\nallowed_origins = '*'\n\
         [[route]]\npath = '/stats'\naction = 'push_stream'\nchannels_statistics = true\nchannels_path = '$arg_id'\naccess = 'members'\n\
         [[route]]\npath = '/free'\naction = 'push_stream'\nsubscriber = 'eventsource'\nchannels_path = '$arg_id'\naccess = 'open'\n\
         [[route]]\npath = '/in'\naction = 'push_stream'\npublisher = 'admin'\nchannels_path = '$arg_id'\nlistener = 'control'\n",
    );
    let token = listener(&["a.*"]);
    let open = |target: &str| {
        let mut client = server.public();
        client.ask("GET", target, &[], b"");
        client.stream_of("text/event-stream; charset=utf-8")
    };
    let publish = |id: &str| server.control().request("POST", &format!("/in?id={id}"), &[], b"x").status;
    let mut streams = [open(&format!("/ev?id=a.1&token={token}")), open("/free?id=a.1")];
    server.until_stat("subscribers", 2);
    assert_eq!(publish("a.1"), 200);
    for stream in &mut streams {
        assert_eq!(stream.event().data, "x");
    }
    let answer = server.public().get("/ev?id=a.1");
    assert_eq!((answer.status, answer.head.get("access-control-allow-origin")), (401, Some("*")));
    let answer = server.public().get(&format!("/ev?id=a.1/b&token={token}"));
    assert_eq!((answer.status, answer.error()), (403, "channel \"b\" is not granted to you".to_owned()));
    assert_eq!(server.public().get(&format!("/stats?id=a.1&token={token}")).status, 200);
    assert_eq!(server.public().get(&format!("/stats?id=b&token={token}")).status, 403);
    for all in ["/stats?", "/stats?id=ALL&", "/stats?id=a*&"] {
        assert_eq!(server.public().get(&format!("{all}token={token}")).status, 403, "{all}");
        assert_eq!(server.public().get(&format!("{all}token={}", listener(&["**"]))).status, 200, "{all}");
    }
}

#[test]
fn websocket_needs_its_right_to_listen_its_right_to_speak_and_a_page_of_ours() {
    let server = guarded(
        "[[route]]\npath = '/ws'\naction = 'push_stream'\nsubscriber = 'websocket'\nchannels_path = '$arg_id'\nwebsocket_allow_publish = true\n\
         [cors]\norigins = ['https://web.example']\ncredentials = true\n",
    );
    let ws =
        |target: &str, more: &[(&str, &str)]| server.public().request("GET", target, &[&FIELDS, more].concat(), b"");
    assert_eq!(ws("/ws?id=a", &[]).status, 401);
    let mute = listener(&["a"]);
    assert_eq!(ws(&format!("/ws?id=b&token={mute}"), &[]).status, 403);
    let mut socket = Socket::open(&server, &format!("/ws?id=a&token={mute}"));
    socket.say(0x81, b"hello");
    socket.expect_close(Some(1008), "channel \"a\" is not granted to you");

    let speaker = token(json!({ "subscribe": ["a"], "publish": ["a"] }));
    let cookie = format!("sid={speaker}");
    let answer = ws("/ws?id=a", &[("Cookie", &cookie), ("Origin", "https://evil.example")]);
    assert_eq!(answer.status, 403);
    assert_eq!(
        answer.error(),
        "pages of \"https://evil.example\" may not use cookies here; add it to cors.origins and set cors.credentials if they should"
    );
    for origin in ["http://localhost", "https://web.example"] {
        let mut socket = Socket::open_with(&server, "/ws?id=a", &[("Cookie", &cookie), ("Origin", origin)]);
        server.until_stat("subscribers", 1);
        socket.say(0x81, b"hello");
        socket.expect_text("hello");
        drop(socket);
        server.until_stat("subscribers", 0);
    }
    let mut socket =
        Socket::open_with(&server, &format!("/ws?id=a&token={speaker}"), &[("Origin", "https://evil.example")]);
    socket.say(0x81, b"what was shown on purpose counts from everywhere");
    socket.expect_text("what was shown on purpose counts from everywhere");
}

#[test]
fn websocket_and_stream_end_with_their_token() {
    let server = guarded(
        "[[route]]\npath = '/ws'\naction = 'push_stream'\nsubscriber = 'websocket'\nchannels_path = '$arg_id'\n",
    );
    let short = token(json!({ "exp": seconds(2), "subscribe": ["a"] }));
    let mut socket = Socket::open(&server, &format!("/ws?id=a&token={short}"));
    socket.expect_close(Some(1000), "");
}

#[test]
fn refusal_is_soft_for_an_event_source_as_far_as_is_set() {
    let keys = Upstream::refusing();
    let url = format!("[access.keys]\nby = 'jwt'\njwks_url = '{}/jwks.json'\n", keys.name);
    let token = bearer(&listener(&["a"]));
    let headers = [EVENTS, ("Authorization", token.as_str()), ("Connection", "close")];
    for (setting, temporary, lasting) in
        [("", true, false), ("soft_refusal = 'all'", true, true), ("soft_refusal = 'off'", false, false)]
    {
        let server = TestServer::start(&format!(
            "[stream]\nretry = '2s'\nretry_jitter = '0'\n{setting}\naccess = 'keys'\n{url}"
        ));
        let mut soft = 0;
        for (expected, headers, status) in
            [(temporary, &headers[..], 503), (lasting, &[EVENTS, ("Connection", "close")], 401)]
        {
            if !expected {
                assert_eq!(server.public().request("GET", "/sub/a", headers, b"").status, status, "{setting}");
                continue;
            }
            let (parts, _) = server.public().subscribe_with("/sub/a", headers).to_end();
            assert!(matches!(&parts[..], [Part::Comment(_), Part::Retry(2_000)]), "{parts:?}");
            soft += 1;
        }
        assert_eq!(server.metric("fantail_softened_refusals_total"), soft);
        let answer = server.public().request("GET", "/sub/a", &[("Authorization", &token)], b"");
        assert_eq!((answer.status, answer.head.get("retry-after")), (503, Some("5")), "others are told as ever");
        assert_eq!(answer.error(), "tokens cannot be checked at present: their keys could not be fetched");
    }
}

#[test]
fn waiting_for_nothing_is_not_a_way_around() {
    let server = guarded("");
    assert!(server.public().get("/sub/a?wait=1ms").status == 401);
    let mut client = server.public();
    client.ask("GET", "/sub/a", &[("Authorization", "Basic YTpi")], b"");
    assert_eq!(client.answer().status, 401);
    assert!(client.is_silent_for(Duration::from_millis(50)), "the connection stays for another try");
    assert_eq!(client.get(&format!("/sub/a?wait=1ms&token={}", listener(&["a"]))).status, 200);
}
