//! Wildcard channels: ordinary ones whose ids begin with a prefix, that a subscriber listens to beside its own. Not patterns.

use super::explain::Refusal;

/// Which channels are wildcards, and how many of them one subscriber may have.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Wildcards {
    /// What their ids begin with; where it is empty there are none.
    pub prefix: String,
    /// The most of them that one subscriber may have, if that is limited.
    pub most: Option<usize>,
}

impl Wildcards {
    /// Whether a channel is one.
    pub fn contains(&self, id: &str) -> bool {
        !self.prefix.is_empty() && id.starts_with(&self.prefix)
    }

    /// Whether these channels, at least one, may be listened to together: where a maximum is in force, no more wildcards than that, and not
    /// without any other channel.
    ///
    /// # Errors
    /// [`Refusal::TooManyWildcards`].
    pub fn check<'a>(&self, ids: impl IntoIterator<Item = &'a str>) -> Result<(), Refusal> {
        let Some(most) = self.most else { return Ok(()) };
        let (mut wildcards, mut others) = (0, 0);
        for id in ids {
            *(if self.contains(id) { &mut wildcards } else { &mut others }) += 1;
        }
        let refused = wildcards > most || others == 0;
        if refused { Err(Refusal::TooManyWildcards) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wildcards(most: Option<usize>) -> Wildcards {
        Wildcards { prefix: "broad_".to_owned(), most }
    }

    #[test]
    fn wildcard_is_what_begins_with_the_prefix() {
        for (id, expected) in
            [("broad_news", true), ("broad_", true), ("broad", false), ("Broad_x", false), ("", false)]
        {
            assert_eq!(wildcards(None).contains(id), expected, "{id}");
        }
        assert!(!Wildcards::default().contains("a") && !Wildcards::default().contains(""));
    }

    #[test]
    fn wildcards_are_refused_when_too_many_or_alone() {
        let refused = Err(Refusal::TooManyWildcards);
        for (ids, most, expected) in [
            (&["a", "broad_1"][..], Some(1), Ok(())),
            (&["a", "broad_1", "broad_2"], Some(1), refused),
            (&["a", "broad_1", "broad_2"], Some(2), Ok(())),
            (&["broad_1"], Some(1), refused),
            (&["broad_1", "broad_2"], Some(1), refused),
            (&["a", "b"], Some(1), Ok(())),
            (&["broad_1"], None, Ok(())),
            (&["broad_1", "broad_2"], None, Ok(())),
        ] {
            assert_eq!(wildcards(most).check(ids.iter().copied()), expected, "{ids:?} {most:?}");
        }
    }
}
