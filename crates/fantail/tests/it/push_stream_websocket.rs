//! The WebSocket routes of push-stream, byte for byte: the handshake, what is sent, what is taken, and how they end.

use std::io::Read;
use std::net::Shutdown;

use serde_json::json;

use crate::client::{Answer, Client};
use crate::clients::Script;
use crate::push_stream_subscriber::{publish, server};
use crate::server::{TestServer, eventually};

const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
/// What the RFC says of that key.
const HEAD: &str = "HTTP/1.1 101 Switching Protocols\r\nExpires: Thu, 01 Jan 1970 00:00:01 GMT\r\n\
                    Cache-Control: no-cache, no-store, must-revalidate\r\nUpgrade: WebSocket\r\nConnection: Upgrade\r\n\
                    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
pub(crate) const FIELDS: [(&str, &str); 4] =
    [("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Key", KEY), ("Sec-WebSocket-Version", "13")];

/// A client that makes its own frames.
pub(crate) struct Socket {
    pub(crate) client: Client,
}

impl Socket {
    pub(crate) fn open(server: &TestServer, target: &str) -> Self {
        Self::open_with(server, target, &[])
    }

    pub(crate) fn open_with(server: &TestServer, target: &str, more: &[(&str, &str)]) -> Self {
        let mut client = server.public();
        client.ask("GET", target, &[&FIELDS, more].concat(), b"");
        let mut socket = Self { client };
        assert_eq!(String::from_utf8_lossy(&socket.read(HEAD.len())), HEAD);
        socket
    }

    fn read(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.client.socket.read_exact(&mut bytes).expect("as many bytes");
        bytes
    }

    /// The next frame: its first byte, and what it holds.
    pub(crate) fn frame(&mut self) -> (u8, Vec<u8>) {
        let head = self.read(2);
        let length = match head[1] {
            126 => self.read(2).iter().fold(0, |length, byte| length << 8 | usize::from(*byte)),
            127 => self.read(8).iter().fold(0, |length, byte| length << 8 | usize::from(*byte)),
            length => usize::from(length),
        };
        (head[0], self.read(length))
    }

    pub(crate) fn expect_text(&mut self, text: &str) {
        let (first, said) = self.frame();
        assert_eq!((first, String::from_utf8_lossy(&said).into_owned()), (0x81, text.to_owned()));
    }

    /// A close frame with this code and reason, and nothing behind it.
    pub(crate) fn expect_close(&mut self, code: Option<u16>, reason: &str) {
        let (first, said) = self.frame();
        let expected = code.map(|code| [&code.to_be_bytes(), reason.as_bytes()].concat()).unwrap_or_default();
        assert_eq!((first, String::from_utf8_lossy(&said)), (0x88, String::from_utf8_lossy(&expected)));
        self.expect_end();
    }

    pub(crate) fn expect_end(&mut self) {
        let mut rest = Vec::new();
        self.client.socket.read_to_end(&mut rest).expect("an end in good order");
        assert_eq!(rest, b"");
    }

    /// Sends a masked frame.
    pub(crate) fn say(&mut self, first: u8, content: &[u8]) {
        let mask = [0x12, 0x34, 0x56, 0x78];
        let mut frame = frame_head(first, content.len(), 0x80);
        frame.extend_from_slice(&mask);
        frame.extend(content.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        self.client.send(frame);
    }
}

/// The head of a frame, without its mask. `masked`: 0x80 or 0.
pub(crate) fn frame_head(first: u8, length: usize, masked: u8) -> Vec<u8> {
    match length {
        0..126 => vec![first, masked + length as u8],
        126..65_536 => [&[first, masked + 126], &(length as u16).to_be_bytes()[..]].concat(),
        _ => [&[first, masked + 127], &(length as u64).to_be_bytes()[..]].concat(),
    }
}

fn refused(answer: &Answer, status: u16, explain: Option<&str>) {
    assert_eq!((answer.status, answer.head.get("x-nginx-pushstream-explain")), (status, explain), "{answer:?}");
    assert_eq!((answer.head.get("content-length"), answer.head.get("content-type")), (Some("0"), None));
    assert_eq!(answer.head.get("expires"), Some("Thu, 01 Jan 1970 00:00:01 GMT"));
}

#[test]
fn handshake_is_refused_as_the_module_refuses() {
    let server = server("strict = true", &[("/ws", "subscriber = 'websocket'\nchannels_path = '$arg_id'")]);
    for method in ["POST", "OPTIONS", "DELETE"] {
        let answer = server.public().request(method, "/ws?id=a", &FIELDS, b"");
        refused(&answer, 405, None);
        assert_eq!(answer.head.get("allow"), Some("GET"));
    }
    for missing in 0..FIELDS.len() {
        let mut fields = FIELDS.to_vec();
        fields.remove(missing);
        let explain = "Don't have at least one of the mandatory headers: Connection, Upgrade, Sec-WebSocket-Key and \
                       Sec-WebSocket-Version";
        refused(&server.public().request("GET", "/ws?id=a", &fields, b""), 400, Some(explain));
    }
    let mut fields = FIELDS;
    fields[3].1 = "7";
    let answer = server.public().request("GET", "/ws?id=a", &fields, b"");
    refused(&answer, 400, Some("Version not supported. Supported versions: 8, 13"));
    assert_eq!(answer.head.get("sec-websocket-version"), Some("8, 13"));
    assert_eq!(server.stat("subscribers"), 0);
}

#[test]
fn websocket_has_header_messages_pings_footer_and_a_close() {
    let options = "subscriber = 'websocket'\nchannels_path = '$1'\nheader_template = 'HDR'\nfooter_template = 'FTR'\n\
                   message_template = '<~id~:~channel~:~text~>'\nping_message_interval = '300ms'\n\
                   subscriber_connection_ttl = '1200ms'";
    for (strict, code) in [(true, None), (false, Some(1000))] {
        let server = server(&format!("strict = {strict}"), &[("~ ^/ws/(.*)$", options)]);
        publish(&server, "/pub?id=a", &[], b"1");
        publish(&server, "/pub?id=a", &[], b"2");
        publish(&server, "/pub?id=b", &[], b"other");
        let mut socket = Socket::open(&server, "/ws/a.b1/b");
        socket.expect_text("HDR");
        socket.expect_text("<2:a:2>");
        let long = "x".repeat(70_000);
        for text in ["live\n", &long[..200], &long] {
            publish(&server, "/say?id=b", &[], text.as_bytes());
        }
        socket.expect_text("<2:b:live\n>");
        socket.expect_text(&format!("<3:b:{}>", &long[..200]));
        socket.expect_text(&format!("<4:b:{long}>"));
        assert_eq!(socket.read(2), [0x89, 0], "a ping");
        let last = loop {
            match socket.frame() {
                (0x89, _) => {}
                last => break last,
            }
        };
        assert_eq!(last, (0x81, b"FTR".to_vec()), "its time is over");
        socket.expect_close(code, "");
        assert!(server.metric("fantail_websocket_pings_total") >= 1);
        assert_eq!(server.metric("fantail_websocket_deliveries_total"), 4);
    }
}

#[test]
fn websocket_that_may_not_listen_is_told_so_once_it_is_open() {
    let server = server(
        "strict = true\nmax_channel_id_length = 6\nmax_subscribers_per_channel = 1\nevents_channel_id = 'events'\n\
         wildcard_channel_prefix = 'all_'\nmax_number_of_wildcard_channels = 2\nmax_number_of_channels = 2",
        &[
            ("/ws", "subscriber = 'websocket'\nchannels_path = '$arg_id'\nwildcard_channel_max_qtd = 1"),
            ("/known", "subscriber = 'websocket'\nchannels_path = '$arg_id'\nauthorized_channels_only = true"),
        ],
    );
    let refused = |target: &str, status: u16, explain: &str| {
        let reason = format!(r#"{{"http_status": {status}, "explain":"{explain}"}}"#);
        Socket::open(&server, target).expect_close(Some(1008), &reason);
    };
    refused("/ws?id=ALL", 403, "Channel id not authorized for this method.");
    refused("/ws?id=1234567", 400, "Channel id is too large.");
    refused("/known?id=new", 403, "Subscriber could not create channels.");
    refused("/ws?id=events", 403, "Subscription to events channel is not allowed.");
    refused("/ws?id=all_a", 403, "Subscribed too much wildcard channels.");
    let one = Socket::open(&server, "/ws?id=a");
    eventually("it is counted", || server.stat("subscriptions") == 1);
    refused("/ws?id=a", 403, "Subscribers limit per channel has been exceeded.");
    // "events" and "a" are two already.
    refused("/ws?id=b", 403, "Number of channels were exceeded.");
    Socket::open(&server, "/ws").expect_end();
    drop(one);
    server.until_stat("subscriptions", 0);
    server.until_stat("subscribers", 0);
}

#[test]
fn websocket_without_a_channel_is_told_so_unless_strict() {
    let server = server("", &[("/ws", "subscriber = 'websocket'\nchannels_path = '$arg_id'")]);
    let reason = r#"{"http_status": 400, "explain":"No channel id provided."}"#;
    Socket::open(&server, "/ws").expect_close(Some(1008), reason);
}

#[test]
fn websocket_publishes_to_all_its_channels_but_the_events_channel() {
    let options = "subscriber = 'websocket'\nchannels_path = '$arg_id'\nmessage_template = '<~channel~:~text~:~event-id~>'\n\
                   allow_connections_to_events_channel = true\nwebsocket_allow_publish = ";
    let stores = format!("{options}true\nstore_messages = true");
    let server = server(
        "strict = true\nevents_channel_id = 'events'",
        &[("/ws", &stores), ("/say-ws", &format!("{options}true")), ("/mute", &format!("{options}false"))],
    );
    let mut mute = Socket::open(&server, "/mute?id=a");
    let mut socket = Socket::open(&server, "/ws?id=a/b");
    socket.say(0x81, "größe".as_bytes());
    socket.expect_text("<a:größe:>");
    socket.expect_text("<b:größe:>");
    mute.expect_text("<a:größe:>");
    // In pieces, with a ping between them; and nothing is not published.
    socket.say(0x81, b"");
    socket.say(0x01, b"one ");
    socket.say(0x00, b"two ");
    socket.say(0x89, b"there?");
    assert_eq!(socket.frame(), (0x8a, b"there?".to_vec()));
    socket.say(0x80, b"three");
    socket.expect_text("<a:one two three:>");
    socket.expect_text("<b:one two three:>");
    mute.expect_text("<a:one two three:>");
    mute.say(0x81, b"not published");
    let mut transient = Socket::open(&server, "/say-ws?id=a");
    transient.say(0x81, b"for a moment");
    for listener in [&mut transient, &mut socket, &mut mute] {
        listener.expect_text("<a:for a moment:>");
    }
    let mut late = Socket::open(&server, "/mute?id=a.b9");
    late.expect_text("<a:größe:>");
    late.expect_text("<a:one two three:>");
    drop((mute, socket, transient, late));
    server.until_stat("subscribers", 0);
    let before = server.stat("published");
    let mut socket = Socket::open(&server, "/ws?id=events/c");
    socket.say(0x81, b"x");
    let said = loop {
        let (_, said) = socket.frame();
        if said.starts_with(b"<c:") {
            break said;
        }
        assert!(!said.ends_with(b":x:>"), "to the events channel");
    };
    assert_eq!(said, b"<c:x:>");
    assert!(server.stat("published") > before);
}

#[test]
fn websocket_goes_on_where_its_client_stood() {
    let options = "subscriber = 'websocket'\nchannels_path = '$arg_id'\nmessage_template = '~text~;~tag~;~time~;~event-id~'\n\
                   last_received_message_time = '$arg_time'\nlast_received_message_tag = '$arg_tag'";
    for strict in [true, false] {
        let server = server(&format!("strict = {strict}"), &[("/ws", options)]);
        for text in ["1", "2", "3"] {
            publish(&server, "/pub?id=a", &[("Event-Id", &format!("id-{text}"))], text.as_bytes());
        }
        let mut socket = Socket::open(&server, "/ws?id=a.b3");
        let mut said: Vec<String> = (0..3).map(|_| String::from_utf8(socket.frame().1).unwrap()).collect();
        let first = said.remove(0);
        let parts: Vec<&str> = first.split(';').collect();
        let target = format!("/ws?id=a&tag={}&time={}", parts[1], parts[2].replace(' ', "%20"));
        let mut again = Socket::open(&server, &target);
        let mut by_id = Socket::open_with(&server, "/ws?id=a", &[("Last-Event-Id", "id-1")]);
        for text in &said {
            again.expect_text(text);
            by_id.expect_text(text);
        }
    }
}

#[test]
fn deletion_is_the_last_message_of_its_channel() {
    let options = "subscriber = 'websocket'\nchannels_path = '$arg_id'\nmessage_template = '<~id~:~channel~:~text~>'\n\
                   footer_template = 'FTR'\nwebsocket_allow_publish = true";
    let server = server("strict = true", &[("/ws", options)]);
    let mut one = Socket::open(&server, "/ws?id=a");
    let mut two = Socket::open(&server, "/ws?id=a/b");
    eventually("they are counted", || server.stat("subscriptions") == 3);
    assert_eq!(server.public().request("DELETE", "/pub?id=a", &[], b"").status, 200);
    one.expect_text("<-2:a:Channel deleted>");
    one.expect_text("FTR");
    one.expect_close(None, "");
    two.expect_text("<-2:a:Channel deleted>");
    publish(&server, "/pub?id=b", &[], b"goes on");
    two.expect_text("<1:b:goes on>");
    // Strictly a deleted channel is none of its subscriber's any more, neither to hear nor to say anything.
    publish(&server, "/pub?id=a", &[], b"again");
    two.say(0x81, b"said");
    two.expect_text("<2:b:said>");
    let figures = server.public().get("/pub?id=a").json();
    assert_eq!((figures["published_messages"].as_u64(), figures["subscribers"].as_u64()), (Some(1), Some(0)));
    assert_eq!(server.public().request("DELETE", "/pub?id=b", &[], b"").status, 200);
    two.expect_text("<-2:b:Channel deleted>");
    two.expect_text("FTR");
    two.expect_close(None, "");
}

#[test]
fn what_no_websocket_says_ends_it_with_the_code_of_the_rfc() {
    let options = "subscriber = 'websocket'\nchannels_path = '$arg_id'\nwebsocket_allow_publish = true";
    let toml = "\n[hub]\nmessage = '1KiB'\n";
    for strict in [true, false] {
        let server = server(&format!("strict = {strict}{toml}"), &[("/ws", options)]);
        let ends = |first: u8, content: &[u8], code: u16| {
            let mut socket = Socket::open(&server, "/ws?id=a");
            socket.say(first, content);
            socket.expect_close(Some(code), "");
        };
        ends(0x82, b"bytes", 1003);
        ends(0x81, b"\xff\xfe", 1007);
        ends(0x81, &[b'x'; 1025], 1009);
        ends(0x83, b"", 1002);
        ends(0xc1, b"compressed", 1002);
        ends(0x80, b"the rest of nothing", 1002);
        ends(0x89, &[b'x'; 126], 1002);
        // Pieces that are too large together.
        let mut socket = Socket::open(&server, "/ws?id=a");
        socket.say(0x01, &[b'x'; 600]);
        socket.say(0x80, &[b'x'; 600]);
        socket.expect_close(Some(1009), "");
        // Without a mask.
        let mut socket = Socket::open(&server, "/ws?id=a");
        let mut frame = frame_head(0x81, 5, 0);
        frame.extend_from_slice(b"plain");
        socket.client.send(frame);
        if strict {
            socket.expect_text("plain");
        } else {
            socket.expect_close(Some(1002), "");
        }
        // As large as a message may be.
        let mut socket = Socket::open(&server, "/ws?id=b");
        socket.say(0x81, &[b'x'; 1024]);
        socket.expect_text(&"x".repeat(1024));
    }
}

#[test]
fn goodbye_is_answered() {
    let routes = [
        ("/ws", "subscriber = 'websocket'\nchannels_path = '$arg_id'"),
        ("/statistics", "channels_statistics = true\nchannels_path = '$arg_id'"),
    ];
    let server = server("", &routes);
    let mut socket = Socket::open(&server, "/ws?id=a");
    server.until_stat("subscribers", 1);
    let summary = server.public().get("/statistics").text();
    assert!(summary.contains(r#""subscribers": 1, "#), "{summary}");
    socket.say(0x88, &1000u16.to_be_bytes());
    socket.expect_close(Some(1000), "");
    drop(socket);
    server.until_stat("subscribers", 0);
    let gone = Socket::open(&server, "/ws?id=a");
    gone.client.socket.shutdown(Shutdown::Both).unwrap();
    server.until_stat("subscribers", 0);
    assert_eq!(server.metric("fantail_websockets_opened_total"), 2);
}

#[test]
fn stop_ends_websockets_in_good_order() {
    let options = "subscriber = 'websocket'\nchannels_path = '$arg_id'\nfooter_template = 'FTR'";
    for (strict, code) in [(true, None), (false, Some(1001))] {
        let mut server = server(&format!("strict = {strict}"), &[("/ws", options)]);
        let mut socket = Socket::open(&server, "/ws?id=a");
        server.until_stat("subscribers", 1);
        server.begin_stop();
        socket.expect_text("FTR");
        socket.expect_close(code, "");
        drop(socket);
        eventually("it has stopped", || server.has_stopped());
    }
}

#[test]
fn events_channel_tells_who_comes_and_goes_over_a_websocket() {
    let server = server(
        "strict = true\nevents_channel_id = 'events'",
        &[
            ("/ws", "subscriber = 'websocket'\nchannels_path = '$arg_id'"),
            (
                "/events",
                "subscriber = 'websocket'\nchannels_path = 'events'\nallow_connections_to_events_channel = true\n\
                 message_template = '~event-type~'",
            ),
        ],
    );
    let mut events = Socket::open(&server, "/events");
    server.until_stat("subscribers", 1);
    let mut socket = Socket::open(&server, "/ws?id=a");
    events.expect_text("channel_created");
    events.expect_text("client_subscribed");
    socket.say(0x88, b"");
    events.expect_text("client_unsubscribed");
}

#[test]
fn client_that_takes_nothing_is_dropped_and_makes_nothing_grow() {
    let options = "subscriber = 'websocket'\nchannels_path = '$arg_id'";
    let toml = "strict = true\n[stream]\nstall_limit = '300ms'\n[hub]\nbytes = '64MiB'\n";
    let server = server(toml, &[("/ws", options)]);
    let mut slow = Socket::open(&server, "/ws?id=a");
    server.until_stat("subscribers", 1);
    // More than both ends' kernels take.
    let text = vec![b'x'; 500_000];
    for _ in 0..40 {
        publish(&server, "/pub?id=a", &[], &text);
    }
    server.until_stat("subscribers", 0);
    assert_eq!(server.metric("fantail_stalled_websockets_total"), 1);
    assert!(server.stat("delivered") < 40, "it waits in the hub, not on the way to the client");
    // What it was sent whole is right.
    assert_eq!(slow.frame(), (0x81, text));
}

/// As subscribers in shards are.
#[test]
fn websocket_that_is_slow_is_named_and_any_can_be_ended_by_its_name() {
    let options = "subscriber = 'websocket'\nchannels_path = '$arg_id'\nfooter_template = 'FTR'";
    let toml = "[stream]\nstall_limit = '1h'\n[hub]\nbytes = '64MiB'\n";
    let server = server(toml, &[("/ws", options)]);
    let mut quick = Socket::open(&server, "/ws?id=b");
    let slow = Socket::open(&server, "/ws?id=a/b");
    server.until_stat("subscribers", 2);
    assert_eq!(server.control().get("/stats").json()["slowest"], json!([]));
    let text = vec![b'x'; 500_000];
    for _ in 0..40 {
        publish(&server, "/pub?id=a", &[], &text);
    }
    server.until_stat("blocked", 1);
    let stats = server.control().get("/stats").json();
    let [named] = stats["slowest"].as_array().unwrap().as_slice() else { panic!("{stats}") };
    assert_eq!(named["peer"].as_str(), Some(slow.client.socket.local_addr().unwrap().to_string().as_str()));
    assert_eq!(named["channels"], json!(["a", "b"]));
    let behind = named["behind_messages"].as_u64().unwrap();
    assert!(behind > 0 && behind < 40 && named["behind_bytes"].as_u64().unwrap() >= behind * 500_000, "{named}");
    let end = |id: &str| server.control().request("POST", &format!("/subscribers/{id}/end"), &[], b"").status;
    assert_eq!(end(named["id"].as_str().unwrap()), 200);
    server.until_stat("subscribers", 1);
    assert_eq!((server.stat("blocked"), end(named["id"].as_str().unwrap())), (0, 404));
    // One that waits is told so.
    assert_eq!(end("ws-1"), 200);
    quick.expect_text("FTR");
    quick.expect_close(Some(1000), "");
    server.until_stat("subscribers", 0);
}

#[test]
fn ws_for_node_works() {
    let options = "subscriber = 'websocket'\nchannels_path = '$arg_id'\nheader_template = 'HDR'\nfooter_template = 'FTR'\n\
                   message_template = '<~id~:~text~>'\nping_message_interval = '200ms'\n\
                   subscriber_connection_ttl = '1500ms'\nwebsocket_allow_publish = true";
    for (strict, code) in [(true, 1005), (false, 1000)] {
        let server = server(&format!("strict = {strict}"), &[("/ws", options)]);
        let long = "ö".repeat(40_000);
        publish(&server, "/pub?id=a", &[], long.as_bytes());
        let url = |id: &str| format!("ws://{}/ws?id={id}", server.public);
        let text = |text: String| json!({ "report": "event", "type": "text", "data": text });
        let mut reports = Script::start("ws.mjs", &[&url("a.b1"), "said"]).reports();
        let ping = json!({ "report": "ping" });
        assert!(reports.contains(&ping), "{reports:?}");
        reports.retain(|report| *report != ping);
        let expected = [
            json!({ "report": "open" }),
            text("HDR".to_owned()),
            text(format!("<1:{long}>")),
            text("<2:said>".to_owned()),
            text("FTR".to_owned()),
            json!({ "report": "end", "code": code, "reason": "" }),
        ];
        assert_eq!(reports, expected);
        let reason = r#"{"http_status": 403, "explain":"Channel id not authorized for this method."}"#;
        let refused = [json!({ "report": "open" }), json!({ "report": "end", "code": 1008, "reason": reason })];
        assert_eq!(Script::start("ws.mjs", &[&url("ALL")]).reports(), refused);
    }
}
