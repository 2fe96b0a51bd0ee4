//! The conventions of families of clients: how their requests are read and how their streams look. Parsing and rendering
//! only.

pub mod grip;
pub mod moment;
pub mod native;
pub mod push_stream;
pub mod relayed;
