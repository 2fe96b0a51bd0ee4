//! `[[key]]`: keys with which applications publish.

use super::{
    error::{Problem, require},
    section::section,
};

/// The bytes of a SHA-256 in hexadecimal digits.
const DIGITS: usize = 64;

section! {
    /// A key with which an application publishes: a text that only it has (`sha256`), or its client certificate
    /// (`certificate`).
    pub struct Key {
        /// What it is called in the log; required.
        name: String = String::new(),
        /// The SHA-256 of the key, in hexadecimal digits; `fantail token key` makes a key and prints this. It is sent as
        /// `Authorization: Bearer KEY`.
        sha256: Option<String> = None,
        /// A name of the client certificate with which the publisher connects, as it stands there.
        certificate: Option<String> = None,
        /// The channels to which it may publish; required. `*` stands for one level of a name, `**` for all levels from there on:
        /// `orders.*`, `user.42.**`.
        channels: Vec<String> = Vec::new(),
    }
}

impl Key {
    pub(super) fn validate_all(all: &[Self]) -> Result<(), Problem> {
        for (index, key) in all.iter().enumerate() {
            key.validate(&format!("key[{index}]"))?;
            let twin = all[..index].iter().find(|earlier| {
                (key.sha256.is_some() && earlier.sha256 == key.sha256)
                    || (key.certificate.is_some() && earlier.certificate == key.certificate)
            });
            if let Some(twin) = twin {
                let setting = if key.sha256.is_some() { "sha256" } else { "certificate" };
                let reason = format!("has been given before, as that of \"{}\"", twin.name);
                return Err(Problem { key: format!("key[{index}].{setting}"), reason });
            }
        }
        Ok(())
    }

    fn validate(&self, section: &str) -> Result<(), Problem> {
        let key = |name: &str| format!("{section}.{name}");
        require(!self.name.is_empty(), key("name"), "is required, what the key is called in the log")?;
        match (&self.sha256, &self.certificate) {
            (Some(hash), None) => require(
                hash.len() == DIGITS && hash.bytes().all(|byte| byte.is_ascii_hexdigit()),
                key("sha256"),
                // SECURITY: the value is not shown, as somebody may have put the key itself there.
                "is not the SHA-256 of a key, expected its 64 hexadecimal digits as \"fantail token key\" prints them (the value \
                 is not shown)",
            )?,
            (None, Some(name)) => require(!name.is_empty(), key("certificate"), "must not be empty")?,
            (None, None) => {
                return Err(Problem {
                    key: key("sha256"),
                    reason: "is required, or certificate in its place; \"fantail token key\" makes a key and prints it"
                        .to_owned(),
                });
            }
            (Some(_), Some(_)) => {
                let reason = "cannot be given together with sha256; write a [[key]] for each".to_owned();
                return Err(Problem { key: key("certificate"), reason });
            }
        }
        require(
            !self.channels.is_empty(),
            key("channels"),
            "is required, patterns such as [\"orders.*\"], or [\"**\"] for every channel",
        )?;
        for (index, pattern) in self.channels.iter().enumerate() {
            require(is_pattern(pattern), key(&format!("channels[{index}]")), wrong_pattern(pattern))?;
        }
        Ok(())
    }
}

/// Whether `text` is a pattern of channel names: levels separated by dots, of which some are `*` and the last may be `**`.
fn is_pattern(text: &str) -> bool {
    has_whole_stars(text) && !text.contains(|c: char| c == '/' || c.is_control())
}

/// Whether the stars of `text` stand for whole levels between dots, and two of them for the last.
pub fn has_whole_stars(text: &str) -> bool {
    let last = text.split('.').count() - 1;
    !text.is_empty()
        && text.split('.').enumerate().all(|(at, level)| match level {
            "*" => true,
            "**" => at == last,
            level => !level.contains('*'),
        })
}

fn wrong_pattern(pattern: &str) -> String {
    format!(
        "{pattern:?} is not a pattern of channel names: \"*\" stands for a whole level between dots, \"**\" for all levels at the \
         end, such as \"orders.*\" or \"user.42.**\""
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    const HASH: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

    #[test]
    fn pattern_of_levels_has_stars_only_as_whole_levels() {
        for pattern in ["a", "orders.*", "user.42.**", "**", "*", "*.a.*", "a b.ü", "a..b"] {
            assert!(is_pattern(pattern), "{pattern}");
        }
        for pattern in ["", "a*", "user-*", "**.a", "a.***", "a/b", "a\nb"] {
            assert!(!is_pattern(pattern), "{pattern:?}");
        }
    }

    #[test]
    fn key_that_is_wrong_is_refused_with_its_line() {
        let name = "[[key]]\nname = 'a'\n";
        for (text, error) in [
            ("[[key]]\nsha256 = 'x'\n", "1: key[0].name: is required, what the key is called in the log"),
            (
                name,
                "1: key[0].sha256: is required, or certificate in its place; \"fantail token key\" makes a key and prints it",
            ),
            (
                &format!("{name}sha256 = 'hunter2'\n"),
                "3: key[0].sha256: is not the SHA-256 of a key, expected its 64 hexadecimal digits as \"fantail token key\" prints \
                 them (the value is not shown)",
            ),
            (
                &format!("{name}sha256 = '{HASH}'\ncertificate = 'x'\n"),
                "4: key[0].certificate: cannot be given together with sha256; write a [[key]] for each",
            ),
            (
                &format!("{name}sha256 = '{HASH}'\n"),
                "1: key[0].channels: is required, patterns such as [\"orders.*\"], or [\"**\"] for every channel",
            ),
            (
                &format!("{name}sha256 = '{HASH}'\nchannels = ['a', 'user-*']\n"),
                "4: key[0].channels[1]: \"user-*\" is not a pattern of channel names: \"*\" stands for a whole level between dots, \
                 \"**\" for all levels at the end, such as \"orders.*\" or \"user.42.**\"",
            ),
            (
                &format!(
                    "{name}sha256 = '{HASH}'\nchannels = ['a']\n[[key]]\nname = 'b'\nsha256 = '{HASH}'\nchannels = ['b']\n"
                ),
                "7: key[1].sha256: has been given before, as that of \"a\"",
            ),
        ] {
            assert_eq!(Config::from_toml(text).unwrap_err().to_string(), format!("fantail.toml:{error}"));
        }
    }
}
