//! Faults that a build for the torture checker has on purpose, for the checker must be able to find them. There are none in any
//! other build: this file is behind the feature `faults`.
//!
//! `FAULTY_FANTAIL` says which one of them a process has. (Variables that begin with `FANTAIL_` are settings.)

use std::sync::LazyLock;
use std::thread;
use std::time::Duration;

use fantail_hub::{Offset, Position};

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// Subscribers see messages before they are written.
    VisibleEarly,
    /// A start forgets the end of the log and what the fence says of it.
    OffsetsReused,
    /// Whoever comes back misses a message.
    ResumeOffByOne,
}

static FAULT: LazyLock<Option<Fault>> = LazyLock::new(|| {
    let name = std::env::var("FAULTY_FANTAIL").unwrap_or_default();
    let fault = match name.as_str() {
        "" => return None,
        "visible-early" => Fault::VisibleEarly,
        "offsets-reused" => Fault::OffsetsReused,
        "resume-off-by-one" => Fault::ResumeOffByOne,
        _ => panic!("FAULTY_FANTAIL is {name:?}, and must be visible-early, offsets-reused or resume-off-by-one"),
    };
    tracing::warn!(?fault, "this build is faulty on purpose");
    Some(fault)
});

/// How long messages that are seen already are not written.
const EARLY: Duration = Duration::from_millis(20);
/// Offsets that a start forgets.
const FORGOTTEN: u64 = 100;

/// Runs `show` now, and lets time pass before what is shown is written; not without the fault.
pub fn visible_early(show: impl FnOnce()) -> bool {
    let is = *FAULT == Some(Fault::VisibleEarly);
    if is {
        show();
        thread::sleep(EARLY);
    }
    is
}

/// The last offset that a start remembers, where it forgets some.
pub fn offsets_reused(last: Offset) -> Option<Offset> {
    (*FAULT == Some(Fault::OffsetsReused)).then(|| Offset(last.0.saturating_sub(FORGOTTEN)))
}

/// The id with which somebody resumes in place of `id`.
pub fn resume_off_by_one(id: &[u8]) -> Vec<u8> {
    let position = Position::parse(id).filter(|_| *FAULT == Some(Fault::ResumeOffByOne));
    let Some(Position { epoch, offset }) = position else { return id.to_vec() };
    Position { epoch, offset: Offset(offset.0 + 1) }.to_string().into_bytes()
}
