//! The comparison's table, with what a reader needs to judge it: machine, versions, faults, configurations.

use std::fmt::Write;
use std::fs;

use super::Comparison;
use super::case::{Case, Row};
use crate::peers::{Peer, Place};
use crate::report::number;

pub(super) fn table(comparison: &Comparison, place: &Place) -> String {
    let Comparison { peers, cases, missing, .. } = comparison;
    let mut out = String::from("| what |");
    let mut notes = missing.clone();
    for peer in peers {
        let _ = write!(out, " {} |", peer.title());
    }
    let _ = writeln!(out, "\n|---|{}", "---|".repeat(peers.len()));
    for &case in cases {
        for row in case.rows() {
            let _ = write!(out, "| {} |", row.0);
            for &peer in peers {
                let _ = write!(out, " {} |", cell(comparison, case, peer, row, &mut notes));
            }
            out.push('\n');
        }
    }
    let _ = writeln!(out, "\nMedians, with the range over the rounds. {}", machine());
    for note in notes {
        let _ = writeln!(out, "- {note}");
    }
    out.push('\n');
    for peer in peers {
        let text = peer.configuration().trim_end();
        let (title, version) = (peer.title(), peer.version(place));
        let _ = writeln!(out, "<details><summary>{title}: {version}</summary>\n\n```\n{text}\n```\n</details>");
    }
    out
}

fn cell(comparison: &Comparison, case: Case, peer: Peer, row: &Row, notes: &mut Vec<String>) -> String {
    let runs = || comparison.outcomes.iter().filter(move |outcome| outcome.key == (case, peer.title()));
    let values: Vec<f64> = runs().filter_map(|outcome| outcome.report.value(row.1)).collect();
    for outcome in runs() {
        for what in outcome.report.faults.iter().chain(&outcome.report.notes) {
            let note = format!("{}, {}, round {}: {what}", peer.title(), case.name(), outcome.round);
            if !notes.contains(&note) {
                notes.push(note);
            }
        }
    }
    match (spread(values), runs().next()) {
        (Some(spread), _) => format!("{spread} {}", row.2),
        (None, Some(_)) => "no figure".into(),
        (None, None) => "–".into(),
    }
}

/// The median, and the range if there is one.
fn spread(mut values: Vec<f64>) -> Option<String> {
    values.sort_by(f64::total_cmp);
    let (low, high) = (*values.first()?, *values.last()?);
    let middle = values.len() / 2;
    let median = if values.len() % 2 == 1 { values[middle] } else { f64::midpoint(values[middle - 1], values[middle]) };
    Some(match values.len() {
        1 => number(median),
        _ => format!("{} ({} – {})", number(median), number(low), number(high)),
    })
}

fn machine() -> String {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or(": unknown processor");
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("{}, Linux {}.", model.trim_start_matches([' ', '\t', ':']), kernel.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spread_tells_median_and_range() {
        assert_eq!(spread(vec![]), None);
        assert_eq!(spread(vec![4.0]).unwrap(), "4.00");
        assert_eq!(spread(vec![5.0, 3.0, 4.0]).unwrap(), "4.00 (3.00 – 5.00)");
        assert_eq!(spread(vec![3.0, 4.0]).unwrap(), "3.50 (3.00 – 4.00)");
    }

    #[test]
    fn table_without_outcomes_names_what_is_missing() {
        let missing = vec!["Pushpin was not measured: pushpin is not installed".to_owned()];
        let (peers, cases) = (vec![Peer::Bare], vec![Case::Fanout]);
        let comparison = Comparison { peers, cases, outcomes: Vec::new(), missing };
        let place = Place { fantail: "fantail".into(), server_cpu: 0, load_cpu: 1 };
        let table = table(&comparison, &place);
        assert!(table.contains("| latency p99, 20 msg/s | – |"));
        assert!(table.contains("- Pushpin was not measured"));
    }
}
