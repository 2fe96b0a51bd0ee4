//! Who may do what: tokens, signatures and keys, and the channels that they grant. Parses and judges what it is given; knows
//! neither sockets nor requests, and the time is handed in.

mod algorithm;
mod claims;
mod denial;
mod der;
mod grants;
mod json;
mod jwk;
mod jwt;
mod key;
mod keyring;
mod peer;
mod publishers;
mod signed;

pub use algorithm::same;
pub use claims::{Claims, Rules};
pub use denial::{Denial, Kind};
pub use grants::{Grants, Pattern};
pub use jwk::{KeySet, KeySetError};
pub use jwt::{Token, issue};
pub use key::Key;
pub use keyring::{KeyError, keys, secrets};
pub use peer::PeerNames;
pub use publishers::{Publisher, Publishers, digest, fresh_key};
pub use signed::{SignedUrl, sign};

/// The longest name of whoever a token is about, in bytes: each of its connections keeps it.
pub const LONGEST_SUBJECT: usize = 255;
