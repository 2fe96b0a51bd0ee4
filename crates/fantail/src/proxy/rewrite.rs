//! The target that an upstream is asked for, made of the one that came; and which targets it must not be asked for.

use crate::config::{Pattern, Route};

/// What becomes of a path on its way to the upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rewrite {
    /// It stays as it came.
    Keep,
    /// Only what stands in the place of `{path...}` stays, behind a `/`.
    Strip,
    /// What stands in the place of `{path...}`, if the route has one, is put behind this.
    To {
        /// Up to and with the `/` before the rest; the whole path where there is no rest.
        before: String,
    },
}

impl Rewrite {
    /// What a route wants.
    pub fn new(route: &Route) -> Self {
        // It was checked when the configuration was read.
        match route.rewrite.as_deref().map(Pattern::parse) {
            Some(Ok(Pattern::Path { before } | Pattern::Literal(before))) => Self::To { before },
            _ if route.strip_prefix => Self::Strip,
            _ => Self::Keep,
        }
    }

    /// The target in origin form (RFC 9112 §3.2.1); `rest` is what `path` has in the place of `{path...}`.
    pub fn apply(&self, path: &str, rest: &str, query: Option<&str>) -> String {
        let (before, rest) = match self {
            Self::Keep => (path, ""),
            Self::Strip => ("/", rest),
            Self::To { before } => (before.as_str(), rest),
        };
        let mut target = String::with_capacity(before.len() + rest.len() + query.map_or(0, |query| query.len() + 1));
        target.push_str(before);
        target.push_str(rest);
        if let Some(query) = query {
            target.push('?');
            target.push_str(query);
        }
        target
    }
}

/// Whether an upstream may read another path in this than the routes did.
///
/// SECURITY: a route is found by the path as it came. Servers behind it may decode it, cut parameters off its segments or
/// take `\` for `/`, and then resolve `..`: so a request would leave its route's part of the upstream.
pub fn is_ambiguous(path: &str) -> bool {
    if path.bytes().any(|byte| byte.is_ascii_control() || byte == b'\\' || byte == b'#') || has_stray_percent(path) {
        return true;
    }
    let segments = path.split('/').flat_map(|part| part.split("%2f")).flat_map(|part| part.split("%2F"));
    path.contains("%5c") || path.contains("%5C") || segments.into_iter().any(is_dots)
}

/// Whether a `%` begins no escape. Servers differ in what they take it for, and what stands behind it.
pub fn has_stray_percent(path: &str) -> bool {
    let mut parts = path.split('%');
    // What stands before the first.
    parts.next();
    parts.any(|behind| !behind.as_bytes().first_chunk::<2>().is_some_and(|two| two.iter().all(u8::is_ascii_hexdigit)))
}

/// Whether a segment, but for its parameters, is one dot or two.
fn is_dots(segment: &str) -> bool {
    let end = [";", "%3b", "%3B"].iter().filter_map(|mark| segment.find(mark)).min();
    let name = &segment[..end.unwrap_or(segment.len())];
    let dot = |text: &str| [".", "%2e", "%2E"].iter().find_map(|dot| text.strip_prefix(dot)).map(str::len);
    let behind = |text: &str| dot(text).map(|left| text.len() - left);
    let Some(first) = behind(name) else { return false };
    let rest = &name[first..];
    rest.is_empty() || behind(rest) == Some(rest.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewrite(strip_prefix: bool, rewrite: Option<&str>) -> Rewrite {
        Rewrite::new(&Route { strip_prefix, rewrite: rewrite.map(str::to_owned), ..Route::default() })
    }

    #[test]
    fn rewrite_of_each_kind_makes_the_target() {
        let keep = rewrite(false, None);
        assert_eq!(keep.apply("/api/a%2Fb", "a%2Fb", None), "/api/a%2Fb");
        assert_eq!(keep.apply("/api/", "", Some("")), "/api/?");
        let strip = rewrite(true, None);
        assert_eq!(strip.apply("/api/users/7", "users/7", Some("a=/b?c")), "/users/7?a=/b?c");
        assert_eq!(strip.apply("/api/", "", None), "/");
        let to = rewrite(false, Some("/v2/{path...}"));
        assert_eq!(to.apply("/api/users", "users", Some("x")), "/v2/users?x");
        assert_eq!(to.apply("/api/", "", None), "/v2/");
        let literal = rewrite(false, Some("/v2/health"));
        assert_eq!(literal.apply("/health", "", Some("x")), "/v2/health?x");
    }

    #[test]
    fn ambiguous_paths_are_known() {
        for path in [
            "/.",
            "/a/..",
            "/a/../b",
            "/a/./b",
            "/a/%2e%2E/b",
            "/a/.%2e",
            "/a/%2e",
            "/a/..;x=1/b",
            "/a/%2e.;/b",
            "/a/..%3b/b",
            "/a/.%2e%3Bx",
            "/a/..%2fb",
            "/a/b%2F..",
            "/a\\b",
            "/a%5Cb",
            "/a%5c..",
            "/a#b",
            "/a\tb",
            "/a\0",
            "/a\u{7f}",
            "..",
        ] {
            assert!(is_ambiguous(path), "{path:?}");
        }
    }

    #[test]
    fn ambiguous_is_no_path_that_only_looks_like_it() {
        for path in [
            "/",
            "/a//b/",
            "/...",
            "/a/.well-known/b",
            "/a..b",
            "/..a",
            "/%2e%2e%2e",
            "/a%2Fb",
            "/a;..",
            "/a%3b..",
            "/a/%252e%252e/b",
            "/%2ea",
            "/a/;x",
            "/%C3%BC",
            "",
        ] {
            assert!(!is_ambiguous(path), "{path:?}");
        }
    }
}
