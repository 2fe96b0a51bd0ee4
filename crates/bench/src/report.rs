//! What a scenario found: figures with their units, a latency curve, and what went wrong. A run with a fault has no
//! figures.

use std::fmt::Write;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::ledger::Ledger;
use crate::meter::{DISTURBED, LOAD_BUSY, Usage};

/// Quantiles of the latency curve.
const CURVE: [f64; 12] = [0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.995, 0.999, 0.9999, 1.0];

/// One number.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Figure {
    pub(crate) name: String,
    pub(crate) value: f64,
    pub(crate) unit: &'static str,
}

/// A line for the plot.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Curve {
    pub(crate) x: String,
    pub(crate) y: String,
    pub(crate) points: Vec<(f64, f64)>,
}

/// One run of one scenario.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) scenario: String,
    /// What was asked for.
    pub(crate) settings: String,
    pub(crate) figures: Vec<Figure>,
    pub(crate) curve: Curve,
    pub(crate) faults: Vec<String>,
    pub(crate) notes: Vec<String>,
}

impl Report {
    pub(crate) fn new(scenario: &str, settings: String) -> Self {
        let (scenario, curve) = (scenario.to_owned(), Curve::default());
        Self { scenario, settings, figures: Vec::new(), curve, faults: Vec::new(), notes: Vec::new() }
    }

    /// What a run found; one that failed is told by its fault.
    pub(crate) fn or_fault(scenario: &str, found: anyhow::Result<Self>) -> Self {
        found.unwrap_or_else(|error| {
            let mut report = Self::new(scenario, String::new());
            report.faults.push(format!("{error:#}"));
            report
        })
    }

    pub(crate) fn figure(&mut self, name: &str, value: f64, unit: &'static str) {
        self.figures.push(Figure { name: name.to_owned(), value, unit });
    }

    pub(crate) fn value(&self, name: &str) -> Option<f64> {
        self.figures.iter().find(|figure| figure.name == name).map(|figure| figure.value)
    }

    /// Percentiles of a histogram of microseconds, in milliseconds.
    pub(crate) fn percentiles(&mut self, of: &str, histogram: &Histogram<u64>) {
        if histogram.is_empty() {
            return;
        }
        for (name, quantile) in [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999), ("max", 1.0)] {
            self.figure(&format!("{of} {name}"), milliseconds(histogram, quantile), "ms");
        }
        let points = CURVE.iter().map(|&quantile| (100.0 * quantile, milliseconds(histogram, quantile))).collect();
        self.curve = Curve { x: "percentile".into(), y: format!("{of}, ms"), points };
    }

    /// What the run cost, for `each` of so many.
    pub(crate) fn usage(&mut self, usage: &Usage, each: &str, count: u64) {
        if let Some(server) = usage.server {
            self.figure(&format!("server CPU per {each}"), server as f64 / 1000.0 / count.max(1) as f64, "µs");
            self.figure("server CPU", 100.0 * server as f64 / usage.elapsed as f64, "% of a core");
        }
        self.figure("load CPU", usage.load, "% of a core");
        if usage.load > LOAD_BUSY {
            self.notes.push(format!("the load itself was busy ({:.0} % of its core)", usage.load));
        }
        for (who, waited) in [("server", usage.server_waited), ("load", usage.load_waited)] {
            if waited > DISTURBED {
                self.notes.push(format!("the {who} waited for its core for {waited:.1} % of the time"));
            }
        }
    }

    /// Takes over what the books say is wrong.
    pub(crate) fn check(mut self, ledger: &Ledger) -> Self {
        self.faults.extend(ledger.faults());
        if let Some(why) = &ledger.first_retry {
            self.notes.push(format!("{} connections had to be tried again before the run ({why})", ledger.retried));
        }
        if !self.faults.is_empty() {
            self.figures.clear();
            self.curve = Curve::default();
        }
        self
    }

    /// The report as a table for a terminal.
    pub(crate) fn table(&self) -> String {
        let mut out = format!("{}: {}\n", self.scenario, self.settings);
        let width = self.figures.iter().map(|figure| figure.name.chars().count()).max().unwrap_or(0);
        for Figure { name, value, unit } in &self.figures {
            let _ = writeln!(out, "  {name:width$}  {:>12} {unit}", number(*value));
        }
        for fault in &self.faults {
            let _ = writeln!(out, "  no figure: {fault}");
        }
        for note in &self.notes {
            let _ = writeln!(out, "  note: {note}");
        }
        out
    }
}

/// A quantile of a histogram of microseconds, in milliseconds.
pub(crate) fn milliseconds(histogram: &Histogram<u64>, quantile: f64) -> f64 {
    histogram.value_at_quantile(quantile) as f64 / 1000.0
}

/// A number with about three digits that matter.
pub(crate) fn number(value: f64) -> String {
    match value.abs() {
        v if v >= 10_000.0 => {
            let digits = format!("{value:.0}");
            let mut out = String::new();
            for (n, digit) in digits.chars().enumerate() {
                if n > 0 && (digits.len() - n) % 3 == 0 {
                    out.push(' ');
                }
                out.push(digit);
            }
            out
        }
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        v if v >= 0.1 || v == 0.0 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn number_keeps_the_digits_that_matter() {
        let texts = [0.0, 0.0123, 0.5, 4.2, 42.0, 420.0, 4200.0, 1_234_567.0].map(number);
        assert_eq!(texts, ["0.00", "0.0123", "0.50", "4.20", "42.0", "420", "4200", "1 234 567"]);
    }

    #[test]
    fn report_with_a_fault_has_no_figures() {
        let mut ledger = Ledger::new(1, 100, 1, 1);
        ledger.channels[0].listeners = 1;
        ledger.publish(0, 0);
        let mut report = Report::new("fanout", String::new());
        report.figure("x", 1.0, "ms");
        let report = report.check(&ledger);
        assert!(report.figures.is_empty());
        assert_eq!(report.faults, ["1 messages not delivered"]);
    }
}
