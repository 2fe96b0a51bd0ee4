//! What a WebSocket's opening request must have. The rest of the handshake is its library's.

use http::HeaderMap;
use http::header::{CONNECTION, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE};

use super::explain::Refusal;

/// The versions that are spoken: what a refusal says in `Sec-WebSocket-Version`.
pub const VERSIONS: &str = "8, 13";

/// Whether a request may become a WebSocket; only that its fields are there is looked at.
///
/// # Errors
/// [`Refusal::Handshake`], [`Refusal::WebSocketVersion`].
pub fn check_handshake(headers: &HeaderMap) -> Result<(), Refusal> {
    if [CONNECTION, UPGRADE, SEC_WEBSOCKET_KEY].iter().any(|name| !headers.contains_key(name)) {
        return Err(Refusal::Handshake);
    }
    match headers.get(SEC_WEBSOCKET_VERSION).map(http::HeaderValue::as_bytes) {
        None => Err(Refusal::Handshake),
        Some(b"8" | b"13") => Ok(()),
        Some(_) => Err(Refusal::WebSocketVersion),
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn with(version: &'static str) -> HeaderMap {
        let fields = [(CONNECTION, "Upgrade"), (UPGRADE, "websocket"), (SEC_WEBSOCKET_KEY, "x")];
        let fields = fields.into_iter().chain([(SEC_WEBSOCKET_VERSION, version)]);
        fields.map(|(name, value): (HeaderName, _)| (name, HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn handshake_needs_each_of_its_fields() {
        for name in [CONNECTION, UPGRADE, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION] {
            let mut headers = with("13");
            headers.remove(&name);
            assert_eq!(check_handshake(&headers), Err(Refusal::Handshake), "{name}");
        }
    }

    #[test]
    fn handshake_is_of_version_8_or_13() {
        assert_eq!((check_handshake(&with("8")), check_handshake(&with("13"))), (Ok(()), Ok(())));
        for version in ["", "7", "0", "133", "8, 13"] {
            assert_eq!(check_handshake(&with(version)), Err(Refusal::WebSocketVersion), "{version}");
        }
    }
}
