//! The integration tests: one binary, a module each.

mod browser;
mod browser_selftest;
mod client;
mod cut;
mod ends;
mod handover;
mod resume;
mod server;
mod stop;
mod subscribe;
