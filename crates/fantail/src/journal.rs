//! The journals that outlive the process. Each implements the hub's trait and knows nothing else of Fantail.

pub mod disk;
