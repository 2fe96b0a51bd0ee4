//! The native dialect's parameters: spans and moments of time.

use fantail::dialect::moment::{parse_span, since};
use fantail_hub::Millis;

/// Both on the same text.
pub fn run(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let _ = parse_span(text);
    for now in [0, 1_800_000_000_000, u64::MAX] {
        let _ = since(text, Millis(now));
    }
}
