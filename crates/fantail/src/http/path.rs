//! A request's path, in the one form in which routes are compared with it.

use std::borrow::Cow;

use crate::proxy::rewrite::has_stray_percent;

/// The path with those characters plain that need no encoding (RFC 3986 §6.2.2.2); everything else as it came.
///
/// A path with a `%` that begins no escape stays as it came: what is decoded could end up behind it, and make one.
///
/// SECURITY: a server behind a proxy route takes `/%61dmin` for `/admin`, and so must the routes.
pub fn normalise(path: &str) -> Cow<'_, str> {
    if has_stray_percent(path) {
        return Cow::Borrowed(path);
    }
    let mut normal = String::new();
    let mut copied = 0;
    for (at, _) in path.match_indices('%') {
        let byte = u8::from_str_radix(&path[at + 1..at + 3], 16).ok();
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

/// The path as nginx's `location` and `$uri` have it: everything decoded once, slashes merged, `.` and `..` resolved. Nothing
/// for what nginx refuses: a path that leads above its root, that holds a NUL or an escape that is none.
pub fn resolve(path: &str) -> Option<Cow<'_, [u8]>> {
    if !path.starts_with('/') {
        return None;
    }
    if !path.contains('%') && !path.contains("//") && !path.contains("/.") {
        return Some(Cow::Borrowed(path.as_bytes()));
    }
    let decoded = decode(path)?;
    let mut resolved = Vec::with_capacity(decoded.len());
    let mut ends_with_slash = true;
    for segment in decoded.split(|byte| *byte == b'/').skip(1) {
        ends_with_slash = matches!(segment, b"" | b"." | b"..");
        match segment {
            b"" | b"." => {}
            b".." => resolved.truncate(resolved.iter().rposition(|byte| *byte == b'/')?),
            _ => {
                resolved.push(b'/');
                resolved.extend_from_slice(segment);
            }
        }
    }
    if ends_with_slash {
        resolved.push(b'/');
    }
    Some(Cow::Owned(resolved))
}

fn decode(path: &str) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(path.len());
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let mut digit = || char::from(bytes.next()?).to_digit(16);
        let byte = digit()? * 16 + digit()?;
        decoded.push(u8::try_from(byte).ok().filter(|byte| *byte != 0)?);
    }
    Some(decoded)
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
            ("/%%361dmin", "/%%361dmin"),
            ("/%2%65%2%65/%61", "/%2%65%2%65/%61"),
            ("/%ü", "/%ü"),
        ] {
            assert_eq!(normalise(path), normal);
        }
        assert!(matches!(normalise("/a%2Fb"), Cow::Borrowed(_)));
    }

    #[test]
    fn path_resolves_as_in_nginx() {
        for (path, resolved) in [
            ("/", "/"),
            ("/a/b", "/a/b"),
            ("/a%20b%2Fc", "/a b/c"),
            ("/a%2520", "/a%20"),
            ("/a%3Fb%23", "/a?b#"),
            ("//a///b//", "/a/b/"),
            ("/a/./b/.", "/a/b/"),
            ("/a/b/../c", "/a/c"),
            ("/a/b/..", "/a/"),
            ("/a/..", "/"),
            ("/a//../b", "/b"),
            ("/a/%2e%2E/b", "/b"),
            ("/a%2f..%2Fb", "/b"),
            ("/.a/..b/c..", "/.a/..b/c.."),
            ("/%C3%BC", "/ü"),
        ] {
            assert_eq!(resolve(path).as_deref(), Some(resolved.as_bytes()), "{path}");
        }
        assert_eq!(resolve("/%ff").as_deref(), Some(&b"/\xff"[..]));
        assert!(matches!(resolve("/a/b"), Some(Cow::Borrowed(_))));
    }

    #[test]
    fn path_that_nginx_refuses_resolves_to_nothing() {
        for path in ["/..", "/a/../../b", "/%2e%2e/a", "/%", "/%4", "/%zz", "/%+1", "/a%00", "*", ""] {
            assert_eq!(resolve(path), None, "{path}");
        }
    }
}
