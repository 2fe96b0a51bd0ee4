//! What the regular expression of a route found in a path: its groups, by number and by name.

use crate::config::Regex;
use crate::dialect::push_stream::Groups;

/// The groups of a route's regular expression, and the path that they are parts of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Captures<'t> {
    /// By number, the whole match first; nothing for a group that took no part.
    groups: Vec<Option<Vec<u8>>>,
    regex: Option<&'t Regex>,
}

impl<'t> Captures<'t> {
    /// What `regex` finds in a path, if it does.
    pub(super) fn find(regex: &'t Regex, path: &[u8]) -> Option<Self> {
        let groups = regex.captures(path)?;
        let groups = groups.into_iter().map(|group| group.map(<[u8]>::to_vec)).collect();
        Some(Self { groups, regex: Some(regex) })
    }

    /// The group of that number; 0 is the whole match.
    pub fn group(&self, number: usize) -> Option<&[u8]> {
        self.groups.get(number)?.as_deref()
    }

    /// The group of that name.
    pub fn name(&self, name: &str) -> Option<&[u8]> {
        self.group(self.regex?.names().position(|known| known == Some(name))?)
    }

    /// What was found, with the variables under which it is known.
    pub(super) fn variables(&self) -> impl Iterator<Item = (String, &[u8])> {
        let names = self.regex.into_iter().flat_map(Regex::names).enumerate().skip(1);
        names.filter_map(|(number, name)| {
            let name = name.map_or_else(|| number.to_string(), str::to_owned);
            Some((format!("${name}"), self.group(number)?))
        })
    }
}

impl Groups for Captures<'_> {
    fn numbered(&self, number: usize) -> Option<&[u8]> {
        self.group(number)
    }

    fn named(&self, name: &str) -> Option<&[u8]> {
        self.name(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn captures_are_known_by_number_and_name() {
        let regex = Regex::new("^/(?<mode>sub|ev)/(.*?)(/x)?$", false).unwrap();
        let captures = Captures::find(&regex, b"/ev/a\xff").unwrap();
        assert_eq!(captures.group(0), Some(&b"/ev/a\xff"[..]));
        assert_eq!((captures.group(1), captures.name("mode")), (Some(&b"ev"[..]), Some(&b"ev"[..])));
        assert_eq!(captures.group(2), Some(&b"a\xff"[..]));
        assert_eq!((captures.group(3), captures.group(4), captures.name("other")), (None, None, None));
        let variables: Vec<_> = captures.variables().map(|(name, _)| name).collect();
        assert_eq!(variables, ["$mode", "$2"]);
        assert_eq!(Captures::find(&regex, b"/other"), None);
    }

    #[test]
    fn captures_of_a_route_without_expression_are_none() {
        let captures = Captures::default();
        assert_eq!((captures.group(0), captures.name("a"), captures.variables().count()), (None, None, 0));
    }
}
