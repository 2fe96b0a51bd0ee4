//! What a server tells of itself at `/metrics`, in the text format of Prometheus. Knows no names.

use std::collections::HashMap;

/// Samples by name, those of one name summed over their labels.
#[derive(Clone, Debug, Default)]
pub(crate) struct Metrics(HashMap<String, f64>);

impl Metrics {
    /// Lines that are no samples are passed over.
    pub(crate) fn parse(text: &str) -> Self {
        let mut sums = HashMap::new();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let Some(end) = line.find(['{', ' ']) else { continue };
            let (name, rest) = line.split_at(end);
            // A label's value may hold blanks, but no brace is behind the last one.
            let value = rest.rsplit_once('}').map_or(rest, |(_, value)| value).split_whitespace().next();
            if let Some(value) = value.and_then(|value| value.parse::<f64>().ok()) {
                *sums.entry(name.to_owned()).or_insert(0.0) += value;
            }
        }
        Self(sums)
    }

    /// `None` where the server does not tell it.
    pub(crate) fn value(&self, name: &str) -> Option<f64> {
        self.0.get(name).copied()
    }

    /// How much a counter has grown since `before`.
    pub(crate) fn since(&self, before: &Self, name: &str) -> Option<f64> {
        Some(self.value(name)? - before.value(name).unwrap_or(0.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_summed_over_labels_and_read_behind_them() {
        let text = "# HELP a b\n# TYPE a counter\na_total{shard=\"0\"} 3\na_total{shard=\"1 } 9\"} 4 1700000000\nb 2.5\n\n# EOF\n";
        let metrics = Metrics::parse(text);
        assert_eq!((metrics.value("a_total"), metrics.value("b"), metrics.value("a")), (Some(7.0), Some(2.5), None));
        let before = Metrics::parse("a_total{shard=\"0\"} 2\n");
        assert_eq!((metrics.since(&before, "a_total"), metrics.since(&before, "b")), (Some(5.0), Some(2.5)));
    }
}
