//! GRIP: what applications answer and publish.

use fantail::dialect::grip;

use crate::{fields, parts};

/// Fields of an answer, and a body.
pub fn run(bytes: &[u8]) {
    let [head, body] = parts(bytes);
    let headers = fields(head);
    let _ = (grip::instructs(&headers), grip::is_document(&headers));
    if let Ok(instruct) = grip::Instruct::of(&headers) {
        let _ = grip::fill_body(&instruct, body.to_vec());
    }
    let _ = grip::parse_items(body);
    let _ = grip::parse_document(body);
    let _ = grip::first_response(body);
    if let Ok(name) = std::str::from_utf8(body)
        && let Ok(channel) = grip::channel(name)
    {
        assert!(channel.as_str().starts_with(grip::PREFIX));
    }
}
