//! What the nemesis will do and when: drawn from the seed before the run begins, so that a run can be had again (as far as
//! the machine's timing allows).

use std::fmt;

use clap::ValueEnum;

use crate::clock::SECOND;

const MILLISECOND: u64 = SECOND / 1000;

/// A kind of mischief.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mischief {
    /// `kill -9`, and a start
    Kill,
    /// SIGTERM, and a start
    Term,
    /// SIGSTOP, and SIGCONT
    Pause,
    /// Cut clients' connections
    Cut,
    /// Have subscribers read nothing for a while
    Stall,
    /// Fill the disk, and give the room back
    Disk,
    /// Cut the newest log file, or flip bits of it, while the server is down
    Damage,
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// `kill -9`, after the server has lived at least so long; if `early`, since it was started, else since it first
    /// accepted a connection.
    Kill { life: u64, early: bool, down: u64 },
    /// An orderly stop.
    Term { life: u64, down: u64 },
    /// Stopped for a while, with all its sockets open.
    Pause { time: u64 },
    /// Cuts this share (of 256) of all clients' connections, with a reset or without.
    Cut { share: u8, hard: bool },
    /// This share of the subscribers reads nothing.
    Stall { share: u8, time: u64 },
    /// No room but so many bytes; if `kill`, the server is killed in the middle of that and has to start without room.
    Fill { but: u64, time: u64, kill: bool },
    /// An end, by SIGKILL or SIGTERM, and damage before the next start.
    Damage { hard: bool, down: u64 },
}

impl Action {
    /// Whether it is about the clients alone, so that it may happen while something else does.
    pub(super) fn is_of_clients(&self) -> bool {
        matches!(self, Self::Cut { .. } | Self::Stall { .. })
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |time: u64| time / MILLISECOND;
        match *self {
            Self::Kill { early, down, .. } => {
                write!(f, "kill -9{}, down {} ms", if early { " early" } else { "" }, ms(down))
            }
            Self::Term { down, .. } => write!(f, "SIGTERM, down {} ms", ms(down)),
            Self::Pause { time } => write!(f, "SIGSTOP for {} ms", ms(time)),
            Self::Cut { share, hard } => {
                write!(
                    f,
                    "cut {} % of the connections{}",
                    u32::from(share) * 100 / 256,
                    if hard { " by reset" } else { "" }
                )
            }
            Self::Stall { share, time } => {
                write!(f, "stall {} % of the subscribers for {} ms", u32::from(share) * 100 / 256, ms(time))
            }
            Self::Fill { but, time, kill } => {
                let kill = if kill { ", with a kill -9 meanwhile" } else { "" };
                write!(f, "disk full but for {but} bytes for {} ms{kill}", ms(time))
            }
            Self::Damage { hard, down } => {
                write!(f, "{}, damage, down {} ms", if hard { "kill -9" } else { "SIGTERM" }, ms(down))
            }
        }
    }
}

/// Draws a plan: what to do, and the earliest time for each, in order.
pub(super) fn draw(kinds: &[Mischief], kills: u64, time: u64, rng: &mut fastrand::Rng) -> Vec<(u64, Action)> {
    let mut plan = Vec::new();
    for &kind in kinds {
        let seconds = time / SECOND;
        let count = match kind {
            Mischief::Kill => kills,
            Mischief::Term => seconds / 12 + 1,
            Mischief::Pause => seconds / 15 + 1,
            Mischief::Cut => seconds / 2 + 1,
            Mischief::Stall => seconds / 4 + 1,
            Mischief::Disk => seconds / 20 + 1,
            Mischief::Damage => seconds / 8 + 1,
        };
        plan.extend((0..count).map(|_| (rng.u64(..time.max(1)), action(kind, rng))));
    }
    plan.sort_by_key(|(at, _)| *at);
    plan
}

fn action(kind: Mischief, rng: &mut fastrand::Rng) -> Action {
    let mut ms = |from: u64, to: u64| rng.u64(from..to) * MILLISECOND;
    match kind {
        Mischief::Kill => {
            let (early, life, down) = (ms(0, 5) == 0, ms(0, 200), ms(0, 60));
            Action::Kill { life: if early { life / 3 } else { life }, early, down }
        }
        Mischief::Term => Action::Term { life: ms(0, 300), down: ms(0, 100) },
        Mischief::Pause => Action::Pause { time: ms(50, 2500) },
        Mischief::Cut => Action::Cut { share: rng.u8(30..), hard: rng.bool() },
        Mischief::Stall => Action::Stall { time: ms(200, 4000), share: rng.u8(30..200) },
        Mischief::Disk => {
            let (time, but) = (ms(1500, 4000), if rng.bool() { 0 } else { rng.u64(..512 << 10) });
            Action::Fill { but, time, kill: rng.u8(..3) == 0 }
        }
        Mischief::Damage => Action::Damage { down: ms(0, 100), hard: rng.bool() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plan_of_a_seed_is_always_the_same_and_in_order() {
        let kinds = Mischief::value_variants();
        let plan = |seed| draw(kinds, 50, 60 * SECOND, &mut fastrand::Rng::with_seed(seed));
        assert_eq!(plan(3), plan(3));
        assert_ne!(plan(3), plan(4));
        assert!(plan(3).is_sorted_by_key(|(at, _)| *at));
        let kills = plan(3).iter().filter(|(_, action)| matches!(action, Action::Kill { .. })).count();
        assert_eq!(kills, 50);
    }

    #[test]
    fn plan_holds_what_was_asked_for_alone() {
        let plan = draw(&[Mischief::Cut], 50, 60 * SECOND, &mut fastrand::Rng::with_seed(1));
        assert!(plan.len() > 10 && plan.iter().all(|(_, action)| action.is_of_clients()));
    }
}
