//! The nearest of several names to one that is unknown.

/// The name in `known` that `word` was most likely meant to be; `None` if it resembles none.
pub(super) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let most = word.len().div_ceil(3);
    known
        .into_iter()
        .map(|name| (distance(word.as_bytes(), name.as_bytes()), name))
        .filter(|(distance, _)| *distance <= most)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// Insertions, deletions and substitutions that lead from `a` to `b` (Levenshtein).
fn distance(a: &[u8], b: &[u8]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_to_a_misspelling_is_found() {
        assert_eq!(nearest("pings", ["retry", "ping", "gap"]), Some("ping"));
        assert_eq!(nearest("strem", ["stop", "stream"]), Some("stream"));
        assert_eq!(nearest("zebra", ["ping", "retry"]), None);
        assert_eq!(distance(b"kitten", b"sitting"), 3);
    }
}
