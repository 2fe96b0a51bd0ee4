//! GRIP: how an application asks the proxy in front of it to hold a client's request open, in header fields of its answer,
//! and how it publishes to those that are held. Parsing, rendering and signing only.
//!
//! What is understood, and what is different here, stands in docs/hand-over.md.

mod channel;
mod document;
mod elements;
mod envelope;
mod filter;
mod instruct;
mod item;
mod render;
mod sig;
mod viewer;

pub use channel::{ChannelError, PREFIX, channel};
pub use document::{Document, DocumentError, parse_document};
pub use instruct::{Channel, Hold, Instruct, InstructError, KeepAlive, Next};
pub use item::{Item, ItemError, parse_items};
pub use render::{Answer, ResponseHold, StreamHold, first_response};
pub use sig::{KeyError, SigError, Signer};
pub use viewer::{Viewer, fill_body, next_after};

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName};

/// The request field that tells an application that a proxy is there which understands it.
pub const SIG: HeaderName = HeaderName::from_static("grip-sig");

/// Whether a field belongs to the talk between an application and the proxy in front of it. SECURITY: a client that sends
/// one is not believed, and an answer's are not for clients.
pub fn is_reserved(name: &HeaderName) -> bool {
    let name = name.as_str();
    name.starts_with("x-accel-") || name.starts_with("grip-")
}

/// Whether an answer with these fields asks for anything: if so, its body is to be read whole (the application has said all
/// it has to say) and handed to whoever serves holds.
pub fn instructs(headers: &HeaderMap) -> bool {
    headers.contains_key("grip-hold") || headers.contains_key("grip-channel") || is_document(headers)
}

/// Whether the instructions stand in the body, as JSON.
pub fn is_document(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).map_or(&b""[..], http::HeaderValue::as_bytes);
    let essence = kind.split(|&b| b == b';').next().unwrap_or_default().trim_ascii();
    essence.eq_ignore_ascii_case(b"application/grip-instruct")
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn reserved_fields_are_those_between_application_and_proxy() {
        for (name, reserved) in [
            ("x-accel-redirect", true),
            ("x-accel-buffering", true),
            ("grip-hold", true),
            ("grip-sig", true),
            ("x-accelerate", false),
            ("gripe", false),
            ("x-grip-hold", false),
        ] {
            assert_eq!(is_reserved(&HeaderName::from_static(name)), reserved, "{name}");
        }
    }

    #[test]
    fn instructs_by_field_or_by_type() {
        let with =
            |name, value| HeaderMap::from_iter([(HeaderName::from_static(name), HeaderValue::from_static(value))]);
        assert!(instructs(&with("grip-hold", "stream")));
        assert!(instructs(&with("grip-channel", "a")));
        assert!(instructs(&with("content-type", "Application/GRIP-instruct; charset=utf-8")));
        assert!(!instructs(&with("content-type", "application/json")));
        assert!(!instructs(&with("grip-status", "200")));
    }
}
