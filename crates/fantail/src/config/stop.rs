//! `[stop]`: how the server leaves.

use super::{
    Span,
    error::{Problem, require},
    section::section,
};

const DEADLINE: Span = Span::secs(10);
const WINDOW: Span = Span::secs(5);
const FRAME: Span = Span::secs(1);

section! {
    /// How the server leaves after SIGTERM or SIGINT.
    pub struct Stop {
        /// The process exits after this time at the latest.
        deadline: Span = DEADLINE,
        /// Every stream's last `retry:` is drawn from 0 up to this, so that clients come back spread over time.
        window: Span = WINDOW,
        /// How long a socket has to take the rest of a frame that is partly sent, before it is cut.
        frame: Span = FRAME,
    }
}

impl Stop {
    pub(super) fn validate(&self) -> Result<(), Problem> {
        require(!self.deadline.is_zero(), "stop.deadline", "must be longer than 0")?;
        require(
            self.frame <= self.deadline,
            if self.frame == FRAME { "stop.deadline" } else { "stop.frame" },
            format!("stop.frame = {} is longer than stop.deadline = {}", self.frame, self.deadline),
        )
    }
}
