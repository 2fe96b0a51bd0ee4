//! Variables in arguments: those that requests have are kept, those that `set` gives one value are put in, and what else
//! there is cannot be carried over.

use std::collections::HashMap;

use super::scope::{Scope, named};
use super::tree::Directive;

/// Variables that Fantail knows under the same name.
const SAME: [&str; 5] = ["uri", "args", "host", "remote_addr", "request_method"];
/// Families of variables that Fantail knows under the same name.
const FAMILIES: [&str; 3] = ["arg_", "http_", "cookie_"];
/// Variables that Fantail knows under another name.
const RENAMED: [(&str, &str); 2] = [("query_string", "args"), ("document_uri", "uri")];

/// What a location's variables stand for.
#[derive(Debug, Default)]
pub(super) struct Variables<'t> {
    /// Given by `set` to one value, whatever the request; nothing where that depends on a condition.
    set: HashMap<&'t str, Option<&'t Directive>>,
    /// The names and numbers of what the location's regular expression captures.
    captures: Vec<String>,
}

impl<'t> Variables<'t> {
    /// Those of a location, where `captures` are.
    pub(super) fn new(scope: &Scope<'t>, captures: Vec<String>) -> Self {
        let mut set = HashMap::new();
        let levels: Vec<_> = scope.levels().collect();
        for (index, level) in levels.iter().enumerate() {
            // Of a location around, what it sets is not run in the one within.
            let is_own = index + 1 == levels.len() || index < 2;
            for directive in named(level, "set").filter(|_| is_own) {
                let name = directive.first().trim_start_matches('$');
                set.entry(name).and_modify(|value| *value = None).or_insert(Some(directive));
            }
            for condition in named(level, "if") {
                condition.each(&mut |inner| {
                    if inner.name == "set" {
                        set.insert(inner.first().trim_start_matches('$'), None);
                    }
                });
            }
        }
        Self { set, captures }
    }

    /// The text as Fantail's settings have it, and the `set`s that went into it; the error is the variable that cannot be
    /// carried over.
    pub(super) fn expand(&self, text: &str) -> Result<(String, Vec<&'t Directive>), String> {
        let mut used = Vec::new();
        let expanded = self.put_in(text, &mut used, 0)?;
        Ok((expanded, used))
    }

    /// The value of the `set` of that name, if it has one.
    pub(super) fn given(&self, name: &str) -> Option<&'t Directive> {
        self.set.get(name).copied().flatten()
    }

    fn put_in(&self, text: &str, used: &mut Vec<&'t Directive>, depth: usize) -> Result<String, String> {
        let mut expanded = String::new();
        for part in parts(text) {
            match part {
                // A dollar sign that begins no name is no expression of Fantail's, nor of nginx's.
                Part::Text(text) if text.contains('$') => return Err(String::new()),
                Part::Text(text) => expanded.push_str(text),
                Part::Variable(name) => match self.set.get(name) {
                    Some(Some(set)) if depth < 8 => {
                        used.push(set);
                        let value = set.args.get(1).map_or("", String::as_str);
                        expanded.push_str(&self.put_in(value, used, depth + 1)?);
                    }
                    Some(_) => return Err(name.to_owned()),
                    None => {
                        let known = self.known(name).ok_or(name)?;
                        expanded.push_str("${");
                        expanded.push_str(known);
                        expanded.push('}');
                    }
                },
            }
        }
        Ok(plain(&expanded))
    }

    fn known<'n>(&self, name: &'n str) -> Option<&'n str> {
        let lower = name.to_ascii_lowercase();
        let is_family = |family: &str| lower.strip_prefix(family).is_some_and(|rest| !rest.is_empty());
        let is_capture = self.captures.iter().any(|capture| capture.eq_ignore_ascii_case(name));
        if is_capture || SAME.contains(&lower.as_str()) || FAMILIES.iter().any(|family| is_family(family)) {
            return Some(name);
        }
        RENAMED.iter().find(|(old, _)| *old == lower).map(|(_, new)| *new)
    }
}

/// Whether there are variables in it.
pub(super) fn has_variables(text: &str) -> bool {
    parts(text).any(|part| matches!(part, Part::Variable(_)))
}

enum Part<'t> {
    Text(&'t str),
    Variable(&'t str),
}

/// Takes `a$b${c}` apart.
fn parts(text: &str) -> impl Iterator<Item = Part<'_>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let Some(dollar) = rest.find('$') else { return Some(Part::Text(std::mem::take(&mut rest))) };
        if dollar > 0 {
            let (before, after) = rest.split_at(dollar);
            rest = after;
            return Some(Part::Text(before));
        }
        let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        let braced = rest.strip_prefix("${").and_then(|inner| inner.split_once('}'));
        if let Some((name, after)) = braced.filter(|(name, _)| !name.is_empty() && name.bytes().all(is_word)) {
            rest = after;
            return Some(Part::Variable(name));
        }
        let tail = &rest[1..];
        let length = match tail.as_bytes().first() {
            Some(b'0'..=b'9') => 1,
            _ => tail.bytes().take_while(|byte| is_word(*byte)).count(),
        };
        let (part, after) = rest.split_at(1 + length);
        rest = after;
        Some(if length == 0 { Part::Text(part) } else { Part::Variable(&part[1..]) })
    })
}

/// Takes off the braces that are not needed.
fn plain(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        plain.push_str(before);
        let Some((name, after)) = after.split_once('}') else {
            plain.push_str("${");
            rest = after;
            continue;
        };
        let next_is_word = after.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if next_is_word {
            plain.extend(["${", name, "}"]);
        } else {
            plain.extend(["$", name]);
        }
        rest = after;
    }
    plain.push_str(rest);
    plain
}

#[cfg(test)]
mod tests {
    use super::super::tests::tree;
    use super::*;

    #[test]
    fn variables_are_kept_put_in_or_refused() {
        let tree = tree("set $a $arg_id; set $b x_${a}; set $c 1; if ($x) { set $c 2; } set $d 1; set $d 2;");
        let scope = Scope::default().within(&tree.top);
        let variables = Variables::new(&scope, vec!["1".to_owned(), "room".to_owned()]);
        let expand = |text: &str| variables.expand(text).map(|(text, used)| (text, used.len()));
        let fine = |text: &str, used| Ok((text.to_owned(), used));
        assert_eq!(expand("$a"), fine("$arg_id", 1));
        assert_eq!(expand("$b/$1"), fine("x_$arg_id/$1", 2));
        assert_eq!(expand("${1}0-${room}s"), fine("${1}0-${room}s", 0));
        assert_eq!(expand("$query_string"), fine("$args", 0));
        assert_eq!(expand("$http_x_id$cookie_a"), fine("$http_x_id$cookie_a", 0));
        for (text, name) in
            [("a$", ""), ("$c", "c"), ("$d", "d"), ("$2", "2"), ("$request_uri", "request_uri"), ("$arg_", "arg_")]
        {
            assert_eq!(expand(text), Err(name.to_owned()));
        }
        assert!(has_variables("a$b") && has_variables("${b}") && !has_variables("a$") && !has_variables("cost $ 5"));
    }
}
