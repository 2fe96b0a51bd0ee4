//! Tokens that let subscribers and publishers in, and the key sets that they are judged by.

use std::sync::LazyLock;

use fantail::auth::{Key, KeySet, Pattern, Rules, Token, issue};
use fantail::config::{Access, Algorithm};
use fantail_hub::Millis;

use crate::parts;

const SECRET: &[u8] = b"a secret of the fuzzer, and of nobody else";
const NOW: Millis = Millis(1_700_000_000_000);

static RULES: LazyLock<Rules> = LazyLock::new(|| Rules::new(&Access::default()));
static KEYS: LazyLock<[Key; 1]> = LazyLock::new(|| [Key::secret(Algorithm::Hs256, SECRET)]);

/// A token made of anything, claims that are signed and say anything, and a set of keys.
pub fn run(bytes: &[u8]) {
    let [token, claims, set] = parts(bytes);
    if let Ok(token) = Token::parse(token, 4096) {
        assert!(token.judge(&*KEYS, &RULES, NOW).is_err(), "nobody knows the secret");
    }
    if let Ok(set) = KeySet::parse(set, Some(Algorithm::Es256))
        && let Ok(token) = Token::parse(token, 4096)
    {
        let _ = token.judge(&set.keys, &RULES, NOW);
    }
    let Ok(claims) = std::str::from_utf8(claims) else { return };
    if let Some(signed) = issue(Algorithm::Hs256, SECRET, claims)
        && let Ok(token) = Token::parse(signed.as_bytes(), usize::MAX)
    {
        let _ = token.judge(&*KEYS, &RULES, NOW);
    }
    if let Some(pattern) = Pattern::parse(claims) {
        assert!(!pattern.covers("") || claims.starts_with('*'));
    }
}
