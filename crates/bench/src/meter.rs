//! What a stretch of a run cost: CPU of the server, CPU of the load itself, time.

use crate::clock;
use crate::procfs::{self, Cpu};

/// Above this share of its core the load, not the server, may be what limits a figure.
pub(crate) const LOAD_BUSY: f64 = 90.0;

/// Above this share of the time that somebody waited for a core, other work on it is in the figures: as much lateness is a p99.
pub(crate) const DISTURBED: f64 = 1.0;

/// Readings at the start.
#[derive(Debug)]
pub(crate) struct Meter {
    pids: Vec<u32>,
    server: Cpu,
    load: Cpu,
    started: u64,
}

/// The cost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Usage {
    /// Nanoseconds of the server's CPU; `None` if its processes are not known.
    pub(crate) server: Option<u64>,
    /// The load's CPU, in percent of a core.
    pub(crate) load: f64,
    /// How long the server, and the load, were ready to run and did not, in percent of the time.
    pub(crate) server_waited: f64,
    pub(crate) load_waited: f64,
    pub(crate) elapsed: u64,
}

impl Meter {
    pub(crate) fn start(pids: &[u32]) -> Self {
        let pids = procfs::family(pids);
        let (server, load) = (procfs::cpu(&pids), procfs::cpu(&[std::process::id()]));
        Self { pids, server, load, started: clock::now() }
    }

    pub(crate) fn stop(&self) -> Usage {
        let elapsed = (clock::now() - self.started).max(1);
        let server = procfs::cpu_between(&self.server, &procfs::cpu(&self.pids));
        let load = procfs::cpu_between(&self.load, &procfs::cpu(&[std::process::id()]));
        let percent = |nanos: u64| 100.0 * nanos as f64 / elapsed as f64;
        Usage {
            server: (!self.pids.is_empty()).then_some(server.ran),
            load: percent(load.ran),
            server_waited: percent(server.waited),
            load_waited: percent(load.waited),
            elapsed,
        }
    }
}
