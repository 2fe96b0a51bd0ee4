//! Signed URLs: none is made without the secret, and one that is made is good.

use std::sync::LazyLock;

use fantail::auth::{SignedUrl, sign};
use fantail_hub::Millis;

use crate::parts;

static SECRETS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| vec![b"a secret of the fuzzer, and of nobody else".to_vec()]);

/// Eight bytes of a time, then a path, a query and a subject.
pub fn run(bytes: &[u8]) {
    let Some((ends, rest)) = bytes.split_first_chunk() else { return };
    let [path, query, subject] = parts(rest).map(String::from_utf8_lossy);
    let now = Millis(1_700_000_000_000);
    assert!(SignedUrl::judge(&path, &query, &SECRETS, now).is_err(), "nobody knows the secret");
    let ends = u64::from_be_bytes(*ends);
    let url = sign(&SECRETS[0], &path, ends, Some(&subject));
    let Some((path, query)) = url.rsplit_once('?') else { panic!("{url:?} has no query") };
    let judged = SignedUrl::judge(path, query, &SECRETS, now);
    if ends > now.0 / 1000 && subject.len() <= 255 {
        assert_eq!(judged.expect("it was signed").subject.as_deref().unwrap_or_default(), &*subject);
    } else {
        assert!(judged.is_err());
    }
}
