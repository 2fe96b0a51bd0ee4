//! Paths, names and ids, as they come from anybody's URL or `Last-Event-ID`.

use fantail::config::Pattern;
use fantail::http::query::Query;
use fantail::http::{path, table};
use fantail_hub::{ChannelName, IdempotencyKey, Position};
use fantail_sse::{EventId, EventName};

/// All of them on the same bytes.
pub fn run(bytes: &[u8]) {
    if let Some(position) = Position::parse(bytes) {
        assert_eq!(Position::parse(position.to_string().as_bytes()), Some(position));
    }
    let _ = IdempotencyKey::parse(bytes);
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(name) = ChannelName::parse(text) {
        assert_eq!(name.as_str(), text);
    }
    if let Ok(id) = EventId::parse(text) {
        assert!(!id.as_str().contains(['\r', '\n', '\0']));
    }
    let _ = EventName::parse(text);
    let normal = path::normalise(text);
    assert_eq!(path::normalise(&normal), normal, "what is normal stays so");
    if let Some(resolved) = path::resolve(text) {
        assert!(resolved.starts_with(b"/"));
    }
    for name in table::channels(text, 8).unwrap_or_default() {
        assert!(!table::is_reserved(&name));
    }
    if let Ok(pattern) = Pattern::parse(text) {
        let _ = (pattern.is_catch_all(), pattern.is_location());
    }
    if let Ok(uri) = text.parse::<http::Uri>() {
        let query = Query::of(&uri);
        let _ = (query.get("last"), query.number("last"), query.span("wait"), query.switch("start-id"));
    }
}
