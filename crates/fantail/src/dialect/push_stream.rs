//! The dialect of nginx's push stream module: channel paths, templates, answers, cursors and refusals as its clients, templates
//! and dashboards know them. Parsing and rendering only.
//!
//! Where the module itself does what nobody would want (what it loses, what it leaves open to injection), functions take
//! `strict`: then they do as the module does, to the byte; otherwise they do better, within what its clients understand.

pub mod answer;
pub mod event_source;
pub mod headers;
pub mod jsonp;
pub mod page;

mod cursor;
mod event;
mod explain;
mod handshake;
mod look;
mod media_type;
mod mode;
mod padding;
mod path;
mod template;
mod variables;
mod wildcard;

pub use answer::{ChannelInfo, Format, Head, Summary, Worker};
pub use cursor::{Place, Seen};
pub use event::ChannelEvent;
pub use event_source::EventSource;
pub use explain::{DELETED, EXPLAIN, Refusal};
pub use handshake::{VERSIONS, check_handshake};
pub use look::Look;
pub use media_type::media_type;
pub use mode::{MODE, mode};
pub use padding::{Filler, pad};
pub use path::{Asked, Requested, Scope, channel_id, channel_name};
pub use template::{Entry, Template};
pub use variables::{Groups, RequestVariables};
pub use wildcard::Wildcards;
