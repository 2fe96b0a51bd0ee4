//! Servers to compare with: small ones that live here, and how to start those that are installed.

pub(crate) mod axum;
pub(crate) mod bare;
