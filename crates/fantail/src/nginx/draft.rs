//! The configuration that is printed: sections in an order that reads well, comments, and values as people write them.

use std::fmt::{self, Write as _};

/// The sections, in the order in which they are printed.
const SECTIONS: [&str; 9] = ["listen", "control", "native", "stream", "hub", "push_stream", "proxy", "stop", "log"];

/// A value, written as TOML.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Value(String);

impl Value {
    /// Text; with single quotes where that saves backslashes.
    pub(super) fn text(text: &str) -> Self {
        let quotable = !text.contains('\'') && !text.contains(char::is_control);
        if quotable && text.contains(['\\', '"']) {
            return Self(format!("'{text}'"));
        }
        let mut written = String::from('"');
        for character in text.chars() {
            match character {
                '"' => written.push_str("\\\""),
                '\\' => written.push_str("\\\\"),
                '\n' => written.push_str("\\n"),
                '\r' => written.push_str("\\r"),
                '\t' => written.push_str("\\t"),
                control if control.is_control() => {
                    let _ = write!(written, "\\u{:04X}", u32::from(control));
                }
                plain => written.push(plain),
            }
        }
        written.push('"');
        Self(written)
    }

    /// A number, `true` or `false`.
    pub(super) fn plain(value: impl fmt::Display) -> Self {
        Self(value.to_string())
    }

    /// A list of texts, on one line if it is short.
    pub(super) fn list<T: AsRef<str>>(texts: impl IntoIterator<Item = T>) -> Self {
        let items: Vec<String> = texts.into_iter().map(|text| Self::text(text.as_ref()).0).collect();
        let line = format!("[{}]", items.join(", "));
        if line.len() <= 100 { Self(line) } else { Self(format!("[\n    {},\n]", items.join(",\n    "))) }
    }

    /// A table of texts.
    pub(super) fn table(fields: &[(String, String)]) -> Self {
        let is_bare = |name: &str| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
        let key = |name: &str| if is_bare(name) { name.to_owned() } else { Self::text(name).0 };
        let fields: Vec<String> =
            fields.iter().map(|(name, value)| format!("{} = {}", key(name), Self::text(value).0)).collect();
        Self(format!("{{ {} }}", fields.join(", ")))
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A table of settings, with the comments that stand above it and behind its lines.
#[derive(Debug, Clone, Default)]
pub(super) struct Table {
    comments: Vec<String>,
    lines: Vec<(String, Value, Option<String>)>,
}

impl Table {
    /// A comment above the table.
    pub(super) fn comment(&mut self, text: impl Into<String>) {
        let text = text.into();
        if !self.comments.contains(&text) {
            self.comments.push(text);
        }
    }

    pub(super) fn set(&mut self, key: &str, value: Value) {
        self.put(key, value, None);
    }

    /// A setting with a comment above its line.
    pub(super) fn set_with(&mut self, key: &str, value: Value, comment: impl Into<String>) {
        self.put(key, value, Some(comment.into()));
    }

    /// A setting that stands above those that are there.
    pub(super) fn set_first(&mut self, key: &str, value: Value) {
        self.lines.insert(0, (key.to_owned(), value, None));
    }

    pub(super) fn value(&self, key: &str) -> Option<&Value> {
        self.lines.iter().find(|(name, _, _)| name == key).map(|(_, value, _)| value)
    }

    pub(super) fn remove(&mut self, key: &str) {
        self.lines.retain(|(name, _, _)| name != key);
    }

    /// Takes over the settings of another table; a setting that is there keeps its place.
    pub(super) fn extend(&mut self, other: &Self) {
        for (key, value, comment) in &other.lines {
            self.put(key, value.clone(), comment.clone());
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    fn put(&mut self, key: &str, value: Value, comment: Option<String>) {
        match self.lines.iter_mut().find(|(name, _, _)| name == key) {
            Some(line) => (line.1, line.2) = (value, comment.or(line.2.take())),
            None => self.lines.push((key.to_owned(), value, comment)),
        }
    }

    fn print(&self, header: &str, out: &mut String) {
        out.push('\n');
        for comment in &self.comments {
            wrap(comment, out);
        }
        out.push_str(header);
        out.push('\n');
        for (key, Value(value), comment) in &self.lines {
            if let Some(comment) = comment {
                wrap(comment, out);
            }
            let _ = writeln!(out, "{key} = {value}");
        }
    }
}

/// Writes a comment in lines that are not too long.
fn wrap(comment: &str, out: &mut String) {
    let mut width = 0;
    for word in comment.split_whitespace() {
        if width == 0 || width + word.len() >= 100 {
            if width > 0 {
                out.push('\n');
            }
            out.push('#');
            width = 1;
        }
        out.push(' ');
        out.push_str(word);
        width += 1 + word.len();
    }
    out.push('\n');
}

/// A configuration that is being written.
#[derive(Debug, Default)]
pub(super) struct Draft {
    head: Vec<String>,
    sections: Vec<(&'static str, Table)>,
    pub routes: Vec<Table>,
    pub upstreams: Vec<(String, Table)>,
}

impl Draft {
    /// A comment at the beginning of the file.
    pub(super) fn head(&mut self, text: impl Into<String>) {
        self.head.push(text.into());
    }

    pub(super) fn section(&mut self, name: &'static str) -> &mut Table {
        let index = self.sections.iter().position(|(known, _)| *known == name).unwrap_or_else(|| {
            self.sections.push((name, Table::default()));
            self.sections.len() - 1
        });
        &mut self.sections[index].1
    }
}

impl fmt::Display for Draft {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = String::new();
        for comment in &self.head {
            wrap(comment, &mut out);
        }
        let place = |name: &str| SECTIONS.iter().position(|known| *known == name);
        let mut sections: Vec<_> = self.sections.iter().filter(|(_, table)| !table.is_empty()).collect();
        sections.sort_by_key(|(name, _)| place(name));
        for (name, table) in sections {
            table.print(&format!("[{name}]"), &mut out);
        }
        for route in &self.routes {
            route.print("[[route]]", &mut out);
        }
        for (name, upstream) in &self.upstreams {
            upstream.print(&format!("[upstream.{name}]"), &mut out);
        }
        f.write_str(&out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draft_prints_what_a_person_would_write() {
        let mut draft = Draft::default();
        draft.head("Made by hand.");
        draft.section("log").set("level", Value::text("warn"));
        draft.section("listen").set_with("public", Value::text("0.0.0.0:80"), "for everyone");
        draft.section("hub");
        let mut route = Table::default();
        route.set("path", Value::text(r"~ \.x$"));
        route.set(
            "set_request",
            Value::table(&[("A-B".to_owned(), "c\"d".to_owned()), ("e f".to_owned(), String::new())]),
        );
        draft.routes.push(route);
        let text = draft.to_string();
        assert_eq!(
            text,
            "# Made by hand.\n\n[listen]\n# for everyone\npublic = \"0.0.0.0:80\"\n\n[log]\nlevel = \"warn\"\n\n[[route]]\n\
             path = '~ \\.x$'\nset_request = { A-B = 'c\"d', \"e f\" = \"\" }\n"
        );
    }

    #[test]
    fn value_reads_back_as_it_was() {
        for text in ["", "a'b\\c\"", "\u{1}\n\t\r\u{7f}", "ü'", r"^/a\d'", "\\"] {
            let table: toml::Table = format!("a = {}", Value::text(text).0).parse().unwrap();
            assert_eq!(table["a"].as_str(), Some(text), "{text:?}");
        }
        let long: Vec<String> = (0..20).map(|n| format!("http://10.0.0.{n}:80")).collect();
        let table: toml::Table = format!("a = {}", Value::list(&long).0).parse().unwrap();
        assert_eq!(table["a"].as_array().map(Vec::len), Some(20));
    }
}
