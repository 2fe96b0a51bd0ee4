//! The crate as its users see it: the standard's own cases, and what must hold for all input.

mod properties;
mod seen;
mod whatwg;
