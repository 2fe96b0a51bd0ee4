//! The route table: path patterns and the action behind each. The most specific path wins: a literal one, else the one with
//! the longest text before its placeholder.

use std::collections::HashSet;

use fantail_hub::{ChannelName, NameError};
use percent_encoding::percent_decode_str;

use super::error::Refusal;
use crate::config::Pattern;
use crate::dialect::grip;

/// The routes of one listener.
#[derive(Debug)]
pub struct Table<A> {
    /// Most specific first.
    routes: Vec<(Pattern, A)>,
}

/// A route that was found, with what the path holds at its placeholder, still encoded.
#[derive(Debug)]
pub struct Found<'t, 'p, A> {
    /// What is to be done.
    pub action: &'t A,
    /// The placeholder's part of the path; empty for a literal path.
    pub rest: &'p str,
}

impl<A> Table<A> {
    /// A table of these routes.
    pub fn new(mut routes: Vec<(Pattern, A)>) -> Self {
        // Stable: of equally specific routes the first counts.
        routes.sort_by_key(|(pattern, _)| match pattern {
            Pattern::Literal(path) => (0, usize::MAX - path.len(), 0),
            Pattern::Segment { before, after } => (1, usize::MAX - before.len(), usize::MAX - after.len()),
            Pattern::Rest { before } => (1, usize::MAX - before.len(), usize::MAX),
        });
        Self { routes }
    }

    /// The route for a path, as it came.
    pub fn find<'p>(&self, path: &'p str) -> Option<Found<'_, 'p, A>> {
        self.routes.iter().find_map(|(pattern, action)| {
            let rest = match pattern {
                Pattern::Literal(literal) => (path == literal).then_some("")?,
                Pattern::Segment { before, after } => {
                    let rest = path.strip_prefix(before.as_str())?.strip_suffix(after.as_str())?;
                    (!rest.is_empty() && !rest.contains('/')).then_some(rest)?
                }
                Pattern::Rest { before } => path.strip_prefix(before.as_str())?,
            };
            Some(Found { action, rest })
        })
    }
}

/// The channels that a part of a path names: split at raw slashes, each segment decoded once, empty ones and repeats folded.
///
/// # Errors
/// If a name is not allowed or reserved, none is given, or more than `most`.
pub fn channels(rest: &str, most: usize) -> Result<Vec<ChannelName>, Refusal> {
    let mut names = Vec::new();
    let mut known = HashSet::new();
    for segment in rest.split('/').filter(|segment| !segment.is_empty()) {
        let name = channel(segment)?;
        if is_reserved(&name) {
            return Err(Refusal::ReservedName(name.to_string()));
        }
        // A set only where it pays: nearly always there is one name.
        if names.is_empty() || known.insert(name.clone()) && names[0] != name {
            names.push(name);
        }
    }
    match names.len() {
        0 => Err(Refusal::NoName),
        n if n > most => Err(Refusal::TooManyNames(n, most)),
        _ => Ok(names),
    }
}

/// Whether a name belongs to another protocol's channels. SECURITY: what an application gives there to those whom it let in
/// is not for everybody who may subscribe to native channels, and what it says there is not for them to forge.
pub fn is_reserved(name: &ChannelName) -> bool {
    name.as_str().starts_with(grip::PREFIX)
}

/// The channel that one segment names, reserved or not.
///
/// # Errors
/// If the name is not allowed.
pub fn channel(segment: &str) -> Result<ChannelName, Refusal> {
    let decoded = percent_decode_str(segment).decode_utf8().map_err(|_| NameError::NotUtf8)?;
    Ok(ChannelName::parse(&decoded)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(paths: &[&'static str]) -> Table<&'static str> {
        Table::new(paths.iter().map(|path| (Pattern::parse(path).unwrap(), *path)).collect())
    }

    #[test]
    fn find_the_most_specific_path_wins() {
        let table = table(&["/sub/{channels...}", "/sub/special", "/sub/{channel}/raw", "/{channels...}"]);
        let find = |path| table.find(path).map(|found| (*found.action, found.rest));
        assert_eq!(find("/sub/special"), Some(("/sub/special", "")));
        assert_eq!(find("/sub/a/raw"), Some(("/sub/{channel}/raw", "a")));
        assert_eq!(find("/sub/a/b/raw"), Some(("/sub/{channels...}", "a/b/raw")));
        assert_eq!(find("/sub/a"), Some(("/sub/{channels...}", "a")));
        assert_eq!(find("/other"), Some(("/{channels...}", "other")));
    }

    #[test]
    fn find_outside_every_route_is_nothing() {
        let table = table(&["/sub/{channels...}", "/x"]);
        for path in ["/", "/sub", "/subs/a", "/x/", "/SUB/a"] {
            assert!(table.find(path).is_none(), "{path}");
        }
    }

    #[test]
    fn channels_are_split_raw_decoded_once_and_folded() {
        let names = |rest| channels(rest, 64).map(|names| names.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!(names("a//b/a/b/").unwrap(), ["a", "b"]);
        assert_eq!(names("a%20b/%C3%BC/100%2525").unwrap(), ["a b", "ü", "100%25"]);
        assert_eq!(
            names("a%2Fb").unwrap_err().to_string(),
            "channel name holds '/' at byte 1; control characters, '/' and '*' are not allowed"
        );
        assert_eq!(names("%ff").unwrap_err().to_string(), "channel name is not valid UTF-8");
        assert_eq!(names("//").unwrap_err().to_string(), "no channel was named");
        assert_eq!(
            names("a/grip%3Ab").unwrap_err().to_string(),
            "channel \"grip:b\" belongs to GRIP: applications hold requests on it and publish there with POST /publish/"
        );
        assert_eq!(names("grip").unwrap(), ["grip"]);
        assert!(matches!(channels("a/b/c", 2), Err(Refusal::TooManyNames(3, 2))));
    }
}
