//! `[control]`: the control listener and who may use it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::{
    Address, Secret,
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
        /// publish and administer.
        key: Option<Secret> = None,
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
}
