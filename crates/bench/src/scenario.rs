//! The scenarios, a file each. A scenario takes whom to load and its own options, and gives a report.

pub(crate) mod channels;
pub(crate) mod connect;
pub(crate) mod fairness;
pub(crate) mod fanout;
pub(crate) mod idle;
pub(crate) mod loris;
pub(crate) mod polls;
pub(crate) mod publish;
pub(crate) mod search;
