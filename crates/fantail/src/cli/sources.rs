//! The arguments from which a configuration is read: the same for every command that needs one.

use std::path::PathBuf;

use clap::Args;

use super::nginx::{Carried, ConfArgs};
use crate::config::{Config, Flag, Sources, load};

/// Where settings come from, beside the environment.
#[derive(Args, Clone)]
pub(super) struct SourceArgs {
    #[command(flatten)]
    nginx: ConfArgs,
    #[arg(long, help = "Read settings from this TOML file [env: FANTAIL_CONFIG]", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Set one setting; may be repeated
    #[arg(long, value_name = "SECTION.KEY=VALUE")]
    set: Vec<String>,
    /// Where browsers connect (listen.public)
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// Where the application publishes (control.listen)
    #[arg(long, value_name = "ADDRESS")]
    control: Option<String>,
    /// Pass what no route takes to this server; may be repeated (upstream.default.servers)
    #[arg(long, value_name = "URL")]
    upstream: Vec<String>,
    /// Fan-out threads, 0 for one per core (listen.shards)
    #[arg(long, value_name = "N")]
    shards: Option<String>,
    /// Keep messages in this directory, which is made if it is missing (journal.url = "disk:DIR")
    #[arg(long, value_name = "DIR")]
    data: Option<String>,
    /// Keep messages in memory only, whatever journal is configured (journal.url = "memory:")
    #[arg(long, conflicts_with = "data")]
    ephemeral: bool,
}

/// The same for commands that look into the data directory.
#[derive(Args)]
pub(super) struct DirectoryArgs {
    #[arg(long, global = true, help = "Read settings from this TOML file [env: FANTAIL_CONFIG]", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Set one setting; may be repeated
    #[arg(long, global = true, value_name = "SECTION.KEY=VALUE")]
    set: Vec<String>,
    /// The data directory, if it is another than the configured one (journal.url)
    #[arg(long, global = true, value_name = "DIR")]
    data: Option<String>,
}

impl DirectoryArgs {
    /// These arguments and the environment.
    pub(super) fn sources(&self) -> Sources {
        let flags = at(self.data.as_deref()).into_iter().collect();
        let (file, set) = (self.config.clone(), self.set.clone());
        Sources { file, set, flags, ..Sources::default() }.with_environment()
    }
}

/// `--data DIR`, where it was given.
fn at(data: Option<&str>) -> Option<Flag> {
    Some(Flag { name: "--data", key: "journal.url", value: format!("disk:{}", data?) })
}

impl SourceArgs {
    /// The configuration that they mean, and what was carried over from nginx's if it is that.
    pub(super) fn read(&self) -> anyhow::Result<(Config, Option<Carried>)> {
        let mut sources = self.sources();
        let Some(carried) = self.nginx.carried()? else { return Ok((load(&sources)?, None)) };
        sources.text = Some(carried.text());
        let config = load(&sources).map_err(|error| carried.at_its_line(error))?;
        carried.check(&config)?;
        Ok((config, Some(carried)))
    }

    /// These arguments and the environment.
    fn sources(&self) -> Sources {
        let ephemeral = self.ephemeral.then(|| "memory:".to_owned());
        let flags = [
            ("--listen", "listen.public", &self.listen),
            ("--control", "control.listen", &self.control),
            ("--shards", "listen.shards", &self.shards),
            ("--ephemeral", "journal.url", &ephemeral),
        ];
        let flags = flags
            .into_iter()
            .filter_map(|(name, key, value)| Some(Flag { name, key, value: value.clone()? }))
            .chain(at(self.data.as_deref()))
            .collect();
        let (file, set, upstreams) = (self.config.clone(), self.set.clone(), self.upstream.clone());
        Sources { file, set, flags, upstreams, ..Sources::default() }.with_environment()
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::config::load;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        sources: SourceArgs,
    }

    fn sources(arguments: &[&str]) -> Sources {
        let mut sources = Command::parse_from([&["fantail"], arguments].concat()).sources.sources();
        sources.environment.clear();
        sources
    }

    #[test]
    fn flags_override_set() {
        let arguments = ["--set", "listen.shards=1", "--shards", "3", "--listen", "[::1]:0", "--ephemeral"];
        let config = load(&sources(&arguments)).unwrap();
        assert_eq!((config.listen.shards, config.listen.public.to_string().as_str()), (3, "[::1]:0"));
    }

    #[test]
    fn flags_say_where_the_journal_is() {
        let url = |arguments: &[&str]| load(&sources(arguments)).unwrap().journal.url.to_string();
        assert_eq!(url(&[]), "disk:fantail-data");
        assert_eq!(url(&["--ephemeral"]), "memory:");
        assert_eq!(url(&["--data", "/var/lib/fantail"]), "disk:/var/lib/fantail");
        assert_eq!(url(&["--set", "journal.url=memory:", "--data", "'a b'"]), "disk:'a b'");
        let error = load(&sources(&["--data", ""])).unwrap_err().to_string();
        assert!(error.starts_with("--data: journal.url: "), "{error}");
        assert!(Command::try_parse_from(["fantail", "--data", "a", "--ephemeral"]).is_err());
    }

    #[test]
    fn flags_for_upstreams_are_its_servers() {
        let arguments = ["--upstream", "http://127.0.0.1:3000", "--upstream", "http://127.0.0.1:3001"];
        let config = load(&sources(&arguments)).unwrap();
        assert_eq!(config.upstream["default"].servers.len(), 2);
        assert_eq!(config.route[0].path, "/{path...}");
    }

    #[test]
    fn flags_that_are_wrong_are_named() {
        let error = load(&sources(&["--control", "here"])).unwrap_err().to_string();
        assert!(error.starts_with("--control: control.listen: invalid socket address"), "{error}");
    }
}
