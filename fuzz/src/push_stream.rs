//! The dialect of nginx's push stream module.

use fantail::dialect::native::GapStyle;
use fantail::dialect::push_stream::{
    Asked, Entry, Format, Look, Seen, Wildcards, channel_id, check_handshake, jsonp, media_type,
};
use fantail_hub::Millis;

use crate::{fields, parts};

/// A path, fields, and a template.
pub fn run(bytes: &[u8]) {
    let [path, head, template, text] = parts(bytes);
    let wildcards = Wildcards { prefix: "b_".to_owned(), most: Some(3) };
    for strict in [false, true] {
        let asked = Asked::parse(path, strict);
        let _ = asked.scope(Some(32));
        let channels: Vec<_> = asked.channels(None).flatten().collect();
        let _ = wildcards.check(channels.iter().map(|one| channel_id(&one.channel)));
    }
    let headers = fields(head);
    let _ = check_handshake(&headers);
    let field = |name: &str| headers.get(name).map(http::HeaderValue::as_bytes);
    let _ = Seen::read(field("if-modified-since"), field("if-none-match"), field("last-event-id"));
    let _ = Format::negotiate(field("accept"));
    let Ok(path) = std::str::from_utf8(path) else { return };
    let _ = media_type(path);
    let Ok(template) = std::str::from_utf8(template) else { return };
    for strict in [false, true] {
        let _ = jsonp::callback(path, strict);
        let entry = Entry {
            number: 7,
            text,
            channel: path,
            time: Millis(1_700_000_000_000),
            tag: 3,
            event_id: Some("id"),
            event_type: None,
            position: None,
        };
        for look in [Look::plain(template, strict), Look::events(template, GapStyle::Event, strict)] {
            let mut out = Vec::new();
            look.filled(100, 200).entry(&mut out, &entry);
            look_once(&out, template, text);
        }
    }
}

/// What is put in place of a token is not looked at again: the length is bounded by both.
fn look_once(out: &[u8], template: &str, text: &[u8]) {
    let most = (template.len() + 16) * (3 * text.len() + template.len() + 200) + 4096;
    assert!(out.len() <= most, "{} bytes of {} and {}", out.len(), template.len(), text.len());
}
