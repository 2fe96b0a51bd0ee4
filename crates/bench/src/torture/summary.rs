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
    pub(super) kills: u64,
    pub(super) stops: u64,
    pub(super) pauses: u64,
    pub(super) cuts: u64,
    pub(super) stalls: u64,
    pub(super) fills: u64,
    pub(super) damages: u64,
    pub(super) starts: u64,
    pub(super) slowest_start_ms: u64,
    pub(super) acknowledged: u64,
    pub(super) retries: u64,
    pub(super) duplicates: u64,
    pub(super) refused_full: u64,
    pub(super) refused_busy: u64,
    pub(super) deliveries: u64,
    pub(super) connections: u64,
    pub(super) gaps: u64,
    pub(super) lost_announced: u64,
    pub(super) repeated_announced: u64,
    pub(super) unjudged: u64,
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
            kills: done.kills,
            stops: done.stops,
            pauses: done.pauses,
            cuts: done.cuts,
            stalls: done.stalls,
            fills: done.fills,
            damages: done.damages,
            starts: 0,
            slowest_start_ms: 0,
            acknowledged: counts.acknowledged,
            retries: counts.retries,
            duplicates: counts.duplicates,
            refused_full: counts.refused_full,
            refused_busy: counts.refused_busy,
            deliveries: counts.deliveries,
            connections: counts.connections,
            gaps: counts.gaps,
            lost_announced: counts.lost_announced,
            repeated_announced: counts.repeated_announced,
            unjudged: counts.unjudged,
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
        let mut out = format!("torture: {} s, seed {}\n", self.seconds, self.seed);
        let rows: [(&str, String); 12] = [
            ("messages acknowledged", self.acknowledged.to_string()),
            ("deliveries checked", self.deliveries.to_string()),
            ("connections of subscribers", self.connections.to_string()),
            (
                "done to the server",
                format!(
                    "{} kills, {} orderly stops, {} pauses, {} full disks, {} damaged logs",
                    self.kills, self.stops, self.pauses, self.fills, self.damages
                ),
            ),
            ("done to the clients", format!("{} cuts, {} stalls", self.cuts, self.stalls)),
            ("starts, the slowest", format!("{}, {} ms", self.starts, self.slowest_start_ms)),
            (
                "publishes repeated",
                format!(
                    "{}, of which {} were known; refused: {} for space, {} for now",
                    self.retries, self.duplicates, self.refused_full, self.refused_busy
                ),
            ),
            (
                "announced",
                format!("{} gaps, {} lost, {} repeated", self.gaps, self.lost_announced, self.repeated_announced),
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
            ("first messages that could not be judged", self.unjudged.to_string()),
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
