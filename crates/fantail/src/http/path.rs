//! A request's path, in the one form in which routes are compared with it.

use std::borrow::Cow;

/// The path with those characters plain that need no encoding (RFC 3986 §6.2.2.2); everything else as it came.
///
/// SECURITY: a server behind a proxy route takes `/%61dmin` for `/admin`, and so must the routes.
pub fn normalise(path: &str) -> Cow<'_, str> {
    let mut normal = String::new();
    let mut copied = 0;
    for (at, _) in path.match_indices('%') {
        let digits = path.get(at + 1..at + 3).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        if let Some(byte) = byte.filter(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(byte)) {
            normal.push_str(&path[copied..at]);
            normal.push(byte.into());
            copied = at + 3;
        }
    }
    if copied == 0 {
        return Cow::Borrowed(path);
    }
    normal.push_str(&path[copied..]);
    Cow::Owned(normal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_is_decoded_where_that_changes_nothing() {
        for (path, normal) in [
            ("/%61dmin/%7Ea", "/admin/~a"),
            ("/a/%2e%2E/b", "/a/../b"),
            ("/%41%42", "/AB"),
            ("/a%2Fb%20c%25%3b", "/a%2Fb%20c%25%3b"),
            ("/%2561", "/%2561"),
            ("/%", "/%"),
            ("/%6", "/%6"),
            ("/%+1%C3%BC%zz", "/%+1%C3%BC%zz"),
            ("/%ü", "/%ü"),
        ] {
            assert_eq!(normalise(path), normal);
        }
        assert!(matches!(normalise("/a%2Fb"), Cow::Borrowed(_)));
    }
}
