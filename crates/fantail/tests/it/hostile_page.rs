//! A page of another site, in a real Chromium, that tries to publish: by requests that need nobody's leave, and under a name of its
//! own that leads to our address (DNS rebinding).

use serde_json::Value;

use crate::browser::Browser;
use crate::server::TestServer;
use crate::upstream::Upstream;

/// What a page can send without being asked whether it may. Resolves when all have been answered, or not.
const SIMPLE_REQUESTS: &str = r"
    const simple = { method: 'POST', mode: 'no-cors', body: 'owned' };
    const tries = [
        fetch(base + '/pub/a', simple),
        fetch(base + '/pub/a', { ...simple, credentials: 'include' }),
        fetch(base + '/pub/a', { ...simple, body: new URLSearchParams({ owned: '1' }) }),
        fetch(base + '/pub/a', { method: 'POST', body: 'owned' }),
        fetch(base + '/pub/a', { method: 'PUT', body: 'owned' }),
        fetch(base + '/pub', { ...simple, body: new Blob(['{}'], { type: 'text/plain' }) }),
        fetch(base + '/stats'),
        new Promise((done) => {
            navigator.sendBeacon(base + '/pub/a', 'owned');
            const frame = document.createElement('iframe');
            frame.name = 'frame';
            frame.onload = done;
            document.body.append(frame);
            const form = document.createElement('form');
            Object.assign(form, { method: 'POST', action: base + '/pub/a', target: 'frame', enctype: 'text/plain' });
            document.body.append(form);
            form.submit();
            setTimeout(done, 2000);
        }),
    ];
    const told = [];
    for (const one of await Promise.allSettled(tries)) {
        if (one.value instanceof Response && one.value.type !== 'opaque') told.push(one.value.status);
    }
    return told;
";

fn tries(browser: &mut Browser, base: &str) -> Value {
    browser.evaluate(&format!("(async () => {{ const base = {base:?}; {SIMPLE_REQUESTS} }})()"))
}

#[test]
fn hostile_page_publishes_nothing_and_reads_nothing() {
    let server = TestServer::start("");
    let page = Upstream::serve(|_, _| {
        let body = "<!doctype html><title>evil</title><body>";
        format!("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into()
    });
    let mut browser = Browser::start();
    browser.open(&format!("http://evil.localhost:{}/", page.address().port()));
    for host in ["127.0.0.1", "localhost"] {
        let before = server.metric("fantail_refused_control_total");
        let told = tries(&mut browser, &format!("http://{host}:{}", server.control.port()));
        assert_eq!(told, serde_json::json!([]), "it may read no answer");
        assert!(
            server.metric("fantail_refused_control_total") >= before + 6,
            "its requests have come as far as to the door"
        );
    }
    assert_eq!(server.stat("published"), 0);
}

#[test]
fn hostile_name_for_our_address_is_turned_away_at_the_door() {
    let server = TestServer::start("");
    let mut browser = Browser::start();
    // Chromium resolves every name below localhost to loopback, as a hostile server of names would resolve its own.
    let base = format!("http://evil.localhost:{}", server.control.port());
    browser.open(&format!("{base}/"));
    assert!(
        browser.evaluate("document.body.innerText").to_string().contains("control.hosts"),
        "the page itself is refused"
    );
    let told = tries(&mut browser, &base);
    let told = told.as_array().expect("a list");
    assert!(told.len() >= 4 && told.iter().all(|status| *status == 403), "{told:?}");
    assert_eq!(server.stat("published"), 0);
}
