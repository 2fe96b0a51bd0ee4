//! The disk journal: one log for all channels, cut into segments, with an index beside each.

pub mod checked;
pub mod handles;
pub mod index;
pub mod log;
pub mod query;
pub mod record;
pub mod scan;
pub mod segment;
pub mod segments;
pub mod stem;
pub mod sweep;
