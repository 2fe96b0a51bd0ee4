//! Whether the process has more memory resident than it may. Looked at seldom: a decision costs one load.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};

/// How far the memory has to fall below the limit before anybody is let in again, as a fraction: 1/16.
const RELIEF: usize = 16;

/// The limit, and how it stands.
#[derive(Debug)]
pub(super) struct Memory {
    /// In bytes; 0 is none.
    limit: usize,
    short: AtomicBool,
}

impl Memory {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, short: AtomicBool::new(false) }
    }

    pub(super) fn is_short(&self) -> bool {
        self.short.load(Ordering::Relaxed)
    }

    /// Reads how much there is.
    pub(super) fn look(&self) {
        if self.limit == 0 {
            return;
        }
        // Where the system does not tell, nobody is turned away.
        let resident = fs::read_to_string("/proc/self/status").ok().and_then(|status| resident(&status)).unwrap_or(0);
        self.judge(resident);
    }

    fn judge(&self, resident: usize) {
        let was = self.is_short();
        let limit = if was { self.limit - self.limit / RELIEF } else { self.limit };
        let is = resident > limit;
        self.short.store(is, Ordering::Relaxed);
        if is && !was {
            tracing::warn!(resident, limit = self.limit, "short of memory: newcomers are turned away (limits.memory)");
        } else if was && !is {
            tracing::info!(resident, limit = self.limit, "enough memory again: newcomers are let in");
        }
    }
}

/// `VmRSS` of `/proc/self/status`, in bytes.
fn resident(status: &str) -> Option<usize> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: usize = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_over_its_limit_is_short_until_it_is_well_below() {
        let memory = Memory::new(1600);
        for (resident, short) in [(1600, false), (1601, true), (1550, true), (1500, false), (1600, false)] {
            memory.judge(resident);
            assert_eq!(memory.is_short(), short, "{resident}");
        }
    }

    #[test]
    fn memory_of_this_process_is_read() {
        let memory = Memory::new(1);
        memory.look();
        assert!(memory.is_short());
        let none = Memory::new(0);
        none.look();
        assert!(!none.is_short());
        assert_eq!(resident("Name:\tx\nVmRSS:\t   2048 kB\n"), Some(2 << 20));
    }
}
