//! Who may publish: keys and tokens, on both listeners and to routes of every kind.

use fantail::auth::digest;
use serde_json::json;

use crate::access::{SECRET, token};
use crate::client::Answer;
use crate::server::TestServer;

const KEY: &str = "fantail_key-of-the-orders";
const OLD: &str = "fantail_key-before-that";

/// Two keys for the same channels, of which one is on its way out.
fn keys() -> String {
    let key = |name: &str, key: &str, channels: &str| {
        format!("[[key]]\nname = '{name}'\nsha256 = '{}'\nchannels = [{channels}]\n", digest(key))
    };
    key("orders", KEY, "'orders.*'") + &key("orders before", OLD, "'orders.*'") + &key("news", "other", "'news'")
}

fn post(server: &TestServer, target: &str, key: &str, body: &[u8]) -> Answer {
    server.control().request("POST", target, &[("Authorization", &format!("Bearer {key}"))], body)
}

#[test]
fn key_publishes_to_its_channels_and_does_nothing_else() {
    for control in ["", "control.key = 'the-control-key'\n"] {
        let server = TestServer::start(&format!("{control}{}", keys()));
        for key in [KEY, OLD] {
            assert_eq!(post(&server, "/pub/orders.1", key, b"x").status, 200);
        }
        for (target, channel) in
            [("/pub/news", "news"), ("/pub/orders.1/orders", "orders"), ("/pub/orders.1.2", "orders.1.2")]
        {
            let answer = post(&server, target, KEY, b"x");
            assert_eq!((answer.status, answer.error()), (403, format!("channel {channel:?} is not granted to you")));
        }
        let authorization = format!("Bearer {KEY}");
        let headers = [("Authorization", authorization.as_str())];
        assert_eq!(server.control().request("GET", "/pub/orders.1", &headers, b"").status, 200);
        assert_eq!(server.control().request("GET", "/pub/news", &headers, b"").status, 403);
        assert_eq!(server.control().request("DELETE", "/pub/news", &headers, b"").status, 403);
        for wrong in ["", "fantail_key", &digest(KEY)] {
            let answer = post(&server, "/pub/orders.1", wrong, b"x");
            assert_eq!((answer.status, answer.head.get("www-authenticate")), (401, Some("Bearer")), "{wrong}");
            assert_eq!(
                answer.error(),
                "a valid credential is needed: Authorization: Bearer KEY (a [[key]], or control.key)"
            );
        }
        assert_eq!(
            server.control().request("POST", "/pub/orders.1", &[], b"x").status,
            401,
            "nobody publishes without"
        );
        if control.is_empty() {
            assert_eq!(server.control().get("/stats").status, 200, "the rest is as it was");
            continue;
        }
        for (method, path) in
            [("GET", "/stats"), ("GET", "/sub/orders.1"), ("DELETE", "/subscribers?sub=a"), ("POST", "/publish/")]
        {
            assert_eq!(server.control().request(method, path, &headers, b"").status, 401, "{path}");
        }
        assert_eq!(post(&server, "/pub/news", "the-control-key", b"x").status, 200);
    }
}

#[test]
fn key_publishes_batches_line_by_line() {
    let server = TestServer::start(&keys());
    let headers = [("Authorization", "Bearer fantail_key-of-the-orders"), ("Content-Type", "application/x-ndjson")];
    let body = b"{\"channel\":\"orders.1\",\"data\":1}\n{\"channel\":\"news\",\"data\":2}\n{\"channel\":\"orders.2\",\"data\":3}\n";
    let answer = server.control().request("POST", "/pub", &headers, body).json();
    assert_eq!((answer["applied"].as_u64(), answer["published"].as_u64()), (Some(3), Some(2)));
    assert_eq!(answer["refused"], json!([{ "line": 2, "error": "channel \"news\" is not granted to you" }]));
    assert_eq!(server.control().request("POST", "/pub", &headers[1..], body).status, 401);
}

#[test]
fn key_opens_public_routes_that_take_messages() {
    let server = TestServer::start(&format!(
        "{}[[route]]\npath = '/say/{{channel}}'\naction = 'publish'\n\
         [[route]]\npath = '/shout/{{channel}}'\naction = 'publish'\npublic_publish = true\n\
         [[route]]\npath = '/ps'\naction = 'push_stream'\npublisher = 'admin'\nchannels_path = '$arg_id'\nallowed_origins = '*'\n",
        keys()
    ));
    let say = |target: &str, key: &str| {
        server.public().request("POST", target, &[("Authorization", &format!("Bearer {key}"))], b"x")
    };
    for (target, status) in [("/say/orders.1", 200), ("/say/news", 403), ("/ps?id=orders.1", 200), ("/ps?id=news", 403)]
    {
        assert_eq!(say(target, KEY).status, status, "{target}");
        let answer = say(target, "wrong");
        assert_eq!(
            (answer.status, answer.error()),
            (401, "a valid credential is needed: Authorization: Bearer KEY".to_owned())
        );
    }
    assert_eq!(say("/ps?id=orders.1", "wrong").head.get("access-control-allow-origin"), Some("*"));
    assert_eq!(server.control().request("GET", "/stats/orders.9", &[], b"").status, 404);
    assert_eq!(say("/ps?id=orders.1/news", KEY).status, 403);
    assert_eq!(say("/shout/news", "wrong").status, 200, "that one is for everyone");
    let authorization = [("Authorization", "Bearer fantail_key-of-the-orders")];
    assert_eq!(server.public().request("DELETE", "/say/orders.1", &authorization, b"").status, 405);
    assert_eq!(server.public().request("DELETE", "/ps?id=orders.1", &authorization, b"").status, 200);
    assert_eq!(server.public().request("DELETE", "/ps?id=news", &authorization, b"").status, 403);
    assert_eq!(server.public().request("GET", "/ps?id=news", &authorization, b"").status, 403);
}

#[test]
fn token_with_a_publish_claim_publishes() {
    let server = TestServer::start(&format!(
        "control.access = 'services'\n[access.services]\nby = 'jwt'\nsecret = '{SECRET}'\n\
         [[route]]\npath = '/say/{{channel}}'\naction = 'publish'\naccess = 'services'\n"
    ));
    let good = token(json!({ "publish": ["orders.*"], "subscribe": ["**"] }));
    let expired = token(json!({ "publish": ["**"], "exp": 1 }));
    let authorization = format!("Bearer {good}");
    for (target, status) in [("orders.1", 200), ("news", 403)] {
        assert_eq!(post(&server, &format!("/pub/{target}"), &good, b"x").status, status);
        let answer =
            server.public().request("POST", &format!("/say/{target}"), &[("Authorization", &authorization)], b"x");
        assert_eq!(answer.status, status);
    }
    let answer = post(&server, "/pub/orders.1", &expired, b"x");
    assert_eq!((answer.status, answer.error()), (401, "the token has expired".to_owned()));
    assert_eq!(server.control().request("POST", "/pub/orders.1", &[], b"x").status, 401);
    assert_eq!(server.public().request("POST", "/say/orders.1", &[], b"x").status, 401);
    assert_eq!(server.stat("published"), 2);
}
