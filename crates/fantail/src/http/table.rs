//! The route table: hosts, path patterns and the action behind each.
//!
//! The host decides first, then the path. Of the routes that have a host, those of exactly the request's host come first,
//! then those of the longest `*.` host above it; the first of these groups that has the path answers. Where no route names the
//! request's host, those of the host `*` stand in their place, as nginx's default server does. Routes without a host
//! belong to every host and come last, with one exception: a route with a host that takes every path (`/{path...}`) is that
//! host's last resort and comes after the routes without a host that say more of the path. So the native routes, and whatever
//! else is for every host, are reached under a host that is otherwise passed to an upstream as a whole.
//!
//! Within a group the most specific path wins, in the order in which nginx chooses a `location`: a path without placeholder
//! (`/a`, `= /a`), else the one with the longest text before its placeholder (`/a/{path...}`, and `^~ /a`, whose text ends with
//! it), unless a regular expression (`~ …`, `~* …`) takes the path: then the first of those in the order of the file. Only where
//! the longest text is that of a `^~`, no regular expression is looked at. So a regular expression comes before every
//! placeholder, and without one the order is as if there were none.
//!
//! Nginx's forms are compared with the path as nginx sees it (`super::path::resolve`), the others with the path as it came, but
//! for needless encoding (`super::path::normalise`).
//!
//! An internal route takes its paths from the routes behind it even where it may not answer.

use std::borrow::Cow;
use std::collections::HashSet;

use fantail_hub::{ChannelName, NameError};
use percent_encoding::percent_decode_str;

use super::captures::Captures;
use super::error::Refusal;
use super::path::resolve;
use crate::config::{Config, Host, Pattern};
use crate::dialect::grip;

/// Where a route is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The host it is for; `None` for every host.
    pub host: Option<Host>,
    /// The paths it takes.
    pub pattern: Pattern,
    /// Whether it is not for requests from outside.
    pub internal: bool,
}

impl Place {
    /// These paths, for everyone on every host.
    pub fn anywhere(pattern: Pattern) -> Self {
        Self { host: None, pattern, internal: false }
    }

    /// The native paths of that name, such as `/sub/{channels...}`.
    pub fn native(config: &Config, name: &str) -> Self {
        Self::anywhere(Pattern::Rest { before: format!("{}{name}/", config.native.prefix) })
    }

    /// Sorts what comes first before what comes later.
    fn rank(&self) -> impl Ord + use<> {
        let host = match &self.host {
            Some(Host::Exact(_)) => (0, 0),
            Some(Host::Below(name)) => (1, usize::MAX - name.len()),
            Some(Host::Other) => (2, 0),
            None => (3, 0),
        };
        let path = match &self.pattern {
            Pattern::Literal(path) | Pattern::Exact(path) => (0, usize::MAX - path.len(), 0),
            Pattern::Segment { before, after } => (1, usize::MAX - before.len(), usize::MAX - after.len()),
            Pattern::Rest { before } | Pattern::Path { before } | Pattern::Prefix { before, .. } => {
                (1, usize::MAX - before.len(), usize::MAX)
            }
            Pattern::Regex(_) => (2, 0, 0),
        };
        (host, path)
    }

    fn is_for(&self, host: &str) -> bool {
        self.host.as_ref().is_some_and(|own| own.takes(host))
    }

    /// What it takes of a path, if it does.
    fn take<'t, 'p>(&'t self, path: &Forms<'p>) -> Option<Taken<'t, 'p>> {
        let rest = |rest| Some((rest, Captures::default()));
        match &self.pattern {
            Pattern::Literal(literal) => (path.normal == literal).then_some("").and_then(rest),
            Pattern::Segment { before, after } => {
                let segment = path.normal.strip_prefix(before.as_str())?.strip_suffix(after.as_str())?;
                (!segment.is_empty() && !segment.contains('/')).then_some(segment).and_then(rest)
            }
            Pattern::Rest { before } | Pattern::Path { before } => {
                path.normal.strip_prefix(before.as_str()).and_then(rest)
            }
            Pattern::Exact(exact) => (path.resolved.as_deref()? == exact.as_bytes()).then_some("").and_then(rest),
            Pattern::Prefix { before, .. } => {
                path.resolved.as_deref()?.starts_with(before.as_bytes()).then_some("").and_then(rest)
            }
            Pattern::Regex(regex) => Some(("", Captures::find(regex, path.resolved.as_deref()?)?)),
        }
    }

    /// Whether no regular expression comes before it.
    fn is_firm(&self) -> bool {
        matches!(
            self.pattern,
            Pattern::Literal(_) | Pattern::Exact(_) | Pattern::Prefix { firm: true, .. } | Pattern::Regex(_)
        )
    }
}

/// The rest of a path, and what a regular expression found.
type Taken<'t, 'p> = (&'p str, Captures<'t>);

/// A path in both forms with which patterns are compared.
struct Forms<'p> {
    normal: &'p str,
    /// As nginx sees it; made only where a route needs it, and nothing for what nginx refuses.
    resolved: Option<Cow<'p, [u8]>>,
}

/// The routes of one listener.
#[derive(Debug)]
pub struct Table<A> {
    /// First come, first found.
    routes: Vec<(Place, A)>,
    /// How many of them have a host; they stand before the others.
    with_host: usize,
    /// How many of these name theirs; they stand before those that are for the other hosts.
    named: usize,
    /// Whether one is compared with paths as nginx sees them.
    resolves: bool,
}

/// A route that was found, with what the path holds at its placeholder, still encoded.
#[derive(Debug)]
pub struct Found<'t, 'p, A> {
    /// Where the route stands.
    pub place: &'t Place,
    /// What is to be done.
    pub action: &'t A,
    /// The placeholder's part of the path; empty for a path without one.
    pub rest: &'p str,
    /// What the route's regular expression found, decoded; nothing for other routes.
    pub captures: Captures<'t>,
}

impl<A> Table<A> {
    /// A table of these routes.
    pub fn new(mut routes: Vec<(Place, A)>) -> Self {
        // Stable: of equally specific routes the first counts.
        routes.sort_by_cached_key(|(place, _)| place.rank());
        let with_host = routes.iter().filter(|(place, _)| place.host.is_some()).count();
        let named = routes.iter().take_while(|(place, _)| !matches!(place.host, None | Some(Host::Other))).count();
        let resolves = routes.iter().any(|(place, _)| place.pattern.is_location());
        Self { routes, with_host, named, resolves }
    }

    /// The route for a request from outside: host and path as [`super::host::normalise`] and [`super::path::normalise`] leave
    /// them.
    pub fn find<'p>(&self, host: Option<&str>, path: &'p str) -> Option<Found<'_, 'p, A>> {
        self.find_internal(host, path).filter(|found| !found.place.internal)
    }

    /// Whether nginx would refuse this path, and locations are looked for here as nginx looks for them.
    pub fn refuses(&self, path: &str) -> bool {
        self.resolves && resolve(path).is_none()
    }

    /// The route for a request that an upstream's answer led to, internal or not.
    pub fn find_internal<'p>(&self, host: Option<&str>, path: &'p str) -> Option<Found<'_, 'p, A>> {
        let path = &Forms { normal: path, resolved: if self.resolves { resolve(path) } else { None } };
        let (with_host, everywhere) = self.routes.split_at(self.with_host);
        let (named, others) = with_host.split_at(self.named);
        let own = match host.filter(|host| named.iter().any(|(place, _)| place.is_for(host))) {
            Some(host) => first(named.iter().filter(|(place, _)| place.is_for(host)), path),
            None => first(others.iter(), path),
        };
        if own.as_ref().is_some_and(|own| !own.place.pattern.is_catch_all()) {
            return own;
        }
        let other = first(everywhere.iter(), path);
        match &other {
            Some(found) if own.is_none() || !found.place.pattern.is_catch_all() => other,
            _ => own,
        }
    }
}

/// The route of the first host that has the path; the routes of a host follow one another.
fn first<'t, 'p, A: 't>(routes: impl Iterator<Item = &'t (Place, A)>, path: &Forms<'p>) -> Option<Found<'t, 'p, A>> {
    let mut longest: Option<Found<'t, 'p, A>> = None;
    for (place, action) in routes {
        if let Some(found) = &longest {
            if found.place.host != place.host {
                break;
            }
            if !matches!(place.pattern, Pattern::Regex(_)) {
                continue;
            }
        }
        let Some((rest, captures)) = place.take(path) else { continue };
        let found = Found { place, action, rest, captures };
        if place.is_firm() {
            return Some(found);
        }
        longest = Some(found);
    }
    longest
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

    fn place(route: &str) -> Place {
        let (host, path) = route.split_at(route.find(['/', '=', '^', '~']).unwrap());
        let (host, internal) = host.strip_prefix('!').map_or((host, false), |host| (host, true));
        let host = (!host.is_empty()).then(|| host.parse().unwrap());
        Place { host, pattern: Pattern::parse(path).unwrap(), internal }
    }

    /// Routes that are written as a host and a path; a "!" in front makes them internal.
    fn table(routes: &[&'static str]) -> Table<&'static str> {
        Table::new(routes.iter().map(|route| (place(route), *route)).collect())
    }

    #[test]
    fn find_the_most_specific_path_wins() {
        let table = table(&["/sub/{channels...}", "/sub/special", "/sub/{channel}/raw", "/{channels...}"]);
        let find = |path| table.find(None, path).map(|found| (*found.action, found.rest));
        assert_eq!(find("/sub/special"), Some(("/sub/special", "")));
        assert_eq!(find("/sub/a/raw"), Some(("/sub/{channel}/raw", "a")));
        assert_eq!(find("/sub/a/b/raw"), Some(("/sub/{channels...}", "a/b/raw")));
        assert_eq!(find("/sub/a"), Some(("/sub/{channels...}", "a")));
        assert_eq!(find("/other"), Some(("/{channels...}", "other")));
    }

    #[test]
    fn find_chooses_as_nginx_does() {
        let table = table(&[
            "~ ^/docs/(?<page>.*)\\.html$",
            "= /",
            "^~ /docs/plain/",
            "/docs/{path...}",
            "~* \\.HTML$",
            "^~ /doc",
            "= /docs/plain/a.html",
            "/docs/exact.html",
            "/{path...}",
        ]);
        let find = |path| table.find(None, path).map(|found| *found.action);
        assert_eq!(find("/"), Some("= /"));
        assert_eq!(find("/docs/exact.html"), Some("/docs/exact.html"));
        assert_eq!(find("/docs/plain/a.html"), Some("= /docs/plain/a.html"));
        assert_eq!(find("/docs/plain/b.html"), Some("^~ /docs/plain/"));
        assert_eq!(find("/docs/a.html"), Some("~ ^/docs/(?<page>.*)\\.html$"), "the longest beginning is not firm");
        assert_eq!(find("/docs/a.HTML"), Some("~* \\.HTML$"), "the first that takes it");
        assert_eq!(find("/docs/a"), Some("/docs/{path...}"));
        assert_eq!(find("/doc.html"), Some("^~ /doc"));
        assert_eq!(find("/a.html"), Some("~* \\.HTML$"));
        assert_eq!(find("/a"), Some("/{path...}"));
    }

    #[test]
    fn find_nginxs_paths_decoded_and_resolved() {
        let table = table(&["= /a b", "^~ /p/", "~ ^/sub/(.*)$", "/sub/{channels...}", "/p%2Fq"]);
        let find =
            |path| table.find(None, path).map(|found| (*found.action, found.captures.group(1).map(<[u8]>::to_vec)));
        assert_eq!(find("/a%20b"), Some(("= /a b", None)));
        assert_eq!(find("//a%20b"), Some(("= /a b", None)));
        assert_eq!(find("/x/../p%2Fq"), Some(("^~ /p/", None)));
        assert_eq!(find("/p%2Fq"), Some(("/p%2Fq", None)), "a path of Fantail's own is compared as it came");
        assert_eq!(find("/sub/a%2Fb%2520"), Some(("~ ^/sub/(.*)$", Some(b"a/b%20".to_vec()))));
        assert_eq!(find("/sub/%00"), Some(("/sub/{channels...}", None)), "nginx refuses it");
        assert_eq!(find("/p/../../p/"), None);
    }

    #[test]
    fn refused_paths_are_nginxs_where_routes_are() {
        let (own, nginxs) = (table(&["/sub/{channels...}"]), table(&["/sub/{channels...}", "= /a"]));
        for (path, refused) in [("/../a", true), ("/a%zz", true), ("/a%00", true), ("*", true), ("/b/../a", false)] {
            assert_eq!((nginxs.refuses(path), own.refuses(path)), (refused, false), "{path}");
        }
    }

    #[test]
    fn find_a_regex_stays_within_its_host() {
        let table = table(&[
            "~ ^/every",
            "a.example/every/{path...}",
            "a.example~ ^/own/(x)",
            "*.example~ ^/",
            "b.example^~ /",
            "/sub/{channels...}",
        ]);
        let find = |host, path| table.find(Some(host), path).map(|found| *found.action);
        assert_eq!(find("a.example", "/every/1"), Some("a.example/every/{path...}"));
        assert_eq!(find("a.example", "/own/x"), Some("a.example~ ^/own/(x)"));
        assert_eq!(find("a.example", "/own/y"), Some("*.example~ ^/"));
        assert_eq!(find("b.example", "/sub/a"), Some("/sub/{channels...}"), "a host's last resort");
        assert_eq!(find("b.example", "/a"), Some("b.example^~ /"));
        assert_eq!(find("other", "/every/1"), Some("~ ^/every"));
    }

    #[test]
    fn find_the_rest_of_a_path_may_be_empty() {
        let table = table(&["/api/{path...}"]);
        let find = |path| table.find(None, path).map(|found| found.rest);
        assert_eq!(find("/api/"), Some(""));
        assert_eq!(find("/api//a/"), Some("/a/"));
        assert_eq!(find("/api"), None);
    }

    #[test]
    fn find_outside_every_route_is_nothing() {
        let table = table(&["/sub/{channels...}", "/x"]);
        for path in ["/", "/sub", "/subs/a", "/x/", "/SUB/a"] {
            assert!(table.find(None, path).is_none(), "{path}");
        }
    }

    #[test]
    fn find_the_host_decides_before_the_path() {
        let table = table(&[
            "/api/exact",
            "/api/{path...}",
            "*.example/api/{path...}",
            "*.b.example/api/{path...}",
            "a.b.example/api/{path...}",
            "*.b.example/only/{path...}",
        ]);
        let find = |host, path| table.find(host, path).map(|found| *found.action);
        assert_eq!(find(Some("a.b.example"), "/api/exact"), Some("a.b.example/api/{path...}"));
        assert_eq!(find(Some("x.b.example"), "/api/exact"), Some("*.b.example/api/{path...}"));
        assert_eq!(find(Some("x.example"), "/api/exact"), Some("*.example/api/{path...}"));
        assert_eq!(find(Some("other"), "/api/exact"), Some("/api/exact"));
        assert_eq!(find(None, "/api/a"), Some("/api/{path...}"));
        assert_eq!(find(Some("a.b.example"), "/only/a"), Some("*.b.example/only/{path...}"));
        assert_eq!(find(Some("b.example"), "/only/a"), None);
    }

    #[test]
    fn find_a_hosts_catch_all_yields_to_what_is_for_every_host() {
        let table = table(&[
            "/sub/{channels...}",
            "/{path...}",
            "*.example/wild/{path...}",
            "*.example/{path...}",
            "app.example/{path...}",
            "app.example/sub/own",
        ]);
        let find = |host, path| table.find(host, path).map(|found| *found.action);
        assert_eq!(find(Some("app.example"), "/sub/a"), Some("/sub/{channels...}"));
        assert_eq!(find(Some("app.example"), "/sub/own"), Some("app.example/sub/own"));
        assert_eq!(find(Some("app.example"), "/a"), Some("app.example/{path...}"));
        assert_eq!(find(Some("app.example"), "/"), Some("app.example/{path...}"));
        // Between hosts there is no such exception: one name's catch-all is not undone by a wider name.
        assert_eq!(find(Some("app.example"), "/wild/a"), Some("app.example/{path...}"));
        assert_eq!(find(Some("x.example"), "/wild/a"), Some("*.example/wild/{path...}"));
        assert_eq!(find(Some("x.example"), "/a"), Some("*.example/{path...}"));
        assert_eq!(find(Some("other"), "/a"), Some("/{path...}"));
        assert_eq!(find(None, "/a"), Some("/{path...}"));
    }

    #[test]
    fn find_the_routes_of_other_hosts_where_none_is_named() {
        let table = table(&["a.example/x", "*.b.example/{path...}", "*/x", "*/{path...}", "/sub/{channels...}"]);
        let find = |host, path| table.find(host, path).map(|found| *found.action);
        assert_eq!(find(Some("c.example"), "/x"), Some("*/x"));
        assert_eq!(find(None, "/y"), Some("*/{path...}"));
        assert_eq!(find(None, "/sub/a"), Some("/sub/{channels...}"), "a host's last resort");
        assert_eq!(find(Some("a.example"), "/y"), None, "it is named, though not with this path");
        assert_eq!(find(Some("x.b.example"), "/x"), Some("*.b.example/{path...}"));
    }

    #[test]
    fn find_internal_routes_only_from_inside() {
        let table = table(&["!/private/{channels...}", "/{path...}", "!a.example/x", "/x"]);
        let find = |host, path| table.find(host, path).map(|found| *found.action);
        let inside = |host, path| table.find_internal(host, path).map(|found| *found.action);
        assert_eq!(find(None, "/private/a"), None, "nor may the upstream of the catch-all see it");
        assert_eq!(inside(None, "/private/a"), Some("!/private/{channels...}"));
        assert_eq!(inside(None, "/a"), Some("/{path...}"));
        assert_eq!(find(Some("a.example"), "/x"), None);
        assert_eq!(find(Some("b.example"), "/x"), Some("/x"));
        assert_eq!(inside(Some("a.example"), "/x"), Some("!a.example/x"));
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
