//! The integration tests: one binary, a module each.

mod browser;
mod browser_selftest;
mod client;
mod cut;
mod server;
mod subscribe;
