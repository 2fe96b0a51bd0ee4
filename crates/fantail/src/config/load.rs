//! Where the configuration is read from: defaults, then the file, the environment, `--set` and flags, each over those
//! before it.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
};

use super::{Config, ConfigError, Origin, keys::VARIABLE, layers::Layers};

/// The environment variable that names the file.
const FILE: &str = "FANTAIL_CONFIG";
/// The environment variable from which `fantail publish` takes the control listener's URL; not a setting.
pub const CONTROL_URL: &str = "FANTAIL_CONTROL_URL";
/// The environment variable from which `fantail tail` takes the public listener's URL; not a setting.
pub const PUBLIC_URL: &str = "FANTAIL_PUBLIC_URL";
/// The environment variable from which `fantail publish` and `fantail tail` take the key; not a setting.
pub const TOKEN: &str = "FANTAIL_TOKEN";

/// Everything that a configuration is read from, beside the defaults.
///
/// SECURITY: it holds secrets as they were given, so it cannot be printed.
#[derive(Clone, Default)]
pub struct Sources {
    /// The file; if there is none, the environment variable `FANTAIL_CONFIG` may name one.
    pub file: Option<PathBuf>,
    /// What was made of another program's configuration, in place of the file.
    pub text: Option<Text>,
    /// The environment variables; those that do not begin with `FANTAIL_` are ignored.
    pub environment: Vec<(String, OsString)>,
    /// `section.key=value`, in the order in which they were given.
    pub set: Vec<String>,
    /// Flags that stand for a setting.
    pub flags: Vec<Flag>,
    /// Servers of the upstream `default`, to which everything goes that no route takes.
    pub upstreams: Vec<String>,
}

/// A configuration that was made, and not written.
#[derive(Clone)]
pub struct Text {
    /// The file of which it was made.
    pub path: PathBuf,
    /// What was made of it.
    pub toml: String,
    /// Settings in the place of the defaults.
    pub defaults: &'static [(&'static str, &'static str)],
}

/// A flag that stands for a setting.
#[derive(Clone)]
pub struct Flag {
    /// The flag, for errors: `--listen`.
    pub name: &'static str,
    /// The setting: `listen.public`.
    pub key: &'static str,
    /// Its value.
    pub value: String,
}

impl Sources {
    /// Adds the variables of this process's environment.
    #[must_use]
    pub fn with_environment(mut self) -> Self {
        let variables = std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value)));
        self.environment.extend(variables.filter(|(name, _)| name.starts_with(VARIABLE)));
        self
    }

    fn file(&self) -> Option<PathBuf> {
        let variable = || self.environment.iter().find(|(name, _)| name == FILE).map(|(_, path)| PathBuf::from(path));
        self.file.clone().or_else(variable).filter(|path| !path.as_os_str().is_empty())
    }
}

/// Reads a configuration and checks it as a whole.
pub fn load(sources: &Sources) -> Result<Config, ConfigError> {
    let mut layers = Layers::default();
    if let Some(text) = &sources.text {
        for (key, value) in text.defaults {
            let key: Vec<&str> = key.split('.').collect();
            layers.text(&key, value, &Origin::Default)?;
        }
        layers.file(&text.path, &text.toml)?;
    } else if let Some(path) = sources.file() {
        match fs::read_to_string(&path) {
            Ok(text) => layers.file(&path, &text)?,
            Err(source) => return Err(ConfigError::Read { path, source }),
        }
    }
    let mut environment: Vec<_> = sources.environment.iter().filter(|(name, _)| is_setting(name)).collect();
    environment.sort();
    for (name, value) in environment {
        layers.environment(name, value)?;
    }
    for assignment in &sources.set {
        layers.set(assignment)?;
    }
    for flag in &sources.flags {
        let key: Vec<&str> = flag.key.split('.').collect();
        layers.text(&key, &flag.value, &Origin::Flag(flag.name))?;
    }
    if !sources.upstreams.is_empty() {
        layers.upstreams(&sources.upstreams)?;
    }
    layers.finish()
}

/// Reads a configuration from a file's text alone.
pub(super) fn from_text(path: &Path, text: &str) -> Result<Config, ConfigError> {
    let mut layers = Layers::default();
    layers.file(path, text)?;
    layers.finish()
}

/// Whether an environment variable is meant as a setting. Kubernetes and Docker make variables of their own for a service
/// that is named "fantail"; they are no reason not to start.
fn is_setting(name: &str) -> bool {
    let Some(rest) = name.strip_prefix(VARIABLE) else { return false };
    let orchestrator = !rest.contains("__")
        && (["PORT", "NAME", "SERVICE_HOST", "SERVICE_PORT"].contains(&rest)
            || ["PORT_", "ENV_", "SERVICE_PORT_"].iter().any(|prefix| rest.starts_with(prefix)));
    !orchestrator && ![FILE, CONTROL_URL, PUBLIC_URL, TOKEN].contains(&name)
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;
    use crate::config::{Gap, Memory, Size, Span, section::Section};

    fn environment(name: &str, value: &str) -> Sources {
        Sources { environment: vec![(name.to_owned(), value.into())], ..Sources::default() }
    }

    fn set(assignment: &str) -> Sources {
        Sources { set: vec![assignment.to_owned()], ..Sources::default() }
    }

    #[test]
    fn load_of_nothing_is_the_default() {
        assert_eq!(load(&Sources::default()).unwrap(), Config::default());
        assert_eq!(Config::from_toml("").unwrap(), Config::default());
    }

    #[test]
    fn load_of_several_sources_takes_the_last() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("fantail.toml");
        fs::write(
            &path,
            "[stream]\nping = '1s'\nretry = '1s'\nlifetime = '1s'\ngap = 'off'\n[hub]\nmessages = 7\n\
             [listen]\nshards = 1\n",
        )
        .unwrap();
        let config = load(&Sources {
            file: Some(path),
            text: None,
            environment: vec![
                ("FANTAIL_STREAM__RETRY".to_owned(), "2s".into()),
                ("FANTAIL_STREAM__LIFETIME".to_owned(), "2s".into()),
                ("FANTAIL_LISTEN__SHARDS".to_owned(), "2".into()),
                ("HOME".to_owned(), "/".into()),
            ],
            set: vec!["stream.lifetime=3s".to_owned(), "listen.shards=3".to_owned()],
            flags: vec![Flag { name: "--shards", key: "listen.shards", value: "4".to_owned() }],
            upstreams: Vec::new(),
        })
        .unwrap();
        assert_eq!(config.stream.ping, Span::secs(1));
        assert_eq!(config.stream.retry, Span::secs(2));
        assert_eq!(config.stream.lifetime, Span::secs(3));
        assert_eq!(config.stream.gap, Gap::Off);
        assert_eq!((config.listen.shards, config.hub.messages), (4, 7));
    }

    #[test]
    fn load_of_file_named_by_the_environment_reads_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.toml");
        fs::write(&path, "hub.messages = 7").unwrap();
        let config = load(&environment("FANTAIL_CONFIG", path.to_str().unwrap())).unwrap();
        assert_eq!(config.hub.messages, 7);
    }

    #[test]
    fn load_of_file_that_is_missing_names_it() {
        let error = load(&environment("FANTAIL_CONFIG", "/nowhere/fantail.toml")).unwrap_err();
        assert_eq!(error.to_string(), "cannot read the configuration file /nowhere/fantail.toml");
        assert!(error.source().unwrap().to_string().contains("No such file"));
    }

    #[test]
    fn load_of_text_without_quotes_is_a_string() {
        for (name, value) in [("FANTAIL_CONTROL__KEY", "12345"), ("FANTAIL_CONTROL__KEY", "'12345'")] {
            assert_eq!(load(&environment(name, value)).unwrap().control.key.unwrap().expose(), "12345");
        }
        assert_eq!(load(&set("hub.bytes=65536")).unwrap().hub.bytes, Size::kib(64));
        assert_eq!(load(&set("hub.memory=10%")).unwrap().hub.memory, Memory::Percent(10));
        assert_eq!(load(&set("stream.lifetime=0")).unwrap().stream.lifetime, Span::ZERO);
        assert_eq!(load(&set("native.prefix = /events/")).unwrap().native.prefix, "/events/");
        let key = load(&set("control.key=a\nopen = true")).unwrap_err().to_string();
        assert!(key.starts_with("--set: control.key: must be visible ASCII"), "{key}");
    }

    #[test]
    fn load_of_lists_from_the_environment_replaces_the_files() {
        let origins = load(&environment("FANTAIL_CORS__ORIGINS", "['https://a.example', 'http://b.example:81']"));
        assert_eq!(origins.unwrap().cors.origins, ["https://a.example", "http://b.example:81"]);
        let routes = load(&set("route=[{path = '/a', channels = ['a']}]")).unwrap().route;
        assert_eq!((routes.len(), routes[0].path.as_str()), (1, "/a"));
    }

    #[test]
    fn load_of_variables_that_are_no_settings_ignores_them() {
        for name in [
            CONTROL_URL,
            PUBLIC_URL,
            TOKEN,
            "FANTAIL_PORT",
            "FANTAIL_PORT_8080_TCP_ADDR",
            "FANTAIL_SERVICE_HOST",
            "FANTAIL_SERVICE_PORT_HTTP",
            "PATH",
        ] {
            assert!(load(&environment(name, "x")).is_ok(), "{name}");
        }
    }

    #[test]
    fn load_of_sections_in_every_notation_is_the_same() {
        let header = Config::from_toml("[stream]\nping = '5s'\n[[route]]\npath = '/{channel}'\n").unwrap();
        let inline = Config::from_toml("stream = { ping = '5s' }\nroute = [{ path = '/{channel}' }]\n").unwrap();
        let dotted = Config::from_toml("stream.ping = '5s'\nroute = [{ path = '/{channel}' }]\n").unwrap();
        assert_eq!(header, inline);
        assert_eq!(header, dotted);
    }

    #[test]
    fn effective_configuration_reads_back_the_same() {
        let text = "[listen]\npublic = '[::1]:9000'\n[hub]\nmemory = '64MiB'\n[[retention]]\nprefix = 'user.'\n\
                    age = '90s'\n[[route]]\npath = '/room/{channel}/events'\ngap = 'comment'\nping = '250ms'\n\
                    [[route]]\npath = '/news'\nchannels = ['news', 'weather']\n\
                    [[route]]\npath = '/api/{path...}'\nhost = '*.example'\naction = 'proxy'\nupstream = 'app'\n\
                    set_request = { 'X-Env' = 'prod' }\nremove_response = ['Server']\n[[route]]\npath = '/{channel}'\n\
                    [[route]]\npath = '~* ^/ev/(.*)$'\naction = 'push_stream'\nsubscriber = 'eventsource'\n\
                    channels_path = '$1'\nmessage_template = \"~text~\\n\"\nping_message_interval = '10s'\n\
                    [push_stream]\nstrict = true\nevents_channel_id = 'events'\n[proxy]\nname = 'edge'\n[upstream.app]\n\
                    servers = ['http://[::1]:3000', 'unix:/run/app.sock']\n";
        for config in [Config::default(), Config::from_toml(text).unwrap()] {
            assert_eq!(Config::from_toml(&config.effective_toml()).unwrap(), config);
        }
        for section in Config::FIELDS {
            assert!(Config::default().effective_toml().contains(section.name), "{} is not shown", section.name);
        }
    }

    #[test]
    fn effective_configuration_masks_secrets() {
        let config = Config::from_toml("control.key = 'hunter2'").unwrap();
        assert!(config.effective_toml().contains("key = \"***\""));
        assert!(!config.effective_toml().contains("hunter2"));
        assert!(!format!("{config:?}").contains("hunter2"));
    }
}
