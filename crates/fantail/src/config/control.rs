//! `[control]`: the control listener and who may use it.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::{
    Access, Address, By, Secret,
    access::validate_name,
    error::{Problem, require},
    section::section,
};

const LISTEN: Address = Address::At(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8081));
const OPEN: bool = false;

section! {
    /// The control listener: publish, stats, metrics and the dashboard.
    pub struct Control {
        /// Where the application publishes. Beyond loopback it needs `control.key` or `control.open = true`. `off` is for servers at
        /// which public routes are all that is needed.
        listen: Address = LISTEN,
        /// The key that requests must carry as `Authorization: Bearer KEY`; none means that everyone who can connect may
        /// administer, and publish as well unless there is a `[[key]]` or `control.access`.
        key: Option<Secret> = None,
        /// The `[access.NAME]` with `by = "jwt"` whose tokens may publish here, as far as they say so; left out, none.
        access: Option<String> = None,
        /// Further host names under which the listener may be addressed, beside its address and `localhost`, such as
        /// `fantail.internal` or `fantail:8081`. Requests with another `Host` or `Origin` are refused.
        hosts: Vec<String> = Vec::new(),
        /// Allows a listener beyond loopback without a key.
        open: bool = OPEN,
    }
}

impl Control {
    pub(super) fn validate(&self) -> Result<(), Problem> {
        require(
            self.listen.socket().is_none_or(|address| address.ip().to_canonical().is_loopback())
                || self.key.is_some()
                || self.open,
            "control.listen",
            format!(
                "{} is not on loopback, so everyone who reaches it could publish; set control.key, or control.open = true \
                 if the network is trusted",
                self.listen
            ),
        )?;
        if let Some(key) = &self.key {
            let sendable = key.expose().bytes().all(|byte| byte.is_ascii_graphic());
            require(sendable, "control.key", "must be visible ASCII without spaces, as it is sent in a header")?;
        }
        for (index, host) in self.hosts.iter().enumerate() {
            let plain = !host.is_empty() && !host.contains(|c: char| c == '/' || c.is_whitespace() || c.is_control());
            require(
                plain,
                format!("control.hosts[{index}]"),
                format!("\"{host}\" is not a host, expected a name such as \"fantail.internal\" or \"fantail:8081\""),
            )?;
        }
        Ok(())
    }

    pub(super) fn validate_access(&self, all: &BTreeMap<String, Access>) -> Result<(), Problem> {
        let Some(name) = &self.access else { return Ok(()) };
        validate_name("control.access", name, all)?;
        require(
            all.get(name).is_some_and(|access| access.by == Some(By::Jwt)),
            "control.access",
            format!("\"{name}\" does not do: publishers show a token, so an [access.NAME] with by = \"jwt\" is needed"),
        )
    }
}
