//! Becoming a user without privileges, once what needs them is done.

use std::ffi::CString;

use anyhow::{Context, bail};
use nix::unistd::{Gid, Group, Uid, User as Account, initgroups, setgid, setuid};

/// A user of the system.
#[derive(Debug)]
pub(super) struct User {
    name: CString,
    uid: Uid,
    gid: Gid,
}

impl User {
    /// The user of that name. The group has the same name unless it is said; where there is none, it is the user's own.
    pub(super) fn find(name: &str, group: Option<&str>) -> anyhow::Result<Self> {
        let account = Account::from_name(name).with_context(|| format!("user: cannot look up \"{name}\""))?;
        let Some(account) = account else { bail!("user: \"{name}\" is not a user of this system") };
        let group_name = group.unwrap_or(name);
        let group = Group::from_name(group_name).with_context(|| format!("user: cannot look up \"{group_name}\""))?;
        let gid = match group {
            Some(group) => group.gid,
            None if group_name == name => account.gid,
            None => bail!("user: \"{group_name}\" is not a group of this system"),
        };
        Ok(Self { name: CString::new(name).context("user")?, uid: account.uid, gid })
    }

    /// Its number.
    pub(super) fn number(&self) -> u32 {
        self.uid.as_raw()
    }

    /// Lets the whole process be it, for good.
    pub(super) fn become_it(&self) -> anyhow::Result<()> {
        initgroups(&self.name, self.gid).context("user: cannot take its groups")?;
        setgid(self.gid).context("user: cannot take its group")?;
        setuid(self.uid).context("user: cannot become it")
    }
}

/// Whether we may become others.
pub(super) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_that_is_none_is_named() {
        let error = |name: &str, group: Option<&str>| User::find(name, group).unwrap_err().to_string();
        assert_eq!(error("no-such-user", None), "user: \"no-such-user\" is not a user of this system");
        assert_eq!(error("root", Some("no-such-group")), "user: \"no-such-group\" is not a group of this system");
        assert_eq!(User::find("root", None).unwrap().number(), 0);
    }
}
