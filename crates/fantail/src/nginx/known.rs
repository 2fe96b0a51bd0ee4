//! The directives that are known: where each may stand, what its arguments are, and what becomes of it where no mapping
//! takes it up. What is not listed is not refused, as it may be a further module's: it is reported as left out.

mod core;
mod nchan;
mod proxy;
mod push_stream;

/// A set of contexts in which a directive may stand.
pub(super) type Contexts = u16;

pub(super) const MAIN: Contexts = 1;
pub(super) const EVENTS: Contexts = 1 << 1;
pub(super) const HTTP: Contexts = 1 << 2;
pub(super) const UPSTREAM: Contexts = 1 << 3;
pub(super) const SERVER: Contexts = 1 << 4;
pub(super) const LOCATION: Contexts = 1 << 5;
/// `if` in a location.
pub(super) const IF: Contexts = 1 << 6;
/// `if` in a server.
pub(super) const SERVER_IF: Contexts = 1 << 7;
pub(super) const LIMIT_EXCEPT: Contexts = 1 << 8;
/// Where most may stand.
pub(super) const MSL: Contexts = HTTP | SERVER | LOCATION;
/// Not a context: the directive may be given several times in one block.
pub(super) const MANY: Contexts = 1 << 15;

/// What a directive's arguments are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Value {
    /// Anything.
    Any,
    /// `on` or `off`.
    Flag,
    /// A time, to the millisecond.
    Time,
    /// A time in whole seconds.
    Seconds,
    /// A time that must not be 0, to the millisecond.
    SomeTime,
    /// A time in whole seconds that must not be 0.
    SomeSeconds,
    /// A number of bytes.
    Size,
    /// A whole number.
    Count,
    /// A whole number that must not be 0.
    SomeCount,
    /// One of these words, in any case.
    Words(&'static [&'static str]),
}

/// What becomes of a directive that no mapping has taken up.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Fate {
    /// A mapping takes it up where it matters; elsewhere it affects nothing.
    Mapped,
    /// Fantail does the same without being told.
    Same(&'static str),
    /// Fantail does something else in its place.
    Other(&'static str),
    /// It is left out.
    Left(&'static str),
}

/// A directive.
#[derive(Debug)]
pub(super) struct Known {
    pub name: &'static str,
    pub contexts: Contexts,
    /// The fewest and the most arguments; [`MORE`] for any number.
    pub args: (usize, usize),
    pub value: Value,
    pub fate: Fate,
}

pub(super) const MORE: usize = usize::MAX;

const fn known(name: &'static str, contexts: Contexts, args: (usize, usize), value: Value, fate: Fate) -> Known {
    Known { name, contexts, args, value, fate }
}

/// All of them.
pub(super) fn all() -> impl Iterator<Item = &'static Known> {
    [core::DIRECTIVES, proxy::DIRECTIVES, push_stream::DIRECTIVES, nchan::DIRECTIVES].into_iter().flatten()
}

/// The directive of that name.
pub(super) fn find(name: &str) -> Option<&'static Known> {
    all().find(|known| known.name == name)
}

/// Directives that have a block, wherever they stand; `server` has one in `http` alone.
pub(super) const BLOCKS: [&str; 12] = [
    "events",
    "http",
    "location",
    "if",
    "limit_except",
    "upstream",
    "types",
    "map",
    "geo",
    "split_clients",
    "charset_map",
    "stream",
];

impl Known {
    pub(super) fn may_repeat(&self) -> bool {
        self.contexts & MANY != 0
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::path::Path;

    use super::*;

    #[test]
    fn directive_is_listed_once() {
        let mut names = HashSet::new();
        for known in all() {
            assert!(names.insert(known.name), "{} is listed twice", known.name);
            assert!(known.args.0 <= known.args.1, "{}", known.name);
        }
    }

    #[test]
    fn guides_say_where_every_directive_went() {
        for (guide, list) in [("from-push-stream.md", push_stream::DIRECTIVES), ("from-nchan.md", nchan::DIRECTIVES)] {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(guide);
            let text = std::fs::read_to_string(&path).unwrap();
            for known in list {
                assert!(text.contains(&format!("`{}`", known.name)), "docs/{guide} does not name {}", known.name);
            }
        }
    }
}
