//! `[native]`: where Fantail's own routes live.

use super::{
    error::{Problem, require},
    section::section,
};

const PREFIX: &str = "/";
const PUBLIC: bool = true;

section! {
    /// Fantail's own routes.
    pub struct Native {
        /// The path under which `sub/…` and `pub/…` live, such as `/` or `/events/`; begins and ends with `/`.
        prefix: String = PREFIX.to_owned(),
        /// Whether the public listener has them; the control listener has them always.
        public: bool = PUBLIC,
    }
}

impl Native {
    pub(super) fn validate(&self) -> Result<(), Problem> {
        let prefix = &self.prefix;
        require(
            prefix.starts_with('/') && prefix.ends_with('/') && !prefix.contains("//") && is_path(prefix),
            "native.prefix",
            format!(
                "\"{prefix}\" is not a prefix, expected a path that begins and ends with \"/\", such as \"/events/\""
            ),
        )
    }
}

/// Whether `text` can be the path of a URL, character by character.
pub(super) fn is_path(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic() && !b"?#{}\"<>\\^`|".contains(&byte))
}
