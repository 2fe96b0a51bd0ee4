//! The dialect of nginx's push stream module: channel paths, templates, answers, cursors and refusals as its clients, templates
//! and dashboards know them. Parsing and rendering only.
//!
//! Where the module itself does what nobody would want (what it loses, what it leaves open to injection), functions take
//! `strict`: then they do as the module does, to the byte; otherwise they do better, within what its clients understand.

mod explain;
mod path;

pub use explain::{DELETED, EXPLAIN, Refusal};
pub use path::{Asked, Requested, Scope, channel_id, channel_name};
