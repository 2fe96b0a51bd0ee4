//! The list syntax of GRIP's fields: elements between commas, each a value and parameters between semicolons, any of which
//! may be quoted.

/// One element of a field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Element {
    pub(super) value: String,
    /// In their order; names in lower case, since a name may repeat.
    pub(super) params: Vec<(String, String)>,
}

/// The elements of a field's text; empty ones are passed over.
pub(super) fn elements(text: &str) -> impl Iterator<Item = Element> {
    split(text, ',').filter(|element| !element.is_empty()).map(|element| {
        let mut parts = split(element, ';');
        let value = unquote(parts.next().unwrap_or_default());
        let params = parts.filter(|param| !param.is_empty()).map(pair).collect();
        Element { value, params }
    })
}

/// The pairs of a field that holds nothing else, such as `a="1", b=2`. Names are kept as they are.
pub(super) fn pairs(text: &str) -> impl Iterator<Item = (String, String)> {
    split(text, ',').filter(|element| !element.is_empty()).map(|element| {
        let (name, value) = element.split_once('=').unwrap_or((element, ""));
        (name.trim().to_owned(), unquote(value.trim()))
    })
}

fn pair(text: &str) -> (String, String) {
    let (name, value) = text.split_once('=').unwrap_or((text, ""));
    (name.trim().to_ascii_lowercase(), unquote(value.trim()))
}

/// The parts between separators that do not stand in quotes, trimmed.
fn split(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(move |c| {
        let separates = c == separator && !quoted;
        if c == '"' && !escaped {
            quoted = !quoted;
        }
        escaped = quoted && c == '\\' && !escaped;
        separates
    })
    .map(str::trim)
}

/// What stands between quotes, if it is quoted. GRIP's libraries escape quotes and nothing else, so that any other backslash
/// stands for itself.
fn unquote(text: &str) -> String {
    match text.strip_prefix('"').and_then(|text| text.strip_suffix('"')) {
        Some(inner) => inner.replace("\\\"", "\""),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn element(value: &str, params: &[(&str, &str)]) -> Element {
        let params = params.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Element { value: value.to_owned(), params }
    }

    #[test]
    fn elements_are_split_outside_quotes() {
        let all: Vec<_> = elements(r#"a; prev-id=1; FILTER=x ;filter="y, z" , "b;,\"c" ;q="a\\";r=2,, d"#).collect();
        assert_eq!(
            all,
            [
                element("a", &[("prev-id", "1"), ("filter", "x"), ("filter", "y, z")]),
                element("b;,\"c", &[("q", r"a\\"), ("r", "2")]),
                element("d", &[]),
            ]
        );
        assert_eq!(elements(" , ").count(), 0);
    }

    #[test]
    fn pairs_keep_names_and_lone_backslashes() {
        let all: Vec<_> = pairs(r#"User="a\"b, c", dir=x\y,flag"#).collect();
        let text = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(all, [text("User", "a\"b, c"), text("dir", r"x\y"), text("flag", "")]);
    }
}
