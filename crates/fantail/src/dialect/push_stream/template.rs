//! Templates: text in which tokens between tildes stand for parts of a message. Parsed once; what is put in place of a token is
//! not looked at again, so that a message may say `~text~` itself.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use fantail_hub::{Millis, Position};

/// A message as templates see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Its number in its channel; below zero for what nobody published.
    pub number: i64,
    /// What it says; it need not be text.
    pub text: &'a [u8],
    /// The id of its channel, as clients know it.
    pub channel: &'a str,
    /// When it was published; seconds are shown.
    pub time: Millis,
    /// What tells it from others of the same second.
    pub tag: u64,
    /// The publisher's own id, which may be empty.
    pub event_id: Option<&'a str>,
    /// What kind of event it is.
    pub event_type: Option<&'a str>,
    /// Where it stands, for an event stream to resume from where there is no `event_id`.
    pub position: Option<Position>,
}

impl<'a> Entry<'a> {
    /// What a silent stream is sent.
    pub fn ping(text: &'a str) -> Self {
        Self {
            number: -1,
            text: text.as_bytes(),
            channel: "",
            time: Millis(0),
            tag: 0,
            event_id: None,
            event_type: None,
            position: None,
        }
    }

    /// What subscribers are told of a channel that was deleted.
    pub fn deleted(channel: &'a str, text: &'a [u8]) -> Self {
        Self { number: -2, channel, text, ..Self::ping("") }
    }

    /// What a long poll that waited in vain is told, where it is told anything.
    pub fn timeout() -> Self {
        Self { number: -3, ..Self::ping("Timed out") }
    }
}

/// Text with tokens in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    parts: Box<[Part]>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(Box<str>),
    Token(Token),
    /// A token's value as the inside of a JSON string.
    Json(Token),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    Id,
    Text,
    Size,
    Channel,
    Time,
    Tag,
    EventId,
    EventType,
}

/// How tokens are written, in lower case.
const TOKENS: [(&str, Token); 8] = [
    ("id~", Token::Id),
    ("text~", Token::Text),
    ("size~", Token::Size),
    ("channel~", Token::Channel),
    ("time~", Token::Time),
    ("tag~", Token::Tag),
    ("event-id~", Token::EventId),
    ("event-type~", Token::EventType),
];

/// Before a token's name: its value is to be escaped.
const JSON: &str = "json-";

impl Template {
    /// Takes `text` apart. What is no token stands for itself. `~json-text~` and the like, whose values are escaped so that they can
    /// stand in a string of JSON or JavaScript, are not the module's: there are none strictly.
    pub fn parse(text: &str, strict: bool) -> Self {
        let (mut parts, mut plain) = (Vec::new(), String::new());
        let mut rest = text;
        while let Some(at) = rest.find('~') {
            plain.push_str(&rest[..at]);
            let behind = &rest[at + 1..];
            let json = (!strict).then(|| after(behind, JSON)).flatten();
            let escaped = json.and_then(token).map(|(token, rest)| (Part::Json(token), rest));
            let found = escaped.or_else(|| token(behind).map(|(token, rest)| (Part::Token(token), rest)));
            rest = if let Some((part, rest)) = found {
                push_text(&mut parts, &mut plain);
                parts.push(part);
                rest
            } else {
                plain.push('~');
                behind
            };
        }
        plain.push_str(rest);
        push_text(&mut parts, &mut plain);
        Self { parts: parts.into() }
    }

    /// Appends the template as one message has it.
    pub fn render(&self, out: &mut Vec<u8>, entry: &Entry<'_>) {
        self.render_with(out, entry, entry.text);
    }

    /// The same with another text, such as one of the message's lines.
    pub(super) fn render_with(&self, out: &mut Vec<u8>, entry: &Entry<'_>, text: &[u8]) {
        for part in &self.parts {
            match part {
                Part::Text(plain) => out.extend_from_slice(plain.as_bytes()),
                Part::Token(token) => out.extend_from_slice(token.value(entry, text).as_bytes()),
                Part::Json(token) => write_escaped(out, token.value(entry, text).as_bytes()),
            }
        }
    }
}

/// A token's value.
enum Value<'a> {
    Borrowed(&'a [u8]),
    Made(String),
}

impl Value<'_> {
    fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Borrowed(bytes) => bytes,
            Self::Made(text) => text.as_bytes(),
        }
    }
}

impl Token {
    fn value<'a>(self, entry: &Entry<'a>, text: &'a [u8]) -> Value<'a> {
        match self {
            Self::Text => Value::Borrowed(text),
            Self::Channel => Value::Borrowed(entry.channel.as_bytes()),
            Self::EventId => Value::Borrowed(entry.event_id.unwrap_or_default().as_bytes()),
            Self::EventType => Value::Borrowed(entry.event_type.unwrap_or_default().as_bytes()),
            Self::Id => Value::Made(entry.number.to_string()),
            Self::Size => Value::Made(text.len().to_string()),
            Self::Tag => Value::Made(entry.tag.to_string()),
            Self::Time => Value::Made(http_date(entry.time.0 / 1000)),
        }
    }
}

/// A time in seconds as HTTP writes it.
pub(super) fn http_date(seconds: u64) -> String {
    /// The last second that has four digits for its year, which is as far as the format goes.
    const LAST: u64 = 253_402_300_799;
    httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.min(LAST)))
}

/// The inside of a JSON string. What could end a string, an attribute or an element of the page that it stands in is escaped too.
/// JSON is text: what is none is replaced.
fn write_escaped(out: &mut Vec<u8>, bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' => escaped.push_str("\\\""),
            '\\' => escaped.push_str("\\\\"),
            '\n' => escaped.push_str("\\n"),
            '\r' => escaped.push_str("\\r"),
            '\t' => escaped.push_str("\\t"),
            '\0'..='\x1f' | '\x7f' | '<' | '>' | '&' | '\'' | '\u{2028}' | '\u{2029}' => {
                // Writing to a String cannot fail.
                let _ = write!(escaped, "\\u{:04x}", u32::from(c));
            }
            _ => escaped.push(c),
        }
    }
    out.extend_from_slice(escaped.as_bytes());
}

/// The token at the start of `text`, whose first tilde was seen, and what follows it.
fn token(text: &str) -> Option<(Token, &str)> {
    TOKENS.iter().find_map(|&(name, token)| Some((token, after(text, name)?)))
}

/// What follows `prefix`, whatever its case.
fn after<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let (start, rest) = text.split_at_checked(prefix.len())?;
    start.eq_ignore_ascii_case(prefix).then_some(rest)
}

fn push_text(parts: &mut Vec<Part>, plain: &mut String) {
    if !plain.is_empty() {
        parts.push(Part::Text(std::mem::take(plain).into()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENTRY: Entry<'_> = Entry {
        number: 7,
        text: "a~id~ü".as_bytes(),
        channel: "ch1",
        time: Millis(1_795_359_029_999),
        tag: 42,
        event_id: Some("e1"),
        event_type: Some("ty"),
        position: None,
    };

    fn rendered(template: &str, strict: bool, entry: &Entry<'_>) -> String {
        let mut out = b"before|".to_vec();
        Template::parse(template, strict).render(&mut out, entry);
        String::from_utf8(out).unwrap().strip_prefix("before|").unwrap().to_owned()
    }

    #[test]
    fn template_puts_in_each_token() {
        for (template, expected) in [
            ("~id~", "7"),
            ("~text~", "a~id~ü"),
            ("~size~", "7"),
            ("~channel~", "ch1"),
            ("~time~", "Sun, 22 Nov 2026 14:50:29 GMT"),
            ("~tag~", "42"),
            ("~event-id~", "e1"),
            ("~event-type~", "ty"),
            ("~ID~~Text~~EVENT-id~", "7a~id~üe1"),
            ("~id~~id~ ~id~", "77 7"),
            ("~x~ ~ ~id ~~id~~", "~x~ ~ ~id ~7~"),
            ("~event-id~id~", "e1id~"),
            ("ü~id~ü", "ü7ü"),
            ("", ""),
            ("none", "none"),
        ] {
            for strict in [true, false] {
                assert_eq!(rendered(template, strict, &ENTRY), expected, "{template}");
            }
        }
    }

    #[test]
    fn template_without_id_and_type_leaves_them_empty() {
        let entry = Entry { event_id: None, event_type: None, ..ENTRY };
        assert_eq!(rendered("<~event-id~:~event-type~>", true, &entry), "<:>");
    }

    #[test]
    fn template_of_what_nobody_published_has_its_own_numbers() {
        let all = "~id~:~channel~:~text~:~size~:~tag~:~time~:~event-id~:~event-type~";
        for (entry, expected) in [
            (Entry::ping(" "), "-1:: :1:0:Thu, 01 Jan 1970 00:00:00 GMT::"),
            (Entry::deleted("ch", b"Channel deleted"), "-2:ch:Channel deleted:15:0:Thu, 01 Jan 1970 00:00:00 GMT::"),
            (Entry::timeout(), "-3::Timed out:9:0:Thu, 01 Jan 1970 00:00:00 GMT::"),
        ] {
            assert_eq!(rendered(all, true, &entry), expected);
        }
        let entry = Entry::ping(" ");
        assert_eq!(
            rendered("<~id~:~channel~:~text~:~tag~:~time~>", true, &entry),
            "<-1:: :0:Thu, 01 Jan 1970 00:00:00 GMT>"
        );
    }

    #[test]
    fn template_escapes_nothing_unless_it_is_told_to() {
        let text = "\"\\\n\t\u{1}</script>'\u{2028}é";
        let entry = Entry { text: text.as_bytes(), ..ENTRY };
        assert_eq!(rendered("\"~text~\"", false, &entry), format!("\"{text}\""));
        let escaped = rendered("\"~JSON-text~\"", false, &entry);
        assert_eq!(escaped, "\"\\\"\\\\\\n\\t\\u0001\\u003c/script\\u003e\\u0027\\u2028é\"");
        assert_eq!(serde_json::from_str::<String>(&escaped).unwrap(), text);
        assert_eq!(rendered("~json-text~ ~json-x~", true, &entry), "~json-text~ ~json-x~");
        assert_eq!(rendered("~json-size~ ~json-x~", false, &entry), format!("{} ~json-x~", text.len()));
    }

    #[test]
    fn template_of_a_time_beyond_the_format_is_its_last() {
        let entry = Entry { time: Millis(u64::MAX), ..ENTRY };
        assert_eq!(rendered("~time~", true, &entry), "Fri, 31 Dec 9999 23:59:59 GMT");
    }
}
