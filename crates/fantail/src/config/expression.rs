//! Text with variables in it, as nginx writes them: `$arg_id`, `/rooms/$1`, `${host}.b10`. Taken apart once; what the variables
//! are worth is asked of whoever has the request.

use thiserror::Error;

/// Text with variables in it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Expression {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Part {
    Text(Box<str>),
    Variable(Variable),
}

/// Something that a request has.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Variable {
    /// `$arg_NAME`: an argument of the query as it stands there. Its name, like that of every variable, is in lower case, for
    /// case does not matter.
    Argument(Box<str>),
    /// `$1` to `$9`: a group of the route's regular expression.
    Capture(usize),
    /// `$NAME`: a named group of it; its name as the regular expression has it.
    Group(Box<str>),
    /// `$http_NAME`: a field of the request's head; its name with `-` for `_`.
    Header(Box<str>),
    /// `$cookie_NAME`.
    Cookie(Box<str>),
    /// `$uri`: the path, decoded.
    Uri,
    /// `$args`: the query as it came.
    Arguments,
    /// `$host`: the host without its port, in lower case.
    Host,
    /// `$remote_addr`: the client's address.
    RemoteAddress,
    /// `$request_method`.
    Method,
}

/// Why a text is no expression.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ExpressionError {
    /// A variable that there is not.
    #[error(
        "unknown variable \"${name}\" in {text:?}, expected $arg_NAME, $http_NAME, $cookie_NAME, $uri, $args, $host, \
         $remote_addr, $request_method, or a group of the route's regular expression"
    )]
    Unknown {
        /// Its name.
        name: String,
        /// The whole text.
        text: String,
    },
    /// A dollar sign with no name behind it.
    #[error("\"$\" at byte {at} of {text:?} is not followed by a variable's name")]
    Nameless {
        /// Where it stands.
        at: usize,
        /// The whole text.
        text: String,
    },
    /// A brace that is not closed.
    #[error("\"${{\" at byte {at} of {text:?} is not followed by a name and \"}}\"")]
    Open {
        /// Where it stands.
        at: usize,
        /// The whole text.
        text: String,
    },
}

/// What variables are worth.
pub trait Variables {
    /// Appends a variable's value; nothing where the request has none.
    fn append(&self, variable: &Variable, out: &mut Vec<u8>);
}

impl Expression {
    /// Takes `text` apart. `groups` are the names that the route's regular expression gives to its groups.
    ///
    /// # Errors
    /// [`ExpressionError`] names the variable or the place.
    pub fn parse(text: &str, groups: &[&str]) -> Result<Self, ExpressionError> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(dollar) = rest.find('$') {
            let at = text.len() - rest.len() + dollar;
            push_text(&mut parts, &rest[..dollar]);
            let behind = &rest[dollar + 1..];
            let name;
            (name, rest) = if let Some(braced) = behind.strip_prefix('{') {
                let end = braced.find(|c: char| !is_of_name(c)).unwrap_or(braced.len());
                match braced[end..].strip_prefix('}') {
                    Some(rest) if end > 0 => (&braced[..end], rest),
                    _ => return Err(ExpressionError::Open { at, text: text.to_owned() }),
                }
            } else if behind.starts_with(|c: char| c.is_ascii_digit()) {
                // A group has one digit: `$12` is the first group and a 2.
                behind.split_at(1)
            } else {
                behind.split_at(behind.find(|c: char| !is_of_name(c)).unwrap_or(behind.len()))
            };
            if name.is_empty() {
                return Err(ExpressionError::Nameless { at, text: text.to_owned() });
            }
            let unknown = || ExpressionError::Unknown { name: name.to_owned(), text: text.to_owned() };
            parts.push(Part::Variable(Variable::named(name, groups).ok_or_else(unknown)?));
        }
        push_text(&mut parts, rest);
        Ok(Self { parts })
    }

    /// What it says of one request.
    pub fn evaluate(&self, variables: &impl Variables) -> Vec<u8> {
        let mut out = Vec::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => out.extend_from_slice(text.as_bytes()),
                Part::Variable(variable) => variables.append(variable, &mut out),
            }
        }
        out
    }

    /// The text, where it says the same of every request.
    pub fn constant(&self) -> Option<&str> {
        match self.parts.as_slice() {
            [] => Some(""),
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// The variables, in the order of the text.
    pub fn variables(&self) -> impl Iterator<Item = &Variable> {
        self.parts.iter().filter_map(|part| match part {
            Part::Text(_) => None,
            Part::Variable(variable) => Some(variable),
        })
    }
}

impl Variable {
    fn named(name: &str, groups: &[&str]) -> Option<Self> {
        // A group may have any name, that of another variable too: then it is the group.
        if let Some(group) = groups.iter().find(|group| group.eq_ignore_ascii_case(name)) {
            return Some(Self::Group((*group).into()));
        }
        let name = name.to_ascii_lowercase();
        let long = |prefix| name.strip_prefix(prefix).filter(|name| !name.is_empty());
        if let Some(name) = long("arg_") {
            return Some(Self::Argument(name.into()));
        }
        if let Some(name) = long("http_") {
            return Some(Self::Header(name.replace('_', "-").into()));
        }
        if let Some(name) = long("cookie_") {
            return Some(Self::Cookie(name.into()));
        }
        Some(match name.as_str() {
            "uri" => Self::Uri,
            "args" => Self::Arguments,
            "host" => Self::Host,
            "remote_addr" => Self::RemoteAddress,
            "request_method" => Self::Method,
            _ => return name.parse().ok().filter(|group| (1..=9).contains(group)).map(Self::Capture),
        })
    }
}

fn push_text(parts: &mut Vec<Part>, text: &str) {
    if !text.is_empty() {
        parts.push(Part::Text(text.into()));
    }
}

fn is_of_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Says which variable was asked for.
    struct Names;

    impl Variables for Names {
        fn append(&self, variable: &Variable, out: &mut Vec<u8>) {
            out.extend_from_slice(format!("<{variable:?}>").as_bytes());
        }
    }

    #[test]
    fn expression_keeps_text_and_asks_for_each_variable() {
        for (text, expected) in [
            ("", ""),
            ("news", "news"),
            ("$arg_ID", r#"<Argument("id")>"#),
            ("/a/$1.b$2", "/a/<Capture(1)>.b<Capture(2)>"),
            ("$12", "<Capture(1)>2"),
            ("${arg_id}x", r#"<Argument("id")>x"#),
            ("${1}2", "<Capture(1)>2"),
            ("$Room/$URI", r#"<Group("room")>/<Uri>"#),
            ("$http_X_Room-a", r#"<Header("x-room")>-a"#),
            ("$COOKIE_Sid;", r#"<Cookie("sid")>;"#),
            ("$args$host$remote_addr$request_method", "<Arguments><Host><RemoteAddress><Method>"),
            ("ü$1ü", "ü<Capture(1)>ü"),
        ] {
            let expression = Expression::parse(text, &["room"]).unwrap();
            assert_eq!(String::from_utf8(expression.evaluate(&Names)).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn expression_group_hides_a_variable_of_the_same_name() {
        let expression = Expression::parse("$host", &["host"]).unwrap();
        assert_eq!(expression.variables().collect::<Vec<_>>(), [&Variable::Group("host".into())]);
    }

    #[test]
    fn expression_of_text_alone_is_constant() {
        assert_eq!(Expression::parse("a b", &[]).unwrap().constant(), Some("a b"));
        assert_eq!(Expression::parse("", &[]).unwrap().constant(), Some(""));
        assert_eq!(Expression::parse("a$1", &[]).unwrap().constant(), None);
    }

    #[test]
    fn expression_refused_names_the_variable_or_the_place() {
        let refused = |text| Expression::parse(text, &[]).unwrap_err().to_string();
        for (text, name) in
            [("a/$room/b", "room"), ("$arg_", "arg_"), ("$0", "0"), ("${10}", "10"), ("$rooms", "rooms")]
        {
            assert!(
                refused(text).starts_with(&format!("unknown variable \"${name}\" in \"{text}\", expected $arg_")),
                "{text}"
            );
        }
        assert_eq!(refused("a$"), "\"$\" at byte 1 of \"a$\" is not followed by a variable's name");
        assert_eq!(refused("ü$-"), "\"$\" at byte 2 of \"ü$-\" is not followed by a variable's name");
        for text in ["${", "${}", "${a", "${a b}"] {
            let expected = format!("\"${{\" at byte 0 of {text:?} is not followed by a name and \"}}\"");
            assert_eq!(refused(text), expected);
        }
    }
}
