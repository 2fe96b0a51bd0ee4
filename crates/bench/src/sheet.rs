//! A comparison's sheet: servers in columns, figures in rows, medians over rounds in the cells, and what a reader needs to
//! judge them: machine, versions, faults, configurations. Knows neither the servers nor the work.

use std::fmt::Write;
use std::fs;
use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use serde::Serialize;

use crate::report::{Report, number};

/// A server that was measured.
#[derive(Clone, Debug)]
pub(crate) struct Column {
    pub(crate) title: &'static str,
    pub(crate) version: String,
    pub(crate) configuration: &'static str,
}

/// A figure of one kind of work.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    /// The kind of work.
    pub(crate) case: String,
    /// What the table says.
    pub(crate) what: String,
    /// The report's name for it.
    pub(crate) figure: &'static str,
    pub(crate) unit: &'static str,
}

/// What came of one kind of work with one server in one round.
#[derive(Debug, Serialize)]
pub(crate) struct Outcome {
    pub(crate) case: String,
    pub(crate) server: &'static str,
    pub(crate) round: usize,
    pub(crate) report: Report,
}

/// All that the table is made from.
#[derive(Debug, Default)]
pub(crate) struct Sheet {
    pub(crate) columns: Vec<Column>,
    pub(crate) rows: Vec<Row>,
    pub(crate) outcomes: Vec<Outcome>,
    /// What a reader must know beside the figures: servers that could not be measured, and why; where data lay.
    pub(crate) notes: Vec<String>,
}

/// Where to write the sheet.
#[derive(Args, Clone, Debug)]
pub(crate) struct Files {
    /// Write the table as Markdown
    #[arg(long)]
    markdown: Option<PathBuf>,
    /// Write all reports as JSON
    #[arg(long)]
    json: Option<PathBuf>,
}

impl Sheet {
    /// Gives a server a column with its version and configuration, or, where it is `missing`, a note of why. Whether it can be
    /// measured.
    pub(crate) fn admit(
        &mut self,
        title: &'static str,
        missing: Option<String>,
        details: impl FnOnce() -> (String, &'static str),
    ) -> bool {
        if let Some(why) = missing {
            self.notes.push(format!("{title} was not measured: {why}"));
            return false;
        }
        let (version, configuration) = details();
        self.columns.push(Column { title, version, configuration });
        true
    }

    /// Prints the table, and writes what was asked for.
    pub(crate) fn publish(&self, files: &Files) -> anyhow::Result<()> {
        let table = self.table();
        println!("{table}");
        let write = |path: &Option<PathBuf>, text: &str| match path {
            Some(path) => fs::write(path, text).with_context(|| format!("cannot write {}", path.display())),
            None => Ok(()),
        };
        write(&files.markdown, &table)?;
        write(&files.json, &serde_json::to_string_pretty(&self.outcomes)?)
    }

    /// Every run has its figures.
    pub(crate) fn is_sound(&self) -> bool {
        self.outcomes.iter().all(|outcome| outcome.report.faults.is_empty())
    }

    fn table(&self) -> String {
        let mut out = String::from("| what |");
        let mut notes = self.notes.clone();
        for column in &self.columns {
            let _ = write!(out, " {} |", column.title);
        }
        let _ = writeln!(out, "\n|---|{}", "---|".repeat(self.columns.len()));
        for row in &self.rows {
            let _ = write!(out, "| {} |", row.what);
            for column in &self.columns {
                let _ = write!(out, " {} |", self.cell(row, column.title, &mut notes));
            }
            out.push('\n');
        }
        let _ = writeln!(out, "\nMedians, with the range over the rounds. {}", machine());
        for note in notes {
            let _ = writeln!(out, "- {note}");
        }
        out.push('\n');
        for Column { title, version, configuration } in &self.columns {
            let text = configuration.trim_end();
            let _ = writeln!(out, "<details><summary>{title}: {version}</summary>\n\n```\n{text}\n```\n</details>");
        }
        out
    }

    fn cell(&self, row: &Row, server: &str, notes: &mut Vec<String>) -> String {
        let runs = || self.outcomes.iter().filter(|outcome| outcome.case == row.case && outcome.server == server);
        let values: Vec<f64> = runs().filter_map(|outcome| outcome.report.value(row.figure)).collect();
        for outcome in runs() {
            for what in outcome.report.faults.iter().chain(&outcome.report.notes) {
                let note = format!("{server}, {}, round {}: {what}", row.case, outcome.round);
                if !notes.contains(&note) {
                    notes.push(note);
                }
            }
        }
        match spread(values) {
            Some(spread) => format!("{spread} {}", row.unit).trim_end().to_owned(),
            None if runs().any(|outcome| !outcome.report.faults.is_empty()) => "no figure".into(),
            None => "–".into(),
        }
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

    fn sheet() -> Sheet {
        let column = |title| Column { title, version: "1".into(), configuration: "none" };
        let row = Row { case: "fanout".into(), what: "latency".into(), figure: "latency p99", unit: "ms" };
        let notes = vec!["Pushpin was not measured: pushpin is not installed".to_owned()];
        Sheet { columns: vec![column("a"), column("b"), column("c")], rows: vec![row], outcomes: Vec::new(), notes }
    }

    fn outcome(server: &'static str, value: Option<f64>) -> Outcome {
        let mut report = Report::new("fanout", String::new());
        match value {
            Some(value) => report.figure("latency p99", value, "ms"),
            None => report.faults.push("it fell over".into()),
        }
        Outcome { case: "fanout".into(), server, round: 1, report }
    }

    #[test]
    fn spread_tells_median_and_range() {
        assert_eq!(spread(vec![]), None);
        assert_eq!(spread(vec![4.0]).unwrap(), "4.00");
        assert_eq!(spread(vec![5.0, 3.0, 4.0]).unwrap(), "4.00 (3.00 – 5.00)");
        assert_eq!(spread(vec![3.0, 4.0]).unwrap(), "3.50 (3.00 – 4.00)");
    }

    #[test]
    fn sheet_with_a_fault_is_not_sound() {
        let mut sheet = sheet();
        sheet.outcomes = vec![outcome("a", Some(4.0))];
        assert!(sheet.is_sound());
        sheet.outcomes.push(outcome("b", None));
        assert!(!sheet.is_sound());
    }

    #[test]
    fn table_tells_faults_from_work_that_was_not_done() {
        let mut sheet = sheet();
        sheet.outcomes = vec![outcome("a", Some(4.0)), outcome("b", None)];
        let table = sheet.table();
        assert!(table.contains("| latency | 4.00 ms | no figure | – |"), "{table}");
        assert!(table.contains("- b, fanout, round 1: it fell over"));
        assert!(table.contains("- Pushpin was not measured"));
    }
}
