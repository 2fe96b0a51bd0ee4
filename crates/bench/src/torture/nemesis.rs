//! Does what the plan says, one thing at a time with the server, and tells each as it is done.

use std::collections::VecDeque;
use std::path::PathBuf;

use rustix::process::Signal;
use serde::Serialize;

use super::arena::Arena;
use super::damage;
use super::plan::Action;
use super::publisher::Publisher;
use super::space::Space;
use super::violation::Kind;
use crate::clock::{self, SECOND};

const MILLISECOND: u64 = SECOND / 1000;
/// How long an orderly stop may take.
const STOP: u64 = 20 * SECOND;
/// How long publishers may need for what they have begun, before the server is damaged.
const DRAIN: u64 = 20 * SECOND;
/// How long the server may need to recover once there is room again.
const RECOVER: u64 = 15 * SECOND;
/// So long nothing was acknowledged: the disk is full for everybody.
const QUIET: u64 = SECOND / 3;

/// Where the nemesis is with the server.
#[derive(Debug)]
enum State {
    Idle,
    /// Publishers finish what they have begun.
    Draining {
        deadline: u64,
        hard: bool,
        down: u64,
    },
    /// It was asked to stop.
    Stopping {
        deadline: u64,
        down: u64,
        damaging: bool,
    },
    Down {
        until: u64,
    },
    Paused {
        until: u64,
    },
    /// The disk is full; `refused` is how many publishes had been refused before.
    Full {
        until: u64,
        refused: u64,
        kill_at: Option<u64>,
    },
    /// There is room again.
    Recovering {
        deadline: u64,
        acknowledged: u64,
        look_at: u64,
    },
}

/// How often what was done.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct Done {
    pub(super) kills: u64,
    pub(super) stops: u64,
    pub(super) pauses: u64,
    pub(super) cuts: u64,
    pub(super) stalls: u64,
    pub(super) fills: u64,
    pub(super) damages: u64,
}

/// The nemesis.
#[derive(Debug)]
pub(super) struct Nemesis {
    /// What is to be done with the server, and with the clients.
    server: VecDeque<(u64, Action)>,
    clients: VecDeque<(u64, Action)>,
    state: State,
    rng: fastrand::Rng,
    space: Space,
    directory: PathBuf,
    begun: u64,
    /// When something was last acknowledged, and how much had been.
    progress: (u64, u64),
    pub(super) done: Done,
    quiet: bool,
}

impl Nemesis {
    pub(super) fn new(plan: Vec<(u64, Action)>, space: Space, directory: PathBuf, seed: u64, quiet: bool) -> Self {
        let begun = clock::now();
        let plan = plan.into_iter().map(|(at, action)| (begun + at, action));
        let (clients, server) = plan.partition(|(_, action)| action.is_of_clients());
        Self {
            server,
            clients,
            state: State::Idle,
            rng: fastrand::Rng::with_seed(seed),
            space,
            directory,
            begun,
            progress: (begun, 0),
            done: Done::default(),
            quiet,
        }
    }

    /// Nothing is left to do, and the server is left alone.
    pub(super) fn is_done(&self) -> bool {
        self.server.is_empty() && matches!(self.state, State::Idle)
    }

    /// Does what is due.
    pub(super) fn tick(&mut self, arena: &mut Arena) -> anyhow::Result<()> {
        let now = clock::now();
        let acknowledged = arena.books.counts.acknowledged;
        if acknowledged != self.progress.1 {
            self.progress = (now, acknowledged);
        }
        if let Some((_, action)) = self.clients.pop_front_if(|(at, _)| now >= *at) {
            self.annoy(&action, now, arena);
        }
        match self.state {
            State::Idle => {
                if let Some((_, action)) =
                    self.server.pop_front_if(|(at, action)| now >= *at && ripe(action, now, arena))
                {
                    self.attack(&action, now, arena)?;
                }
            }
            State::Draining { deadline, hard, down } => {
                let idle = arena.publishers.iter().all(Publisher::is_idle);
                if idle {
                    self.end(hard, down, now, true, arena)?;
                } else if now >= deadline {
                    arena.books.violations.add(Kind::Server, || "publishes were not answered, with no trouble".into());
                    arena.held = false;
                    self.state = State::Idle;
                }
            }
            State::Stopping { deadline, down, damaging } => {
                if let Some(status) = arena.server.ended() {
                    if !status.success() {
                        let why = format!("the server ended with {status} when asked to stop");
                        arena.books.violations.add(Kind::Server, || why);
                    }
                    self.ended(down, now, damaging, arena)?;
                } else if now >= deadline {
                    arena.books.violations.add(Kind::Server, || "the server did not stop when asked to".into());
                    arena.server.kill();
                    self.ended(down, now, damaging, arena)?;
                }
            }
            State::Down { until } => {
                if now >= until {
                    arena.start()?;
                    arena.held = false;
                    self.state = State::Idle;
                }
            }
            State::Paused { until } => {
                if now >= until {
                    arena.server.signal(Signal::CONT);
                    self.state = State::Idle;
                }
            }
            State::Full { until, refused, kill_at } => {
                if now >= until {
                    self.free(refused, now, arena)?;
                } else if kill_at.is_some_and(|at| now >= at) {
                    self.done.kills += 1;
                    arena.server.kill();
                    arena.start()?;
                    self.space.fill(0, &arena.server)?;
                    self.state = State::Full { until, refused, kill_at: None };
                }
            }
            State::Recovering { deadline, acknowledged, look_at } => {
                if now >= look_at {
                    self.recover(deadline, acknowledged, now, arena);
                }
            }
        }
        Ok(())
    }

    fn attack(&mut self, action: &Action, now: u64, arena: &mut Arena) -> anyhow::Result<()> {
        self.tell(&action.to_string(), now);
        match *action {
            Action::Kill { down, .. } => self.end(true, down, now, false, arena)?,
            Action::Term { down, .. } => self.end(false, down, now, false, arena)?,
            Action::Pause { time } => {
                self.done.pauses += 1;
                arena.server.signal(Signal::STOP);
                self.state = State::Paused { until: now + time };
            }
            Action::Fill { but, time, kill } => {
                self.done.fills += 1;
                arena.server.pad_log()?;
                self.space.fill(but, &arena.server)?;
                arena.only_full = true;
                let kill_at = kill.then_some(now + time / 2);
                self.state = State::Full { until: now + time, refused: refused(arena), kill_at };
            }
            Action::Damage { hard, down } => {
                arena.held = true;
                self.state = State::Draining { deadline: now + DRAIN, hard, down };
            }
            Action::Cut { .. } | Action::Stall { .. } => {}
        }
        Ok(())
    }

    fn annoy(&mut self, action: &Action, now: u64, arena: &mut Arena) {
        self.tell(&action.to_string(), now);
        match *action {
            Action::Cut { share, hard } => {
                self.done.cuts += 1;
                for publisher in &mut arena.publishers {
                    if self.rng.u8(..) < share {
                        publisher.cut(hard, now);
                    }
                }
                for subscriber in &mut arena.subscribers {
                    if self.rng.u8(..) < share {
                        subscriber.cut(hard, now);
                    }
                }
            }
            Action::Stall { share, time } => {
                self.done.stalls += 1;
                for subscriber in &mut arena.subscribers {
                    if self.rng.u8(..) < share {
                        subscriber.stall(now + time);
                    }
                }
            }
            _ => {}
        }
    }

    /// Ends the server, at once or in good order.
    fn end(&mut self, hard: bool, down: u64, now: u64, damaging: bool, arena: &mut Arena) -> anyhow::Result<()> {
        arena.running = false;
        if hard {
            self.done.kills += 1;
            arena.server.kill();
            return self.ended(down, now, damaging, arena);
        }
        self.done.stops += 1;
        arena.server.signal(Signal::TERM);
        self.state = State::Stopping { deadline: now + STOP, down, damaging };
        Ok(())
    }

    fn ended(&mut self, down: u64, now: u64, damaging: bool, arena: &mut Arena) -> anyhow::Result<()> {
        if damaging && let Some(damage) = damage::inflict(&self.directory, &mut self.rng)? {
            self.done.damages += 1;
            self.tell(&damage.to_string(), now);
            arena.books.damage(damage.base);
        }
        self.state = State::Down { until: now + down };
        Ok(())
    }

    /// Gives the disk its room back, after a look whether the server says what is so.
    fn free(&mut self, refused_before: u64, now: u64, arena: &mut Arena) -> anyhow::Result<()> {
        let all_refused = now - self.progress.0 > QUIET && refused(arena) > refused_before;
        if all_refused && let Ok(200) = arena.server.readiness() {
            arena.books.violations.add(Kind::Readiness, || "the server said that it was ready with a full disk".into());
        }
        self.space.free(&arena.server)?;
        self.tell(&format!("room again, after {} refusals", refused(arena) - refused_before), now);
        let acknowledged = arena.books.counts.acknowledged;
        self.state = State::Recovering { deadline: now + RECOVER, acknowledged, look_at: now };
        Ok(())
    }

    fn recover(&mut self, deadline: u64, acknowledged: u64, now: u64, arena: &mut Arena) {
        let takes = arena.books.counts.acknowledged > acknowledged;
        let recovered = takes && matches!(arena.server.readiness(), Ok(200));
        if recovered || now >= deadline {
            if !recovered {
                let why = || format!("the server did not recover within {} s of room", RECOVER / SECOND);
                arena.books.violations.add(Kind::Readiness, why);
            }
            arena.only_full = false;
            self.state = State::Idle;
        } else {
            self.state = State::Recovering { deadline, acknowledged, look_at: now + 100 * MILLISECOND };
        }
    }

    fn tell(&self, what: &str, now: u64) {
        if !self.quiet {
            println!("{:9.3}  {what}", clock::seconds(now - self.begun));
        }
    }
}

/// Whether the server has lived long enough for this.
fn ripe(action: &Action, now: u64, arena: &Arena) -> bool {
    match *action {
        Action::Kill { life, early: true, .. } => now >= arena.started_at + life,
        Action::Kill { life, .. } | Action::Term { life, .. } => arena.accepted_at.is_some_and(|at| now >= at + life),
        _ => arena.accepted_at.is_some(),
    }
}

fn refused(arena: &Arena) -> u64 {
    arena.books.counts.refused_full + arena.books.counts.refused_busy
}
