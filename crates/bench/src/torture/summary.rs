//! What a run came to, for people and as JSON.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::Serialize;

use super::books::Counts;
use super::nemesis::Done;
use super::violation::{Kind, Violations};

/// A run's outcome.
#[derive(Debug, Serialize)]
pub(super) struct Summary {
    pub(super) seed: u64,
    pub(super) seconds: u64,
    #[serde(flatten)]
    done: Done,
    pub(super) starts: u64,
    pub(super) slowest_start_ms: u64,
    #[serde(flatten)]
    counts: Counts,
    /// The server's memory at the end and the most of its last life, in bytes, and its descriptors.
    pub(super) server_memory: u64,
    pub(super) server_memory_most: u64,
    pub(super) server_descriptors: usize,
    pub(super) checker_memory: u64,
    pub(super) violations: BTreeMap<Kind, u64>,
    pub(super) details: Vec<(Kind, String)>,
}

impl Summary {
    pub(super) fn new(seed: u64, seconds: u64, done: Done, counts: Counts, violations: &Violations) -> Self {
        Self {
            seed,
            seconds,
            done,
            starts: 0,
            slowest_start_ms: 0,
            counts,
            server_memory: 0,
            server_memory_most: 0,
            server_descriptors: 0,
            checker_memory: 0,
            violations: violations.counts().clone(),
            details: violations.details().to_vec(),
        }
    }

    pub(super) fn is_clean(&self) -> bool {
        self.violations.is_empty()
    }

    fn count(&self, kind: Kind) -> u64 {
        self.violations.get(&kind).copied().unwrap_or(0)
    }

    /// As text for a terminal.
    pub(super) fn table(&self) -> String {
        let Self { done, counts, .. } = self;
        let mut out = format!("torture: {} s, seed {}\n", self.seconds, self.seed);
        let rows: [(&str, String); 12] = [
            ("messages acknowledged", counts.acknowledged.to_string()),
            ("deliveries checked", counts.deliveries.to_string()),
            ("connections of subscribers", counts.connections.to_string()),
            (
                "done to the server",
                format!(
                    "{} kills, {} orderly stops, {} pauses, {} full disks, {} damaged logs",
                    done.kills, done.stops, done.pauses, done.fills, done.damages
                ),
            ),
            ("done to the clients", format!("{} cuts, {} stalls", done.cuts, done.stalls)),
            ("starts, the slowest", format!("{}, {} ms", self.starts, self.slowest_start_ms)),
            (
                "publishes repeated",
                format!(
                    "{}, of which {} were known; refused: {} for space, {} for now",
                    counts.retries, counts.duplicates, counts.refused_full, counts.refused_busy
                ),
            ),
            (
                "announced",
                format!("{} gaps, {} lost, {} repeated", counts.gaps, counts.lost_announced, counts.repeated_announced),
            ),
            (
                "unannounced",
                format!(
                    "{} lost, {} repeated, {} out of order, {} offsets reused, {} published twice",
                    self.count(Kind::Lost),
                    self.count(Kind::Repeated),
                    self.count(Kind::OutOfOrder),
                    self.count(Kind::OffsetReused),
                    self.count(Kind::PublishedTwice)
                ),
            ),
            ("first messages that could not be judged", counts.unjudged.to_string()),
            (
                "server at the end",
                format!(
                    "{} MiB resident (most {}), {} descriptors",
                    self.server_memory >> 20,
                    self.server_memory_most >> 20,
                    self.server_descriptors
                ),
            ),
            ("checker at the end", format!("{} MiB resident", self.checker_memory >> 20)),
        ];
        // Writing to a String cannot fail.
        for (name, value) in rows {
            let _ = writeln!(out, "  {name:39}  {value}");
        }
        for (kind, count) in &self.violations {
            let _ = writeln!(out, "  VIOLATION {kind:?}: {count}");
            for (_, detail) in self.details.iter().filter(|(of, _)| of == kind) {
                let _ = writeln!(out, "    {detail}");
            }
        }
        let verdict = if self.is_clean() { "clean" } else { "violated" };
        let _ = writeln!(out, "  verdict: {verdict}");
        out
    }
}
