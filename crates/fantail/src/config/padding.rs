//! Which clients need filler behind short pieces of a stream, by their `User-Agent`: `REGEX,HEADER_MIN,MESSAGE_MIN`, several of
//! them with `:` between. What the filler is made of is not known here.

use thiserror::Error;

use super::regex::Regex;

/// Who is to be sent how much at least.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Padding {
    text: Box<str>,
    rules: Box<[(Regex, Least)]>,
}

/// How much a piece of a stream has at least, in bytes; 0 is no matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Least {
    /// Behind the header template.
    pub header: usize,
    /// Behind each message.
    pub message: usize,
}

/// Why a text says nothing about padding.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PaddingError {
    /// It is not built as it should be.
    #[error("\"{part}\" is not REGEX,HEADER_MIN,MESSAGE_MIN with two whole numbers")]
    Shape {
        /// From the first place on that is not.
        part: String,
    },
    /// A regular expression that cannot be used; the text says which and why.
    #[error("{0}")]
    Pattern(String),
}

impl Padding {
    /// The most that may be asked for, so that one message does not become a megabyte.
    const MOST: usize = 1 << 16;

    /// Reads such a text; the empty one is no padding. A regular expression may itself hold commas and colons: it ends where two
    /// numbers follow.
    ///
    /// # Errors
    /// [`PaddingError`] says which part is wrong.
    pub fn parse(text: &str) -> Result<Self, PaddingError> {
        let (mut rules, mut rest) = (Vec::new(), (!text.is_empty()).then_some(text));
        while let Some(part) = rest {
            let rule;
            (rule, rest) = rule_of(part).ok_or_else(|| PaddingError::Shape { part: part.to_owned() })?;
            let (pattern, least) = rule;
            rules.push((Regex::new(pattern, false).map_err(PaddingError::Pattern)?, least));
        }
        Ok(Self { text: text.into(), rules: rules.into() })
    }

    /// What a client with this `User-Agent` is to be sent: the first rule that fits it decides.
    pub fn choose(&self, user_agent: &[u8]) -> Option<Least> {
        self.rules.iter().find(|(pattern, _)| pattern.is_match(user_agent)).map(|(_, least)| *least)
    }

    /// The largest number in it.
    pub fn largest(&self) -> usize {
        self.rules.iter().map(|(_, least)| least.header.max(least.message)).max().unwrap_or(0)
    }

    /// The text that it was read from.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

/// The first rule of `text`, and what follows the colon behind it.
fn rule_of(text: &str) -> Option<((&str, Least), Option<&str>)> {
    let mut ends = text.match_indices(':').map(|(at, _)| at).chain([text.len()]);
    let (pattern, least, end) = ends.find_map(|end| {
        let mut fields = text[..end].rsplitn(3, ',');
        let mut number = || {
            let digits = fields.next().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?;
            digits.parse().ok().filter(|number| *number <= Padding::MOST)
        };
        let (message, header) = (number()?, number()?);
        Some((fields.next()?, Least { header, message }, end))
    })?;
    (!pattern.is_empty()).then_some(((pattern, least), text.get(end + 1..)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_is_chosen_by_the_first_pattern_that_fits() {
        let padding = Padding::parse("[Mm]obile,100,200:MSIE (?:6|7),0,30:a,b,4,5:.,1,2").unwrap();
        let chosen = |agent: &str| padding.choose(agent.as_bytes()).map(|least| (least.header, least.message));
        assert_eq!(chosen("a mobile MSIE 6"), Some((100, 200)));
        assert_eq!(chosen("MSIE 7.0"), Some((0, 30)));
        assert_eq!(chosen("xa,b"), Some((4, 5)));
        assert_eq!(chosen("MOBILE"), Some((1, 2)));
        assert_eq!(chosen(""), None);
        assert_eq!(padding.largest(), 200);
    }

    #[test]
    fn padding_without_text_is_none() {
        let padding = Padding::parse("").unwrap();
        assert_eq!((padding.choose(b"x"), padding.largest()), (None, 0));
    }

    #[test]
    fn padding_refused_names_the_part() {
        for (text, part) in [
            ("x", "x"),
            ("x,1", "x,1"),
            (",1,2", ",1,2"),
            (",1,2:x,3,4", ",1,2:x,3,4"),
            ("x,1,a", "x,1,a"),
            ("x,-1,2", "x,-1,2"),
            ("x,,2", "x,,2"),
            ("x,1,65537", "x,1,65537"),
            ("x,1,2:", ""),
            ("x,1,2:y,3", "y,3"),
        ] {
            let expected = format!("\"{part}\" is not REGEX,HEADER_MIN,MESSAGE_MIN with two whole numbers");
            assert_eq!(Padding::parse(text).unwrap_err().to_string(), expected, "{text}");
        }
        let error = Padding::parse("(x,1,2").unwrap_err().to_string();
        assert!(error.starts_with("\"(x\" is not a regular expression: "), "{error}");
    }
}
