//! Tokens, as anybody may send them.

use std::sync::LazyLock;

use fantail::dialect::grip::Signer;
use fantail_hub::Millis;

use crate::parts;

static SIGNER: LazyLock<Signer> = LazyLock::new(|| Signer::new("a key of the fuzzer", "fuzz").expect("a key"));

/// A token made of anything, and one that is signed but says anything.
pub fn run(bytes: &[u8]) {
    let now = Millis(1_700_000_000_000);
    assert!(SIGNER.check(bytes, now).is_err(), "nobody knows the key");
    let [header, claims] = parts(bytes);
    if let (Ok(header), Ok(claims)) = (std::str::from_utf8(header), std::str::from_utf8(claims)) {
        let token = SIGNER.issue(header, claims);
        let _ = SIGNER.check(token.as_bytes(), now);
        if let Some(unsigned) = token.rfind('.') {
            assert!(SIGNER.check(token[..=unsigned].as_bytes(), now).is_err(), "it is not signed");
        }
    }
}
