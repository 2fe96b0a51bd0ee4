//! The journal as a whole, on a real directory.

use super::*;

mod contract;
