//! The names of a client's certificate.

use std::sync::Arc;

/// The names in the certificate with which a client has connected, after it was verified. Whoever accepts connections leaves
/// them in a request's extensions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerNames(pub Arc<[String]>);
