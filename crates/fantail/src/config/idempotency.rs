//! `[idempotency]`: how long publishers may repeat themselves.

use super::{
    Span,
    error::{Problem, require},
    section::section,
};

const WINDOW: Span = Span::secs(120);
const KEYS: usize = 100_000;

section! {
    /// How long publishes with an `Idempotency-Key` are remembered.
    pub struct Idempotency {
        /// How long a key is remembered.
        window: Span = WINDOW,
        /// Most keys that are remembered, of all channels together; over it, the oldest is forgotten.
        keys: usize = KEYS,
    }
}

impl Idempotency {
    pub(super) fn validate(&self) -> Result<(), Problem> {
        require(!self.window.is_zero(), "idempotency.window", "must be longer than 0")?;
        require(self.keys > 0, "idempotency.keys", "must be at least 1")
    }
}
