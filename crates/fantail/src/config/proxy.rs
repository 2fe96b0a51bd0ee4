//! `[proxy]`: what holds for all proxied requests.

use super::{
    Secret,
    error::{Problem, require},
    header::is_token,
    section::section,
};

const NAME: &str = "fantail";
const GRIP_ISSUER: &str = "fantail";

section! {
    /// What holds for all proxied requests.
    pub struct Proxy {
        /// The name under which Fantail shows itself in `Via`, and by which it sees that a request goes round in circles.
        name: String = NAME.to_owned(),
        /// The key that signs `Grip-Sig`, by which upstreams know that a GRIP proxy is there; none means that it is not sent.
        /// Tokens signed with it may publish at `/publish/`. `base64:` in front means that bytes follow.
        grip_key: Option<Secret> = None,
        /// The issuer (`iss`) that `Grip-Sig` names.
        grip_issuer: String = GRIP_ISSUER.to_owned(),
    }
}

impl Proxy {
    pub(super) fn validate(&self) -> Result<(), Problem> {
        require(
            is_token(&self.name),
            "proxy.name",
            format!("{:?} is not a name, expected letters and digits without spaces, such as \"fantail\"", self.name),
        )?;
        let key = self.grip_key.as_ref().map_or("", Secret::expose);
        require(
            key.strip_prefix("base64:").is_none_or(is_base64),
            "proxy.grip_key",
            "begins with \"base64:\", but what follows is not base64 (the value is not shown)",
        )?;
        require(!self.grip_issuer.is_empty(), "proxy.grip_issuer", "must not be empty")
    }
}

/// Whether it can be decoded, padded or not.
fn is_base64(text: &str) -> bool {
    let text = text.trim_end_matches('=');
    !text.is_empty()
        && text.len() % 4 != 1
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+/".contains(&byte))
}
