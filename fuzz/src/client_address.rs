//! What proxies say of their clients.

use std::sync::LazyLock;

use fantail::admission::Trust;
use fantail::config::Config;

use crate::fields;

static TRUSTS: LazyLock<[Trust; 2]> = LazyLock::new(|| {
    ["x-forwarded-for", "forwarded"].map(|field| {
        let toml = format!("[listen]\ntrusted_proxies = ['10.0.0.0/8', '::1']\nclient_field = '{field}'");
        Trust::new(&Config::from_toml(&toml).expect("a configuration").listen)
    })
});

/// Strangers are not asked.
pub fn run(bytes: &[u8]) {
    let headers = fields(bytes);
    for trust in &*TRUSTS {
        let _ = trust.client(([10, 0, 0, 1], 1).into(), &headers);
        let stranger = ([192, 0, 2, 1], 1).into();
        assert_eq!(trust.client(stranger, &headers), stranger);
    }
}
