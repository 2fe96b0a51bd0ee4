//! Ids of relayed streams, which only the server itself makes.

use fantail::dialect::relayed::Seal;

/// Nobody can make one.
pub fn run(bytes: &[u8]) {
    assert_eq!(Seal::default().open(bytes), None);
}
