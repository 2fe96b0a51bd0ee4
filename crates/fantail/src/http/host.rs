//! The host that a request is for, in the one form in which routes are compared with it.

use std::borrow::Cow;

use http::header::HOST;
use http::request::Parts;

/// The host of a request's target, else of its first `Host` (RFC 9112 §3.2.2), normalised.
pub fn host(request: &Parts) -> Option<Cow<'_, str>> {
    match request.uri.authority() {
        Some(authority) => normalise(authority.as_str().as_bytes()),
        None => normalise(request.headers.get(HOST)?.as_bytes()),
    }
}

/// A host in lower case, without port and without a dot at its end; nothing for what cannot be one.
pub fn normalise(authority: &[u8]) -> Option<Cow<'_, str>> {
    let authority = std::str::from_utf8(authority).ok()?;
    let host = without_port(authority.rsplit_once('@').map_or(authority, |(_, host)| host));
    let host = host.strip_suffix('.').unwrap_or(host);
    if host.is_empty() {
        return None;
    }
    Some(if host.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(host.to_ascii_lowercase())
    } else {
        Cow::Borrowed(host)
    })
}

/// An authority without its port.
pub fn without_port(authority: &str) -> &str {
    let Some((host, port)) = authority.rsplit_once(':') else { return authority };
    // The colons of a bare IPv6 address are its own.
    let whole = host.ends_with(']') || !host.contains(':');
    if whole && port.bytes().all(|b| b.is_ascii_digit()) { host } else { authority }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_in_any_form_is_normalised() {
        for (authority, host) in [
            ("app.example", "app.example"),
            ("App.Example.:8080", "app.example"),
            ("app.example:", "app.example"),
            ("[::1]:8080", "[::1]"),
            ("[2001:DB8::1]", "[2001:db8::1]"),
            ("me@app.example:1", "app.example"),
        ] {
            assert_eq!(normalise(authority.as_bytes()).as_deref(), Some(host), "{authority}");
        }
        for none in [&b""[..], b":80", b".", b"\xff"] {
            assert_eq!(normalise(none), None, "{none:?}");
        }
    }

    #[test]
    fn host_of_an_absolute_target_comes_before_the_field() {
        let host_of = |target: &str| {
            let request = http::Request::builder().uri(target).header("host", "Field.example:80").body(()).unwrap();
            host(&request.into_parts().0).map(Cow::into_owned)
        };
        assert_eq!(host_of("/a").as_deref(), Some("field.example"));
        assert_eq!(host_of("http://target.example:81/a").as_deref(), Some("target.example"));
    }
}
