//! `soft_failure`: an `EventSource` is told of a failure by a stream that ends at once, since any other answer would silence it.

use crate::client::{Answer, End, Part};
use crate::server::TestServer;
use crate::upstream::{Upstream, proxied};

const SOFT: &str = "soft_failure = true\nretry = '2s'\nretry_jitter = '500ms'";
const ACCEPT: (&str, &str) = ("Accept", "text/event-stream");

/// Asks as an `EventSource` of another origin does.
fn softened(server: &TestServer) -> crate::client::Head {
    let mut stream =
        server.public().subscribe_with("/", &[ACCEPT, ("Origin", "http://a.example"), ("Connection", "close")]);
    let (parts, end) = stream.to_end();
    assert!(matches!(parts[..], [Part::Comment(_), Part::Retry(2_000..=2_500)]), "{parts:?}");
    // A length or a last chunk: it ends well.
    assert!(end == End::Said || end == End::Closed, "{end:?}");
    stream.head
}

fn answer(status: u16, fields: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status} X\r\n{fields}Content-Length: 4\r\n\r\nsory").into_bytes()
}

fn plain(server: &TestServer, method: &str, headers: &[(&str, &str)]) -> Answer {
    server.public().request(method, "/", headers, b"")
}

#[test]
fn soft_failure_of_the_application_is_a_stream_that_ends() {
    for status in [502, 503, 504, 429] {
        let upstream = Upstream::serve(move |_, _| answer(status, "Retry-After: 9\r\nSet-Cookie: a=b\r\n"));
        let server = proxied(&upstream, SOFT, "");
        let head = softened(&server);
        assert_eq!(head.get("access-control-allow-origin"), Some("*"), "{}", head.raw);
        assert_eq!(plain(&server, "GET", &[]).status, status);
        assert_eq!(plain(&server, "GET", &[("Accept", "text/html")]).text(), "sory");
        assert_eq!(plain(&server, "POST", &[ACCEPT]).status, status);
        let answer = plain(&server, "HEAD", &[ACCEPT]);
        assert_eq!((answer.status, answer.head.get("retry-after")), (status, Some("9")));
    }
}

#[test]
fn soft_failure_leaves_answers_that_mean_something_else() {
    for status in [204, 301, 400, 401, 404, 410, 500] {
        let upstream =
            Upstream::serve(
                move |_, _| {
                    if status == 204 { b"HTTP/1.1 204 X\r\n\r\n".to_vec() } else { answer(status, "") }
                },
            );
        let server = proxied(&upstream, SOFT, "");
        assert_eq!(plain(&server, "GET", &[ACCEPT]).status, status);
    }
}

#[test]
fn soft_failure_lets_the_application_speak_for_its_origins() {
    let upstream = Upstream::serve(|_, _| {
        answer(503, "Access-Control-Allow-Origin: http://a.example\r\nAccess-Control-Allow-Credentials: true\r\n")
    });
    let server = proxied(&upstream, SOFT, "");
    let head = softened(&server);
    assert_eq!(head.get("access-control-allow-origin"), Some("http://a.example"));
    assert_eq!(head.get("access-control-allow-credentials"), Some("true"));
}

#[test]
fn soft_failure_of_ours_is_a_stream_that_ends() {
    // Nobody listens there any more.
    let upstream = Upstream::listen();
    let gone = proxied(&upstream, SOFT, "");
    drop(upstream);
    softened(&gone);
    assert_eq!(plain(&gone, "GET", &[]).status, 502);
    assert_eq!(plain(&gone, "POST", &[ACCEPT]).status, 502);

    let silent = Upstream::listen();
    let server = proxied(&silent, SOFT, "first_byte_timeout = '100ms'");
    softened(&server);
    assert_eq!(plain(&server, "GET", &[]).status, 504);

    let liar = Upstream::serve(|_, _| b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n".to_vec());
    let server = proxied(&liar, SOFT, "");
    softened(&server);
    assert_eq!(plain(&server, "GET", &[]).status, 502);
}

#[test]
fn soft_failure_is_only_for_routes_that_say_so() {
    let upstream = Upstream::serve(|_, _| answer(503, ""));
    let server = proxied(&upstream, "", "");
    assert_eq!(plain(&server, "GET", &[ACCEPT]).status, 503);
}
