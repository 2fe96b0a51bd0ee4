//! What GRIP's filters do: some keep a message from a subscriber, some fill values into its text.

use std::collections::BTreeMap;

/// A filter, by its name in `Grip-Channel` and in `content-filters`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Filter {
    /// Not for the subscriber whose `user` is the message's `sender`.
    SkipSelf,
    /// Not for those whose `user` is among the message's `skip_users`.
    SkipUsers,
    /// Only for those who are on the channel that the message's `require_sub` names as well.
    RequireSub,
    /// `%I` in the text is an id that is built of the last ids of all channels.
    BuildId,
    /// `%(name)s` in the text is what is known of the subscriber under this name.
    VarSubst,
}

impl Filter {
    /// All names, for error messages.
    pub const EXPECTED: &str = "skip-self, skip-users, require-sub, build-id or var-subst";
    /// Those that fill in text.
    pub const EXPECTED_CONTENT: &str = "build-id or var-subst";

    /// The filter of this name.
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "skip-self" => Self::SkipSelf,
            "skip-users" => Self::SkipUsers,
            "require-sub" => Self::RequireSub,
            "build-id" => Self::BuildId,
            "var-subst" => Self::VarSubst,
            _ => return None,
        })
    }

    /// Whether it fills in text.
    pub fn is_content(self) -> bool {
        matches!(self, Self::BuildId | Self::VarSubst)
    }

    /// Whether it keeps a message with `said` of it from a subscriber of whom `known` is known and who `is_on` channels.
    pub(super) fn drops(
        self,
        said: &BTreeMap<String, String>,
        known: &BTreeMap<String, String>,
        is_on: impl Fn(&str) -> bool,
    ) -> bool {
        let user = known.get("user");
        match self {
            Self::SkipSelf => user.is_some() && said.get("sender") == user,
            Self::SkipUsers => match (said.get("skip_users"), user) {
                (Some(skipped), Some(user)) => skipped.split(',').any(|skipped| skipped.trim() == user),
                _ => false,
            },
            Self::RequireSub => said.get("require_sub").is_some_and(|channel| !is_on(channel)),
            Self::BuildId | Self::VarSubst => false,
        }
    }
}

/// Copies `text` with what `fill` has for its marks: the name of `%(name)s`, or `I` for `%I`. `%%` is a percent sign; what is
/// no mark, or has no value, stays as it stands.
pub(super) fn fill(text: &[u8], mark: impl Fn(&str) -> Option<String>) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.iter().position(|&b| b == b'%') {
        out.extend_from_slice(&rest[..at]);
        rest = &rest[at..];
        let (taken, value) = match rest.get(1) {
            Some(b'%') => (2, Some("%".to_owned())),
            Some(b'I') => (2, mark("I")),
            Some(b'(') => match rest.windows(2).position(|bytes| bytes == b")s") {
                Some(end) => (end + 2, std::str::from_utf8(&rest[2..end]).ok().and_then(&mark)),
                None => (1, None),
            },
            _ => (1, None),
        };
        match value {
            Some(value) => out.extend_from_slice(value.as_bytes()),
            None => out.extend_from_slice(&rest[..taken]),
        }
        rest = &rest[taken..];
    }
    out.extend_from_slice(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn drops_by_sender_user_and_channel() {
        let drops = |filter: Filter, said: &[(&str, &str)], known: &[(&str, &str)]| {
            filter.drops(&map(said), &map(known), |channel| channel == "a")
        };
        assert!(drops(Filter::SkipSelf, &[("sender", "1")], &[("user", "1")]));
        assert!(!drops(Filter::SkipSelf, &[("sender", "1")], &[("user", "2")]));
        assert!(!drops(Filter::SkipSelf, &[], &[]));
        assert!(drops(Filter::SkipUsers, &[("skip_users", "3, 1")], &[("user", "1")]));
        assert!(!drops(Filter::SkipUsers, &[("skip_users", "31")], &[("user", "1")]));
        assert!(!drops(Filter::SkipUsers, &[("skip_users", "1")], &[]));
        assert!(drops(Filter::RequireSub, &[("require_sub", "b")], &[]));
        assert!(!drops(Filter::RequireSub, &[("require_sub", "a")], &[]));
        assert!(!drops(Filter::RequireSub, &[], &[]));
    }

    #[test]
    fn fill_replaces_marks_and_nothing_else() {
        let filled = |text: &str| {
            let mark = |name: &str| match name {
                "I" => Some("a:1".to_owned()),
                "user" => Some("7%I".to_owned()),
                _ => None,
            };
            String::from_utf8(fill(text.as_bytes(), mark)).unwrap()
        };
        assert_eq!(filled("id: %I\ndata: 100%% of %(user)s"), "id: a:1\ndata: 100% of 7%I");
        for kept in ["plain", "%", "a%20b", "%(user)", "%(none)s", "%(", "%i", ""] {
            assert_eq!(filled(kept), kept);
        }
        assert_eq!(filled("%%I %%%I"), "%I %a:1");
    }
}
