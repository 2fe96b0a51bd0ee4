//! What nginx's configuration says of the process itself, for whoever runs Fantail in nginx's place. No setting of a
//! `fantail.toml`.

use super::scope::Scope;
use super::tree::{Directive, Tree};
use super::value;

/// What is said of the process; paths as they are written.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Process {
    /// `pid`: the file with the process's number.
    pub pid: Option<String>,
    /// `error_log` outside of all blocks: the file for log lines.
    pub error_log: Option<String>,
    /// `daemon`: whether the process leaves the terminal.
    pub daemon: Option<bool>,
    /// `user`: as whom it serves, and the group if it is said.
    pub user: Option<(String, Option<String>)>,
    /// `worker_rlimit_nofile`: how many descriptors it may have.
    pub descriptors: Option<u64>,
}

impl Process {
    pub(super) fn of(tree: &Tree) -> Self {
        let top = Scope::default().within(&tree.top);
        let text = |name: &str| top.own(name).map(|directive| directive.first().to_owned());
        Self {
            pid: text("pid"),
            error_log: text("error_log"),
            daemon: top.own("daemon").map(Directive::first).and_then(value::flag),
            user: top.own("user").map(|user| (user.first().to_owned(), user.args.get(1).cloned())),
            descriptors: top.own("worker_rlimit_nofile").map(Directive::first).and_then(value::count),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::tree;
    use super::*;

    #[test]
    fn process_is_told_what_stands_outside_of_blocks() {
        let tree = tree("user www web; pid /run/a.pid; daemon off; worker_rlimit_nofile 4096; http { error_log b; }");
        let process = Process::of(&tree);
        assert_eq!(process.user, Some(("www".to_owned(), Some("web".to_owned()))));
        assert_eq!((process.pid.as_deref(), process.daemon), (Some("/run/a.pid"), Some(false)));
        assert_eq!((process.descriptors, process.error_log), (Some(4096), None));
    }
}
