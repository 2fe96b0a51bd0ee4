//! `[cors]`: which pages may subscribe.

use super::{
    Span,
    error::{Problem, require},
    section::section,
};

const ANY: &str = "*";
const CREDENTIALS: bool = false;
const MAX_AGE: Span = Span::secs(86_400);

section! {
    /// Which pages of other origins may subscribe on the public listener.
    pub struct Cors {
        /// The origins, such as `https://app.example.com`; `*` means all, an empty list means none.
        origins: Vec<String> = vec![ANY.to_owned()],
        /// Whether browsers may send cookies; needs the origins to be listed.
        credentials: bool = CREDENTIALS,
        /// How long browsers may remember the answer to a preflight request.
        max_age: Span = MAX_AGE,
    }
}

impl Cors {
    pub(super) fn validate(&self) -> Result<(), Problem> {
        for (index, origin) in self.origins.iter().enumerate() {
            require(
                origin == ANY || origin == "null" || is_origin(origin),
                format!("cors.origins[{index}]"),
                format!(
                    "\"{origin}\" is not an origin, expected \"*\" or a scheme, a host in lower case and perhaps a port, \
                     such as \"https://app.example.com\""
                ),
            )?;
        }
        require(
            !(self.credentials && self.origins.iter().any(|origin| origin == ANY)),
            "cors.credentials",
            "cannot be true while cors.origins holds \"*\", list the origins that may send cookies",
        )
    }
}

/// Whether `text` looks as browsers write an origin: without a path, and in lower case.
fn is_origin(text: &str) -> bool {
    text.split_once("://").is_some_and(|(scheme, host)| {
        !scheme.is_empty()
            && !host.is_empty()
            && text.bytes().all(|byte| byte.is_ascii_graphic() && !byte.is_ascii_uppercase())
            && !host.contains(['/', '?', '#', '@', '*'])
    })
}
