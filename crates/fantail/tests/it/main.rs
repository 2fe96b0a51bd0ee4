//! The integration tests: one binary, a module each.

mod admin;
mod batch;
mod behind_nginx;
mod browser;
mod browser_selftest;
mod chromium;
mod churn;
mod client;
mod connections;
mod crowd;
mod cut;
mod doors;
mod ends;
mod fair;
mod handover;
mod keeping;
mod long_wait;
mod publish;
mod recording;
mod resume;
mod server;
mod slow;
mod stop;
mod subscribe;
