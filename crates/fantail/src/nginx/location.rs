//! A server's locations: which of them takes a path, as nginx chooses, and the paths that Fantail's routes have for them.

use super::ImportError;
use super::check::refused;
use super::scope::{Scope, named};
use super::tree::Directive;
use crate::config::Regex;

/// The paths of a location.
#[derive(Debug, PartialEq)]
pub(super) enum Paths {
    /// `= /path`
    Exact(String),
    /// `/path`, or `^~ /path` where it is firm: where it is the longest, no regular expression is looked at.
    Prefix { before: String, firm: bool },
    /// `~ regex` and `~* regex`; the error says why Fantail cannot take it.
    Regex { text: String, ignores_case: bool, compiled: Result<Regex, String> },
    /// `@name`
    Named,
}

/// A location.
#[derive(Debug)]
pub(super) struct Location<'t> {
    pub directive: &'t Directive,
    pub paths: Paths,
    /// What holds in it.
    pub scope: Scope<'t>,
    /// The locations within.
    pub nested: Vec<Location<'t>>,
    /// The location around it, if there is one.
    pub around: Option<&'t Directive>,
    /// Whether the outermost location around it is firm.
    pub within_firm: bool,
}

impl<'t> Location<'t> {
    /// The locations of a block, in the order of the file.
    pub(super) fn all(scope: &Scope<'t>) -> Result<Vec<Self>, ImportError> {
        Self::below(scope, None, false)
    }

    /// Whether no regular expression outside is looked at where it is the longest: of those within another, that one's
    /// modifier counts.
    pub(super) fn is_firm(&self) -> bool {
        if self.around.is_some() { self.within_firm } else { matches!(self.paths, Paths::Prefix { firm: true, .. }) }
    }

    fn below(
        scope: &Scope<'t>,
        around: Option<(&'t Directive, &Paths)>,
        within_firm: bool,
    ) -> Result<Vec<Self>, ImportError> {
        let mut all: Vec<Self> = Vec::new();
        for directive in named(scope.inner(), "location") {
            let paths = Paths::parse(directive)?;
            if let Some((outer, outer_paths)) = around {
                paths.fits(directive, outer, outer_paths)?;
            }
            let twin = all.iter().find(|other| other.paths.is_like(&paths));
            if let Some(twin) = twin {
                let name = directive.args.join(" ");
                let reason = format!("\"{name}\" is duplicate, it was given in {} before", twin.directive.spot);
                return Err(refused(directive, reason));
            }
            let scope = scope.within(directive.children());
            let is_firm = within_firm || (around.is_none() && matches!(paths, Paths::Prefix { firm: true, .. }));
            let nested = Self::below(&scope, Some((directive, &paths)), is_firm)?;
            let around = around.map(|(outer, _)| outer);
            all.push(Self { directive, paths, scope, nested, around, within_firm });
        }
        Ok(all)
    }

    /// It and all within, in the order in which their regular expressions are looked at: those within come first.
    pub(super) fn flat(&self) -> Vec<&Self> {
        self.nested.iter().flat_map(Self::flat).chain([self]).collect()
    }

    /// The names of what its regular expression captures, and their numbers.
    pub(super) fn captures(&self) -> Vec<String> {
        let Paths::Regex { compiled: Ok(regex), .. } = &self.paths else { return Vec::new() };
        let names = regex.names();
        let numbers = (1..names.len().min(10)).map(|number| number.to_string());
        numbers.chain(names.flatten().map(str::to_owned)).collect()
    }
}

impl Paths {
    fn parse(directive: &Directive) -> Result<Self, ImportError> {
        let (mark, text) = match directive.args.as_slice() {
            [mark, text] => match mark.as_str() {
                "=" | "^~" | "~" | "~*" => (mark.as_str(), text.as_str()),
                other => {
                    let reason = format!("\"{other}\" is not a modifier, expected \"=\", \"^~\", \"~\" or \"~*\"");
                    return Err(refused(directive, reason));
                }
            },
            // nginx takes a modifier that is written together with the path, too.
            [text] => ["=", "^~", "~*", "~"]
                .into_iter()
                .find_map(|mark| text.strip_prefix(mark).map(|text| (mark, text)))
                .unwrap_or(("", text)),
            _ => ("", ""),
        };
        Ok(match mark {
            "=" => Self::Exact(text.to_owned()),
            "^~" => Self::Prefix { before: text.to_owned(), firm: true },
            "~" | "~*" => {
                let ignores_case = mark == "~*";
                Self::Regex { text: text.to_owned(), ignores_case, compiled: Regex::new(text, ignores_case) }
            }
            _ if text.starts_with('@') => Self::Named,
            _ => Self::Prefix { before: text.to_owned(), firm: false },
        })
    }

    /// Refuses what nginx refuses within another location.
    fn fits(&self, directive: &Directive, outer: &Directive, around: &Self) -> Result<(), ImportError> {
        let (own, outer_name) = (directive.args.join(" "), outer.args.join(" "));
        if matches!(around, Self::Exact(_)) {
            let reason = format!("\"{own}\" cannot be inside the exact location \"{outer_name}\"");
            return Err(refused(directive, reason));
        }
        if matches!(around, Self::Named) {
            return Err(refused(directive, format!("\"{own}\" cannot be inside the named location \"{outer_name}\"")));
        }
        if matches!(self, Self::Named) {
            return Err(refused(directive, format!("named location \"{own}\" can be on the server level only")));
        }
        match (self, around) {
            (Self::Exact(text) | Self::Prefix { before: text, .. }, Self::Prefix { before, .. })
                if !text.starts_with(before.as_str()) =>
            {
                Err(refused(directive, format!("\"{own}\" is outside of the location \"{outer_name}\"")))
            }
            _ => Ok(()),
        }
    }

    fn is_like(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Exact(a), Self::Exact(b)) | (Self::Prefix { before: a, .. }, Self::Prefix { before: b, .. }) => {
                a == b
            }
            _ => false,
        }
    }
}

/// Which of a server's locations answers a path, decoded and resolved. The longest beginning is found first; the locations
/// within it, and regular expressions unless it is firm, come before it.
/// Those that are not `kept` are taken for not there.
pub(super) fn choose<'l, 't>(
    locations: &'l [Location<'t>],
    path: &[u8],
    kept: &impl Fn(&Location<'t>) -> bool,
) -> Option<&'l Location<'t>> {
    find(locations, path, kept).map(|(location, _)| location)
}

/// The location, and whether it is final: exact, or by a regular expression.
fn find<'l, 't>(
    locations: &'l [Location<'t>],
    path: &[u8],
    kept: &impl Fn(&Location<'t>) -> bool,
) -> Option<(&'l Location<'t>, bool)> {
    let locations = || locations.iter().filter(|location| kept(location));
    let exact = |location: &&Location<'_>| matches!(&location.paths, Paths::Exact(text) if text.as_bytes() == path);
    if let Some(location) = locations().find(exact) {
        return Some((location, true));
    }
    let longest = locations()
        .filter_map(|location| match &location.paths {
            Paths::Prefix { before, firm } if path.starts_with(before.as_bytes()) => {
                Some((location, before.len(), *firm))
            }
            _ => None,
        })
        .max_by_key(|(_, length, _)| *length);
    let mut found = None;
    if let Some((location, _, firm)) = longest {
        let within = find(&location.nested, path, kept);
        if let Some((_, true)) = within {
            return within;
        }
        found = Some(within.unwrap_or((location, false)));
        if firm {
            return found;
        }
    }
    for location in locations() {
        if let Paths::Regex { compiled: Ok(regex), .. } = &location.paths
            && regex.is_match(path)
        {
            let within = find(&location.nested, path, kept).map(|(inner, _)| inner);
            return Some((within.unwrap_or(location), true));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::tests::{tree, wrong};
    use super::*;

    #[test]
    fn location_is_chosen_in_nginxs_order() {
        let tree = tree(
            r"location = / { } location / { } location /docs/ { location ~ \.pdf$ { } location /docs/old/ { } }
              location ^~ /images/ { location ~ \.raw$ { } } location ~* \.(gif|jpg)$ { } location ~ ^/docs/new { } location @x { }",
        );
        let locations = Location::all(&Scope::default().within(&tree.top)).unwrap();
        let chosen =
            |path: &str| choose(&locations, path.as_bytes(), &|_| true).map(|found| found.directive.args.join(" "));
        for (path, location) in [
            ("/", "= /"),
            ("/index", "/"),
            ("/docs/a", "/docs/"),
            ("/docs/a.pdf", r"~ \.pdf$"),
            ("/docs/old/a", "/docs/old/"),
            ("/docs/old/a.gif", r"~* \.(gif|jpg)$"),
            ("/docs/new.pdf", r"~ \.pdf$"),
            ("/docs/new.gif", r"~* \.(gif|jpg)$"),
            ("/images/a.gif", "^~ /images/"),
            ("/images/a.raw", r"~ \.raw$"),
            ("/docs/newer", "~ ^/docs/new"),
            ("/a.GIF", r"~* \.(gif|jpg)$"),
        ] {
            assert_eq!(chosen(path).as_deref(), Some(location), "{path}");
        }
        assert_eq!(chosen("x"), None);
        let without = choose(&locations, b"/docs/new.gif", &|location| location.directive.args[0] != "~*");
        assert_eq!(without.map(|found| found.directive.args.join(" ")).as_deref(), Some("~ ^/docs/new"));
    }

    #[test]
    fn location_that_cannot_be_there_is_refused() {
        let server = |text: &str| wrong(&format!("http {{ server {{ {text} }} }}"));
        for (text, why) in [
            ("location a b { }", "\"a\" is not a modifier, expected \"=\", \"^~\", \"~\" or \"~*\""),
            ("location /a { location /b { } }", "\"/b\" is outside of the location \"/a\""),
            ("location = /a { location /a/b { } }", "\"/a/b\" cannot be inside the exact location \"= /a\""),
            ("location /a { location @b { } }", "named location \"@b\" can be on the server level only"),
            ("location /a { } location ^~ /a { }", "\"^~ /a\" is duplicate, it was given in nginx.conf:1 before"),
        ] {
            assert_eq!(server(text), format!("nginx.conf:1: location: {why}"));
        }
    }
}
