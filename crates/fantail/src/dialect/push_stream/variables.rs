//! What the variables of an expression are worth in one request.

use http::{HeaderMap, HeaderName};

use crate::config::{Variable, Variables};

/// The groups of a route's regular expression, as they matched.
pub trait Groups {
    /// The group with this number.
    fn numbered(&self, number: usize) -> Option<&[u8]>;
    /// The group with this name.
    fn named(&self, name: &str) -> Option<&[u8]>;
}

/// A request, as far as variables tell of it.
#[derive(Clone, Copy)]
pub struct RequestVariables<'a> {
    /// Its method.
    pub method: &'a str,
    /// Its path, decoded.
    pub uri: &'a [u8],
    /// Its query as it came, without the `?`.
    pub query: &'a str,
    /// The host that it is for, in lower case and without the port.
    pub host: &'a str,
    /// The client's address.
    pub remote_address: &'a str,
    /// Its fields.
    pub headers: &'a HeaderMap,
    /// What its route's regular expression found in its path.
    pub groups: &'a dyn Groups,
}

impl RequestVariables<'_> {
    /// The first argument of that name, not decoded.
    fn argument(&self, name: &str) -> Option<&[u8]> {
        let mut pairs = self.query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_bytes())
    }

    fn cookie(&self, name: &str) -> Option<&[u8]> {
        let fields = self.headers.get_all(http::header::COOKIE).into_iter();
        let mut pairs = fields.flat_map(|field| field.as_bytes().split(|&byte| byte == b';'));
        pairs.find_map(|pair| {
            let at = memchr::memchr(b'=', pair)?;
            let (key, value) = (pair[..at].trim_ascii(), pair[at + 1..].trim_ascii());
            key.eq_ignore_ascii_case(name.as_bytes()).then_some(value)
        })
    }
}

impl Variables for RequestVariables<'_> {
    fn append(&self, variable: &Variable, out: &mut Vec<u8>) {
        let value = match variable {
            Variable::Argument(name) => self.argument(name),
            Variable::Capture(number) => self.groups.numbered(*number),
            Variable::Group(name) => self.groups.named(name),
            Variable::Cookie(name) => self.cookie(name),
            Variable::Uri => Some(self.uri),
            Variable::Arguments => Some(self.query.as_bytes()),
            Variable::Host => Some(self.host.as_bytes()),
            Variable::RemoteAddress => Some(self.remote_address.as_bytes()),
            Variable::Method => Some(self.method.as_bytes()),
            Variable::Header(name) => {
                // A name that is none was sent by nobody. Several fields of one name are one list (RFC 9110 §5.3).
                let Ok(name) = HeaderName::try_from(&**name) else { return };
                for (number, field) in self.headers.get_all(name).into_iter().enumerate() {
                    out.extend_from_slice(if number > 0 { b", " } else { b"" });
                    out.extend_from_slice(field.as_bytes());
                }
                return;
            }
        };
        out.extend_from_slice(value.unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;
    use crate::config::Expression;

    struct Found;

    impl Groups for Found {
        fn numbered(&self, number: usize) -> Option<&[u8]> {
            [&b"whole"[..], b"one"].get(number).copied()
        }

        fn named(&self, name: &str) -> Option<&[u8]> {
            (name == "room").then_some(b"lobby")
        }
    }

    #[test]
    fn variables_tell_of_the_request() {
        let mut headers = HeaderMap::new();
        for (name, value) in [("x-room", "a"), ("x-room", "b"), ("cookie", "a=1; Sid = x=y "), ("cookie", "late=2")] {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        let request = RequestVariables {
            method: "GET",
            uri: b"/a b",
            query: "ID=a%2Fb&id=c&flag&empty=",
            host: "example.com",
            remote_address: "::1",
            headers: &headers,
            groups: &Found,
        };
        for (text, expected) in [
            ("$arg_id", "a%2Fb"),
            ("<$arg_flag$arg_empty$arg_other>", "<>"),
            ("$1-$2-$room", "one--lobby"),
            ("$http_x_room", "a, b"),
            ("<$http_other>", "<>"),
            ("$cookie_a $cookie_sid $cookie_late<$cookie_x>", "1 x=y 2<>"),
            ("$uri?$args", "/a b?ID=a%2Fb&id=c&flag&empty="),
            ("$request_method $host $remote_addr", "GET example.com ::1"),
        ] {
            let expression = Expression::parse(text, &["room"]).unwrap();
            assert_eq!(String::from_utf8(expression.evaluate(&request)).unwrap(), expected, "{text}");
        }
    }
}
