//! How many descriptors the process may have: every connection is one.

use anyhow::Context as _;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// As many as the system lets us have: the usual soft limit of 1,024 is far below what the hard one allows.
pub(super) fn raise() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum {
        return;
    }
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        tracing::warn!(?current, ?maximum, %error, "cannot raise the descriptor limit");
    }
}

/// So many. Only root can have more than the hard limit.
pub(super) fn set(most: u64) -> anyhow::Result<()> {
    setrlimit(Resource::Nofile, Rlimit { current: Some(most), maximum: Some(most) }).with_context(|| {
        let hard = getrlimit(Resource::Nofile).maximum.map_or("none".to_owned(), |hard| hard.to_string());
        format!("worker_rlimit_nofile: cannot have {most} descriptors, the hard limit is {hard}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limit_once_raised_is_the_hard_one() {
        raise();
        let limit = getrlimit(Resource::Nofile);
        assert_eq!(limit.current, limit.maximum);
    }
}
