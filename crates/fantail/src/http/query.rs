//! The query string, decoded once: names and values as a form encodes them (`+` is a space).

use std::borrow::Cow;
use std::time::Duration;

use percent_encoding::percent_decode_str;

use super::error::Refusal;
use crate::dialect::moment::parse_span;

/// The parameters of one request.
#[derive(Debug, Clone, Copy)]
pub struct Query<'a>(&'a str);

impl<'a> Query<'a> {
    /// The query of a URI, without its `?`.
    pub fn of(uri: &'a http::Uri) -> Self {
        Self(uri.query().unwrap_or(""))
    }

    /// The first value of a parameter; bytes that are not UTF-8 become U+FFFD, which no parameter of ours allows.
    pub fn get(self, name: &str) -> Option<Cow<'a, str>> {
        self.0.split('&').find_map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(key) == name).then(|| decode(value))
        })
    }

    /// A parameter as a whole number.
    pub fn number(self, name: &'static str) -> Result<Option<usize>, Refusal> {
        self.parsed(name, "a whole number", |value| value.parse().ok())
    }

    /// A parameter as a span of time.
    pub fn span(self, name: &'static str) -> Result<Option<Duration>, Refusal> {
        self.parsed(name, "a span of time such as 30s, 10m or 2h", parse_span)
    }

    /// A parameter as a switch: `1` or `0`.
    pub fn switch(self, name: &'static str) -> Result<Option<bool>, Refusal> {
        self.parsed(name, "0 or 1", |value| match value {
            "1" | "true" => Some(true),
            "0" | "false" => Some(false),
            _ => None,
        })
    }

    /// A parameter in a shape of its own.
    pub fn parsed<T>(
        self,
        name: &'static str,
        expected: &'static str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, Refusal> {
        let Some(value) = self.get(name) else { return Ok(None) };
        match parse(&value) {
            Some(parsed) => Ok(Some(parsed)),
            None => Err(Refusal::Parameter { name, value: value.into_owned(), expected }),
        }
    }
}

fn decode(text: &str) -> Cow<'_, str> {
    if !text.contains(['%', '+']) {
        return Cow::Borrowed(text);
    }
    let spaced = text.replace('+', " ");
    Cow::Owned(percent_decode_str(&spaced).decode_utf8_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn get_decodes_once_and_takes_the_first() {
        let query = Query("a=1&b=x%2Fy+z&a=2&c&d=%2525&%61b=q");
        assert_eq!(query.get("a").as_deref(), Some("1"));
        assert_eq!(query.get("b").as_deref(), Some("x/y z"));
        assert_eq!(query.get("c").as_deref(), Some(""));
        assert_eq!(query.get("d").as_deref(), Some("%25"));
        assert_eq!(query.get("ab").as_deref(), Some("q"));
        assert_eq!(query.get("e"), None);
    }

    #[test]
    fn bad_values_are_named() {
        let error = Query("last=x").number("last").unwrap_err();
        assert_eq!(error.to_string(), "parameter last=\"x\" is not a whole number");
    }
}
