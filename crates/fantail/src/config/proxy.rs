//! `[proxy]`: what holds for all proxied requests.

use super::{
    Network, Secret,
    error::{Problem, require},
    header::is_token,
    section::section,
};

const NAME: &str = "fantail";
const GRIP_ISSUER: &str = "fantail";

section! {
    /// What holds for all proxied requests.
    pub struct Proxy {
        /// Networks of proxies in front of Fantail, such as `["10.0.0.0/8", "::1"]`: their `Forwarded` and `X-Forwarded-*`
        /// fields are believed and extended, those of everyone else are replaced.
        trusted: Vec<Network> = Vec::new(),
        /// The name under which Fantail shows itself in `Via`, and by which it sees that a request goes round in circles.
        name: String = NAME.to_owned(),
        /// The key that signs `Grip-Sig`, by which upstreams know that a GRIP proxy is there; none means that it is not sent.
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
        require(!self.grip_issuer.is_empty(), "proxy.grip_issuer", "must not be empty")
    }
}
