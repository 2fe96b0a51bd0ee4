//! Regular expressions as people write them for nginx: over bytes, where letters are those of ASCII. They match in linear
//! time, whatever a client sends; what Perl's have beyond that, or read otherwise, is refused with its name.

use std::fmt;

use regex::bytes::RegexBuilder;

/// The longest one, in bytes.
const LONGEST: usize = 4096;
/// Most memory that a compiled one may take, and what is kept while it searches.
const MEMORY: usize = 1 << 20;
/// How deep its groups may be nested.
const DEPTH: u32 = 64;

/// A regular expression.
#[derive(Clone)]
pub struct Regex {
    ignores_case: bool,
    compiled: regex::bytes::Regex,
}

impl Regex {
    /// Compiles one; the error says what is wrong with it.
    pub fn new(text: &str, ignores_case: bool) -> Result<Self, String> {
        if text.is_empty() {
            return Err("an empty regular expression takes everything, write \".*\" if that is meant".to_owned());
        }
        if text.len() > LONGEST {
            return Err(format!("the regular expression is longer than {LONGEST} bytes"));
        }
        if let Some(reason) = foreign(text) {
            return Err(format!("the regular expression \"{text}\" {reason}"));
        }
        let compiled = RegexBuilder::new(text)
            .unicode(false)
            .case_insensitive(ignores_case)
            .size_limit(MEMORY)
            .dfa_size_limit(MEMORY)
            .nest_limit(DEPTH)
            .build();
        match compiled {
            Ok(compiled) => Ok(Self { ignores_case, compiled }),
            Err(regex::Error::CompiledTooBig(_)) => {
                Err(format!("the regular expression \"{text}\" is too large: its repetitions take more than 1 MiB"))
            }
            Err(error) => {
                let error = error.to_string();
                // The first lines show the place; what is wrong stands in the last.
                let reason = error.rsplit_once("error: ").map_or(error.as_str(), |(_, reason)| reason).trim_end();
                Err(format!("\"{text}\" is not a regular expression: {}", reason.replace('\n', " ")))
            }
        }
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        self.compiled.as_str()
    }

    /// Whether small and large letters are the same.
    pub fn ignores_case(&self) -> bool {
        self.ignores_case
    }

    /// Whether it finds itself anywhere in `text`.
    pub fn is_match(&self, text: &[u8]) -> bool {
        self.compiled.is_match(text)
    }

    /// What its groups found in `text`, the whole match first.
    pub fn captures<'t>(&self, text: &'t [u8]) -> Option<Vec<Option<&'t [u8]>>> {
        let found = self.compiled.captures(text)?;
        Some(found.iter().map(|group| group.map(|group| group.as_bytes())).collect())
    }

    /// The names of its groups, by number; the first stands for the whole match and has none.
    pub fn names(&self) -> impl ExactSizeIterator<Item = Option<&str>> {
        self.compiled.capture_names().collect::<Vec<_>>().into_iter()
    }
}

impl PartialEq for Regex {
    fn eq(&self, other: &Self) -> bool {
        (self.as_str(), self.ignores_case) == (other.as_str(), other.ignores_case)
    }
}

impl Eq for Regex {}

impl fmt::Debug for Regex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{:?}", if self.ignores_case { "~* " } else { "~ " }, self.as_str())
    }
}

/// What nginx would read otherwise in a regular expression, or what no search in linear time can do.
fn foreign(text: &str) -> Option<&'static str> {
    const NO_LOOKS: &str = "has look-around, which takes unbounded time: match the whole path and capture what matters";
    const NO_REFERENCES: &str = "has a back reference, which takes unbounded time";
    let bytes = text.as_bytes();
    let next = |at: usize| bytes.get(at).copied();
    let mut at = 0;
    let mut quantified = false;
    while let Some(byte) = next(at) {
        let was_quantified = std::mem::take(&mut quantified);
        match byte {
            b'\\' => {
                match next(at + 1) {
                    Some(b'1'..=b'9' | b'g' | b'k') => return Some(NO_REFERENCES),
                    Some(b'<' | b'>') => return Some("escapes \"<\" or \">\", which need none"),
                    _ => {}
                }
                at += 1;
            }
            b'[' => match class(&bytes[at..]) {
                Ok(length) => at += length - 1,
                Err(reason) => return Some(reason),
            },
            b'(' if next(at + 1) == Some(b'?') => {
                match (next(at + 2), next(at + 3)) {
                    (Some(b'=' | b'!'), _) | (Some(b'<'), Some(b'=' | b'!')) => return Some(NO_LOOKS),
                    (Some(b'>'), _) => return Some("has an atomic group, write (?:…)"),
                    (Some(b'\''), _) => return Some("names a group with quotes, write (?<name>…)"),
                    (Some(b'R' | b'&' | b'0'..=b'9'), _) | (Some(b'P'), Some(b'>' | b'=')) => {
                        return Some("calls a group again, which takes unbounded time");
                    }
                    (Some(b'('), _) => return Some("has a condition, write two routes"),
                    _ => {}
                }
                at += 1;
            }
            b'+' if was_quantified => return Some("has a possessive quantifier, leave out its \"+\""),
            b'?' if was_quantified => {}
            b'*' | b'+' | b'?' | b'}' => quantified = true,
            _ => {}
        }
        at += 1;
    }
    None
}

/// The length of the brackets that `bytes` begins with, unless they hold what is an operation on sets here and plain
/// characters in nginx.
fn class(bytes: &[u8]) -> Result<usize, &'static str> {
    let mut at = 1 + usize::from(bytes.get(1) == Some(&b'^'));
    at += usize::from(bytes.get(at) == Some(&b']'));
    while let Some(byte) = bytes.get(at) {
        let next = bytes.get(at + 1);
        match byte {
            b'\\' => at += 1,
            b']' => return Ok(at + 1),
            b'[' if next == Some(&b':') => {
                at += bytes[at..].windows(2).position(|pair| pair == b":]").map_or(1, |end| end + 1);
            }
            b'[' => return Err("has a \"[\" within brackets, write \"\\[\""),
            b'&' | b'-' | b'~' if next == Some(byte) => {
                return Err("has \"&&\", \"--\" or \"~~\" within brackets, write a backslash before each");
            }
            _ => {}
        }
        at += 1;
    }
    Ok(bytes.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regex_finds_groups_by_number_and_name() {
        let regex = Regex::new("^/(?<kind>sub|ev)/([a-z]+)(/x)?", false).unwrap();
        let groups = regex.captures(b"/ev/abc").unwrap();
        assert_eq!(groups, [Some(&b"/ev/abc"[..]), Some(b"ev"), Some(b"abc"), None]);
        assert_eq!(regex.names().collect::<Vec<_>>(), [None, Some("kind"), None, None]);
        assert_eq!(regex.captures(b"/EV/abc"), None);
        assert!(Regex::new("^/ev/", true).unwrap().is_match(b"/EV/abc"));
    }

    #[test]
    fn regex_sees_bytes_and_the_letters_of_ascii() {
        let regex = Regex::new(r"^/(\w+)/(.)$", false).unwrap();
        assert!(regex.is_match(b"/a_1/\xff"));
        assert!(!regex.is_match("/ü/a".as_bytes()));
        assert!(Regex::new("/ü", true).unwrap().is_match("/ü".as_bytes()));
        assert!(!Regex::new("/ü", true).unwrap().is_match("/Ü".as_bytes()), "nginx folds no more");
    }

    #[test]
    fn regex_that_is_common_in_nginx_compiles() {
        for text in [
            r"^/sub/(.*)$",
            r"/channels-stats",
            r"\.(?:php|php5)$",
            r"^/a\/b\-c\_d\.html",
            r"[[:alnum:]]+[]x][^]y]",
            r"(?P<a>x)(?<b>y)(?:z)??",
            r"a*?b+?c??d{2,3}?",
            r"a\++",
            r"[\]\[+]+",
            r"(?i)x",
            r"[a-z_-]+",
        ] {
            assert!(Regex::new(text, false).is_ok(), "{text}: {:?}", Regex::new(text, false));
        }
    }

    #[test]
    fn regex_that_perl_reads_otherwise_is_refused() {
        let looks = "has look-around, which takes unbounded time: match the whole path and capture what matters";
        let set = "has \"&&\", \"--\" or \"~~\" within brackets, write a backslash before each";
        for (text, reason) in [
            ("^/(?!a)", looks),
            ("^/(?=a)", looks),
            ("(?<=a)b", looks),
            ("(?<!a)b", looks),
            (r"(a)\1", "has a back reference, which takes unbounded time"),
            (r"(?<n>a)\k<n>", "has a back reference, which takes unbounded time"),
            ("a++b", "has a possessive quantifier, leave out its \"+\""),
            ("[ab]*+b", "has a possessive quantifier, leave out its \"+\""),
            ("a{2}+", "has a possessive quantifier, leave out its \"+\""),
            ("(?>a)", "has an atomic group, write (?:…)"),
            ("(?'n'a)", "names a group with quotes, write (?<name>…)"),
            ("(a(?R)?)", "calls a group again, which takes unbounded time"),
            ("(a)(?(1)b|c)", "has a condition, write two routes"),
            ("[a[b]", "has a \"[\" within brackets, write \"\\[\""),
            ("[a-c&&b]", set),
            ("[!--]", set),
            (r"\<a", "escapes \"<\" or \">\", which need none"),
        ] {
            assert_eq!(Regex::new(text, false), Err(format!("the regular expression \"{text}\" {reason}")));
        }
    }

    #[test]
    fn regex_that_is_none_or_too_large_is_refused() {
        assert_eq!(Regex::new("(a", false), Err("\"(a\" is not a regular expression: unclosed group".to_owned()));
        assert!(Regex::new(r"\p{L}", false).unwrap_err().starts_with(r#""\p{L}" is not a regular expression: "#));
        assert!(Regex::new("", false).unwrap_err().starts_with("an empty regular expression"));
        assert!(Regex::new(&"a".repeat(5000), false).unwrap_err().contains("longer than 4096 bytes"));
        assert_eq!(
            Regex::new("(a{1000}){1000}", false).unwrap_err(),
            "the regular expression \"(a{1000}){1000}\" is too large: its repetitions take more than 1 MiB"
        );
        assert!(Regex::new(&format!("{}a{}", "(".repeat(100), ")".repeat(100)), false).is_err());
    }
}
