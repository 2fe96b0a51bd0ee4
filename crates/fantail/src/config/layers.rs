//! What has been read so far of a configuration: tables laid over one another, deserialised once at the end, and where
//! each value came from, for the errors.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    path::{Path, PathBuf},
};

use serde::Deserialize;
use toml::{
    Table, Value,
    de::{DeTable, DeValue},
};

use super::{
    Action, Config, ConfigError, Origin, TextFile,
    error::Problem,
    keys::{VARIABLE, check, field, join, unknown_variable},
    section::{Field, Kind, Section},
};

/// The flag that names servers of an upstream.
const UPSTREAM: &str = "--upstream";
/// That upstream.
const DEFAULT_UPSTREAM: &str = "default";
/// The path of the route to it.
const EVERY_PATH: &str = "/{path...}";

/// What has been read so far.
#[derive(Default)]
pub(super) struct Layers {
    merged: Table,
    /// Where each value, and each element of a list, came from.
    origins: BTreeMap<String, Origin>,
}

impl Layers {
    /// The file's text.
    pub(super) fn file(&mut self, path: &Path, text: &str) -> Result<(), ConfigError> {
        let at = |offset: usize| Origin::File {
            path: path.to_owned(),
            line: text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1,
        };
        let syntax = |error: toml::de::Error| ConfigError::Syntax {
            origin: at(error.span().map_or(0, |span| span.start)),
            reason: format!("not TOML: {}", error.message().replace('\n', ", ")),
        };
        let spans = DeTable::parse(text).map_err(syntax)?;
        let mut offsets = BTreeMap::new();
        table_offsets("", spans.get_ref(), &mut offsets);
        let table = text.parse().map_err(syntax)?;
        self.overlay(table, &|key| at(ancestor(key, &offsets).copied().unwrap_or(0)))
    }

    /// An environment variable.
    pub(super) fn environment(&mut self, name: &str, value: &OsString) -> Result<(), ConfigError> {
        let origin = Origin::Environment(name.to_owned());
        let lower = name[VARIABLE.len()..].to_ascii_lowercase();
        let key: Vec<&str> = lower.split("__").collect();
        if field(&key).is_none() {
            return Err(ConfigError::Syntax { origin, reason: unknown_variable(name, key[0]) });
        }
        let Some(value) = value.to_str() else {
            return Err(ConfigError::Syntax { origin, reason: "is not UTF-8".to_owned() });
        };
        self.text(&key, value, &origin)
    }

    /// `section.key=value`.
    pub(super) fn set(&mut self, assignment: &str) -> Result<(), ConfigError> {
        let Some((key, value)) = assignment.split_once('=') else {
            let reason = format!("\"{assignment}\" is not an assignment, expected section.key=value");
            return Err(ConfigError::Syntax { origin: Origin::Set, reason });
        };
        let key: Vec<&str> = key.trim().split('.').collect();
        self.text(&key, value.trim(), &Origin::Set)
    }

    /// A value that was given as text: TOML where it is, else a string.
    pub(super) fn text(&mut self, key: &[&str], text: &str, origin: &Origin) -> Result<(), ConfigError> {
        let is_text = matches!(field(key), Some(Field { kind: Kind::Value { text: true, .. }, .. }));
        let parsed = format!("value = {text}").parse::<Table>().ok().filter(|table| table.len() == 1);
        let value = match parsed.and_then(|mut table| table.remove("value")) {
            Some(value @ Value::String(_)) => value,
            Some(value) if !is_text => value,
            _ => Value::String(text.to_owned()),
        };
        let table = |name: &str, value| Value::Table(Table::from_iter([(name.to_owned(), value)]));
        let nested = key.iter().rev().fold(value, |value, name| table(name, value));
        match nested {
            Value::Table(table) => self.overlay(table, &|_| origin.clone()),
            _ => Ok(()),
        }
    }

    /// `--upstream`, once for each server: the servers of an upstream and a route to it behind all others.
    pub(super) fn upstreams(&mut self, servers: &[String]) -> Result<(), ConfigError> {
        let origin = Origin::Flag(UPSTREAM);
        // A list is replaced by the one laid over it, so the route is put behind those that there are.
        let mut routes = match self.merged.get("route") {
            Some(Value::Array(routes)) => routes.clone(),
            _ => Vec::new(),
        };
        let own = routes.len();
        let taken = routes.iter().position(|route| {
            let given = |name| route.get(name).and_then(Value::as_str);
            given("path") == Some(EVERY_PATH) && given("host").is_none()
        });
        if let Some(index) = taken {
            let key = format!("route[{index}]");
            let place = ancestor(&key, &self.origins).unwrap_or(&Origin::Default);
            let reason = format!(
                "would be the route \"{EVERY_PATH}\", which there is already ({place}: {key}); leave the flag out, or give that \
                 route a host"
            );
            return Err(ConfigError::Syntax { origin, reason });
        }
        routes.push(Value::Table(Table::from_iter(
            [("path", EVERY_PATH), ("action", Action::Proxy.as_str()), ("upstream", DEFAULT_UPSTREAM)]
                .map(|(name, value)| (name.to_owned(), Value::from(value))),
        )));
        let table = |name: &str, value| Table::from_iter([(name.to_owned(), value)]);
        let servers = Value::Array(servers.iter().map(|server| Value::from(server.as_str())).collect());
        let upstream = table(DEFAULT_UPSTREAM, Value::Table(table("servers", servers)));
        self.overlay(table("upstream", Value::Table(upstream)), &|_| origin.clone())?;
        let origins = self.origins.clone();
        self.overlay(table("route", Value::Array(routes)), &|key| {
            let appended = key.starts_with(&format!("route[{own}]"));
            let known = if appended { None } else { ancestor(key, &origins) };
            known.unwrap_or(&origin).clone()
        })
    }

    /// Checks a layer and lays it over what has been read so far.
    fn overlay(&mut self, layer: Table, origin: &dyn Fn(&str) -> Origin) -> Result<(), ConfigError> {
        check("", &layer, Config::FIELDS).map_err(|Problem { key, reason }| ConfigError::Setting {
            origin: origin(&key),
            key,
            reason,
        })?;
        lay(&mut self.merged, "", layer, Config::FIELDS, &mut |key, value| {
            let element = format!("{key}[");
            self.origins.retain(|known, _| !known.starts_with(&element));
            for (path, _) in leaves(key, value) {
                let origin = origin(&path);
                self.origins.insert(path, origin);
            }
        });
        Ok(())
    }

    /// The configuration, checked as a whole.
    pub(super) fn finish(mut self) -> Result<Config, ConfigError> {
        let mut config = Config::deserialize(Value::Table(std::mem::take(&mut self.merged)))
            .map_err(|error| ConfigError::Syntax { origin: Origin::Default, reason: error.message().to_owned() })?;
        config.validate().map_err(|Problem { key, reason }| {
            let origin = ancestor(&key, &self.origins).cloned().unwrap_or(Origin::Default);
            ConfigError::Setting { origin, key, reason }
        })?;
        self.read_files(&mut config)?;
        Ok(config)
    }

    /// Reads the files that settings name; their paths count from the file that names them.
    fn read_files(&self, config: &mut Config) -> Result<(), ConfigError> {
        let templates = config.route.iter_mut().enumerate().filter_map(|(index, route)| {
            Some((format!("route[{index}].header_template_file"), route.header_template_file.as_mut()?))
        });
        for (key, file) in templates {
            self.read_file(key, file)?;
        }
        for (name, access) in &mut config.access {
            let files = [
                ("public_key", &mut access.public_key),
                ("jwks_file", &mut access.jwks_file),
                ("jwks_ca", &mut access.jwks_ca),
            ];
            for (setting, file) in files {
                let Some(file) = file else { continue };
                self.read_file(format!("access.{name}.{setting}"), file)?;
            }
        }
        Ok(())
    }

    fn read_file(&self, key: String, file: &mut TextFile) -> Result<(), ConfigError> {
        let origin = ancestor(&key, &self.origins).cloned().unwrap_or(Origin::Default);
        let directory = match &origin {
            Origin::File { path, .. } => path.parent().unwrap_or(path).to_owned(),
            _ => PathBuf::new(),
        };
        file.read(&directory).map_err(|source| ConfigError::File { origin, key, path: file.path().to_owned(), source })
    }
}

/// Lays checked tables over those before them, setting by setting; `given` is told what replaces a value, and of each table
/// with a name.
fn lay(merged: &mut Table, path: &str, layer: Table, fields: &'static [Field], given: &mut dyn FnMut(&str, &Value)) {
    for (name, value) in layer {
        let key = join(path, &name);
        let kind = fields.iter().find(|field| field.name == name).map(|field| field.kind);
        match (kind, value) {
            (Some(Kind::Table(fields)), Value::Table(table)) => {
                lay(entry(merged, name), &key, table, fields, given);
            }
            (Some(Kind::Map { fields, .. }), Value::Table(named)) => {
                let merged = entry(merged, name);
                for (name, value) in named {
                    let Value::Table(table) = value else { continue };
                    let key = join(&key, &name);
                    given(&key, &Value::Table(Table::new()));
                    lay(entry(merged, name), &key, table, fields, given);
                }
            }
            (_, value) => {
                given(&key, &value);
                merged.insert(name, value);
            }
        }
    }
}

/// The table of that name, made if there is none.
fn entry(table: &mut Table, name: String) -> &mut Table {
    let value = table.entry(name).or_insert_with(|| Value::Table(Table::new()));
    if !value.is_table() {
        *value = Value::Table(Table::new());
    }
    value.as_table_mut().expect("it has just been made one")
}

/// A value and all that it holds, by path.
fn leaves<'a>(key: &str, value: &'a Value) -> Vec<(String, &'a Value)> {
    let mut all = vec![(key.to_owned(), value)];
    match value {
        Value::Array(list) => {
            all.extend(list.iter().enumerate().flat_map(|(index, value)| leaves(&format!("{key}[{index}]"), value)));
        }
        Value::Table(table) => {
            all.extend(table.iter().flat_map(|(name, value)| leaves(&format!("{key}.{name}"), value)));
        }
        _ => {}
    }
    all
}

/// Where the keys of a file stand, by path.
fn table_offsets(path: &str, table: &DeTable<'_>, offsets: &mut BTreeMap<String, usize>) {
    for (name, value) in table {
        let path = join(path, name.get_ref());
        offsets.insert(path.clone(), name.span().start);
        value_offsets(&path, value.get_ref(), offsets);
    }
}

fn value_offsets(path: &str, value: &DeValue<'_>, offsets: &mut BTreeMap<String, usize>) {
    match value {
        DeValue::Array(list) => {
            for (index, value) in list.iter().enumerate() {
                let path = format!("{path}[{index}]");
                offsets.insert(path.clone(), value.span().start);
                value_offsets(&path, value.get_ref(), offsets);
            }
        }
        DeValue::Table(table) => table_offsets(path, table, offsets),
        _ => {}
    }
}

/// What is known of a path, or of the nearest path around it.
fn ancestor<'a, T>(mut path: &str, known: &'a BTreeMap<String, T>) -> Option<&'a T> {
    loop {
        if let Some(found) = known.get(path) {
            return Some(found);
        }
        path = &path[..path.rfind(['.', '['])?];
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Flag, Sources, load};

    fn environment(name: &str, value: &str) -> Sources {
        Sources { environment: vec![(name.to_owned(), value.into())], ..Sources::default() }
    }

    fn set(assignment: &str) -> Sources {
        Sources { set: vec![assignment.to_owned()], ..Sources::default() }
    }

    fn file_error(text: &str) -> String {
        Config::from_toml(text).unwrap_err().to_string()
    }

    fn environment_error(name: &str, value: &str) -> String {
        load(&environment(name, value)).unwrap_err().to_string()
    }

    fn set_error(assignment: &str) -> String {
        load(&set(assignment)).unwrap_err().to_string()
    }

    #[test]
    fn unknown_key_in_a_file_names_line_and_nearest() {
        assert_eq!(
            file_error("[listen]\n\n[stream]\nretry = '1s'\npings = '1s'\n"),
            "fantail.toml:5: stream.pings: unknown key, did you mean \"ping\"? known in [stream]: ping, retry, \
             retry_jitter, lifetime, lifetime_jitter, stall_limit, user_timeout, send_buffer, unsent_low, start_id, gap, \
             max_channels, access, soft_refusal"
        );
        assert_eq!(
            file_error("[strem]\nping = '1s'\n"),
            "fantail.toml:1: strem: unknown key, did you mean \"stream\"? known at the top: listen, limits, control, key, access, native, \
             stream, cors, hub, retention, idempotency, journal, route, proxy, upstream, push_stream, stop, log"
        );
        assert_eq!(
            file_error("[[retention]]\nprefix = 'a'\n[[retention]]\nprefix = 'b'\ncount = 1\n"),
            "fantail.toml:5: retention[1].count: unknown key, known in [[retention]]: prefix, messages, age, bytes, store"
        );
    }

    #[test]
    fn unknown_key_in_the_environment_names_the_variable() {
        assert_eq!(
            environment_error("FANTAIL_STOP__DEADLIN", "1s"),
            "environment variable FANTAIL_STOP__DEADLIN: no such setting, did you mean FANTAIL_STOP__DEADLINE? known: \
             FANTAIL_STOP__DEADLINE, FANTAIL_STOP__WINDOW, FANTAIL_STOP__FRAME"
        );
        assert_eq!(
            environment_error("FANTAIL_LOG_LEVEL", "info"),
            "environment variable FANTAIL_LOG_LEVEL: no such setting, did you mean FANTAIL_LOG__LEVEL? expected \
             FANTAIL_SECTION__KEY with one of the sections listen, limits, control, key, access, native, stream, cors, hub, retention, \
             idempotency, journal, route, proxy, upstream, push_stream, stop, log (two underscores stand for a dot)"
        );
    }

    #[test]
    fn unknown_key_in_set_names_it() {
        assert_eq!(
            set_error("log.levl=info"),
            "--set: log.levl: unknown key, did you mean \"level\"? known in [log]: level, format"
        );
        assert_eq!(set_error("log.level"), "--set: \"log.level\" is not an assignment, expected section.key=value");
        assert_eq!(
            set_error("route.path=/a"),
            "--set: route: expected a list of tables, [[route]] or route = [{…}, {…}]"
        );
        assert_eq!(set_error("log=info"), "--set: log: has the type string, expected the table [log]");
        assert!(set_error("=1").starts_with("--set: : unknown key, known at the top"));
    }

    #[test]
    fn wrong_value_in_a_file_names_line_and_what_is_allowed() {
        for (text, error) in [
            (
                "[stream]\nping = 15\n",
                "fantail.toml:2: stream.ping: \"15\" is not a duration, expected a duration such as \"250ms\", \"15s\", \
                 \"10m\", \"1h\" or \"2d\", or \"0\"",
            ),
            (
                "[stream]\n\ngap = 'none'\n",
                "fantail.toml:3: stream.gap: unknown variant `none`, expected \"event\" or \"comment\" or \"off\"",
            ),
            (
                "hub.messages = -1\n",
                "fantail.toml:1: hub.messages: invalid value: integer `-1`, expected a whole number, 0 or more",
            ),
            (
                "hub.messages = '7'\n",
                "fantail.toml:1: hub.messages: invalid type: string \"7\", expected a whole number, 0 or more",
            ),
            (
                "[listen]\npublic = 'localhost'\n",
                "fantail.toml:2: listen.public: invalid socket address syntax, expected an IP address and a port, such as \
                 \"127.0.0.1:8080\", \"0.0.0.0:80\" or \"[::1]:8080\", or a list of such",
            ),
            (
                "[cors]\norigins = '*'\n",
                "fantail.toml:2: cors.origins: invalid type: string \"*\", expected a list of strings, such as [\"a\", \
                 \"b\"]",
            ),
            (
                "[journal]\nurl = 'redis://:hunter2@h'\n",
                "fantail.toml:2: journal.url: \"redis:\" is not in this build, which has \"disk:DIR\" and \"memory:\"",
            ),
            (
                "[control]\nkey = 12345\n",
                "fantail.toml:2: control.key: expected a string in quotes (the value is not shown)",
            ),
            ("stream = 5\n", "fantail.toml:1: stream: has the type integer, expected the table [stream]"),
            (
                "\n[route]\npath = '/a'\n",
                "fantail.toml:2: route: expected a list of tables, [[route]] or route = [{…}, {…}]",
            ),
        ] {
            assert_eq!(file_error(text), error);
        }
    }

    #[test]
    fn wrong_value_in_the_environment_names_the_variable() {
        assert_eq!(
            environment_error("FANTAIL_HUB__BYTES", "4 potatoes"),
            "environment variable FANTAIL_HUB__BYTES: hub.bytes: \"4 potatoes\" is not a size, expected a size such as \
             \"64KiB\", \"1MiB\", \"4MB\" or a number of bytes"
        );
        assert_eq!(
            environment_error("FANTAIL_CONTROL__OPEN", "yes"),
            "environment variable FANTAIL_CONTROL__OPEN: control.open: invalid type: string \"yes\", expected true or \
             false"
        );
    }

    #[cfg(unix)]
    #[test]
    fn wrong_encoding_in_the_environment_names_the_variable() {
        use std::os::unix::ffi::OsStringExt;
        let mut sources = environment("FANTAIL_LOG__LEVEL", "");
        sources.environment[0].1 = OsString::from_vec(vec![0xff]);
        let error = load(&sources).unwrap_err().to_string();
        assert_eq!(error, "environment variable FANTAIL_LOG__LEVEL: is not UTF-8");
    }

    #[test]
    fn wrong_value_of_a_flag_names_the_flag() {
        let flags = vec![Flag { name: "--shards", key: "listen.shards", value: "many".to_owned() }];
        assert_eq!(
            load(&Sources { flags, ..Sources::default() }).unwrap_err().to_string(),
            "--shards: listen.shards: invalid type: string \"many\", expected a whole number, 0 or more"
        );
    }

    #[test]
    fn tables_with_names_are_laid_over_one_another_key_by_key() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("fantail.toml");
        std::fs::write(
            &path,
            "[upstream.app]\nservers = ['http://a']\nkeep = 1\nretries = 2\n[upstream.b-c]\nservers = ['http://b']\n",
        )
        .unwrap();
        let config = load(&Sources {
            file: Some(path),
            environment: vec![("FANTAIL_UPSTREAM__APP__KEEP".to_owned(), "7".into())],
            set: vec![
                "upstream.app.servers=['unix:/s', 'http://c:1']".to_owned(),
                "upstream.b-c.keep_timeout=9s".to_owned(),
                "upstream.d={ servers = ['http://d'], keep = 3 }".to_owned(),
            ],
            ..Sources::default()
        })
        .unwrap();
        let app = &config.upstream["app"];
        assert_eq!((app.keep, app.retries), (7, 2));
        assert_eq!(app.servers.iter().map(ToString::to_string).collect::<Vec<_>>(), ["unix:/s", "http://c:1"]);
        let other = &config.upstream["b-c"];
        assert_eq!((other.keep_timeout.to_string(), other.servers.len()), ("9s".to_owned(), 1));
        assert_eq!(config.upstream["d"].keep, 3);
    }

    fn with_upstreams(text: &str, upstreams: &[&str]) -> Result<Config, String> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("fantail.toml");
        std::fs::write(&path, text).unwrap();
        let upstreams = upstreams.iter().map(|&server| server.to_owned()).collect();
        let loaded = load(&Sources { file: Some(path), upstreams, ..Sources::default() });
        loaded.map_err(|error| error.to_string().replace(&format!("{}/", directory.path().display()), ""))
    }

    #[test]
    fn upstreams_of_the_flag_get_the_last_route() {
        let config = with_upstreams("", &["http://127.0.0.1:3000", "unix:/s"]).unwrap();
        assert_eq!(config.upstream["default"].servers.len(), 2);
        let text = "[upstream.default]\nservers = ['http://old']\nkeep = 3\n[[route]]\npath = '/{channel}'\n\
                    [[route]]\npath = '/{path...}'\nhost = 'a.example'\naction = 'proxy'\nupstream = 'default'\n";
        let config = with_upstreams(text, &["http://new"]).unwrap();
        let upstream = &config.upstream["default"];
        assert_eq!((upstream.keep, upstream.servers[0].to_string()), (3, "http://new:80".to_owned()));
        let route = config.route.last().unwrap();
        assert_eq!((config.route.len(), route.path.as_str(), &route.host), (3, "/{path...}", &None));
        assert_eq!((route.action, route.upstream.as_deref()), (Action::Proxy, Some("default")));
    }

    #[test]
    fn upstreams_of_the_flag_that_are_wrong_name_it() {
        for (text, upstream, error) in [
            (
                "\n[[route]]\npath = '/{path...}'\naction = 'proxy'\nupstream = 'app'\n[upstream.app]\nservers = ['http://a']\n",
                "http://b",
                "--upstream: would be the route \"/{path...}\", which there is already (fantail.toml:2: route[0]); leave the \
                 flag out, or give that route a host",
            ),
            (
                "",
                "https://b",
                "--upstream: upstream.default.servers[0]: \"https://b\" wants TLS, which Fantail does not speak to upstreams \
                 yet; give an http:// address, in front of which a local TLS tunnel may stand",
            ),
            (
                "[[route]]\npath = '/{channels...}'\n",
                "http://b",
                "--upstream: route[1].path: \"/{path...}\" takes the same paths as \"/{channels...}\" on the public listener",
            ),
            (
                "[[route]]\npath = '/a'\n\nping = '0'\nchannels = ['a']\n",
                "http://b",
                "fantail.toml:4: route[0].ping: must be longer than 0",
            ),
        ] {
            assert_eq!(with_upstreams(text, &[upstream]), Err(error.to_owned()));
        }
    }

    #[test]
    fn tables_with_names_that_are_wrong_are_refused() {
        for (text, error) in [
            (
                "[upstream]\nservers = ['http://a']\n",
                "2: upstream.servers: has the type array, expected the table [upstream.NAME]",
            ),
            ("upstream = 5\n", "1: upstream: has the type integer, expected the table [upstream.NAME]"),
            (
                "[upstream.app]\nservers = ['http://a']\nkep = 1\n",
                "3: upstream.app.kep: unknown key, did you mean \"keep\"? known in [upstream.app]: servers, http2, \
                 connect_timeout, first_byte_timeout, idle_timeout, tunnel_timeout, keep, keep_timeout, max_fails, \
                 fail_timeout, retries",
            ),
            (
                "\n[upstream.app]\nkeep = 1\n",
                "2: upstream.app.servers: is required, a list of servers such as [\"http://127.0.0.1:3000\"]",
            ),
            (
                "\n[upstream.app]\nservers = []\n",
                "3: upstream.app.servers: is required, a list of servers such as [\"http://127.0.0.1:3000\"]",
            ),
            (
                "[upstream.app]\nservers = [\n  'http://a',\n  'a:80',\n]\n",
                "4: upstream.app.servers[1]: \"a:80\" is not a server, expected a list of servers, such as \
                 [\"http://127.0.0.1:3000\", \"unix:/run/app.sock\"]",
            ),
            (
                "[upstream.app]\nservers = ['http://a', 'http://A:80']\n",
                "2: upstream.app.servers[1]: \"http://a:80\" has been given before",
            ),
            (
                "[upstream.app]\nservers = ['http://a']\nkeep_timeout = '0'\n",
                "3: upstream.app.keep_timeout: must be longer than 0",
            ),
            (
                "[upstream.App]\nservers = ['http://a']\n",
                "1: upstream.App: \"App\" is not a name for an upstream, expected small letters, digits, \"-\" and \"_\"",
            ),
            (
                "[listen]\ntrusted_proxies = ['10.0.0.0/8', '10.0.0.1/8']\n",
                "2: listen.trusted_proxies[1]: \"10.0.0.1/8\" has bits beyond the first 8, did you mean \"10.0.0.0/8\"?",
            ),
            (
                "[proxy]\nname = 'my edge'\n",
                "2: proxy.name: \"my edge\" is not a name, expected letters and digits without spaces, such as \"fantail\"",
            ),
            (
                "[proxy]\ngrip_key = 'base64:?'\n",
                "2: proxy.grip_key: begins with \"base64:\", but what follows is not base64 (the value is not shown)",
            ),
            ("[proxy]\ngrip_issuer = ''\n", "2: proxy.grip_issuer: must not be empty"),
        ] {
            assert_eq!(file_error(text), format!("fantail.toml:{error}"));
        }
        assert_eq!(
            set_error("upstream.app=5"),
            "--set: upstream.app: has the type integer, expected the table [upstream.NAME]"
        );
        assert_eq!(
            set_error("upstream.app.servers=http://a"),
            "--set: upstream.app.servers: invalid type: string \"http://a\", expected a list of servers, such as \
             [\"http://127.0.0.1:3000\", \"unix:/run/app.sock\"]"
        );
        assert!(set_error("upstream.app.keep=8").starts_with("--set: upstream.app.servers: is required"));
        assert_eq!(
            environment_error("FANTAIL_UPSTREAM__APP__KEEPS", "1"),
            "environment variable FANTAIL_UPSTREAM__APP__KEEPS: no such setting, did you mean \
             FANTAIL_UPSTREAM__NAME__KEEP? known: FANTAIL_UPSTREAM__NAME__SERVERS, FANTAIL_UPSTREAM__NAME__HTTP2, \
             FANTAIL_UPSTREAM__NAME__CONNECT_TIMEOUT, FANTAIL_UPSTREAM__NAME__FIRST_BYTE_TIMEOUT, \
             FANTAIL_UPSTREAM__NAME__IDLE_TIMEOUT, FANTAIL_UPSTREAM__NAME__TUNNEL_TIMEOUT, FANTAIL_UPSTREAM__NAME__KEEP, \
             FANTAIL_UPSTREAM__NAME__KEEP_TIMEOUT, FANTAIL_UPSTREAM__NAME__MAX_FAILS, FANTAIL_UPSTREAM__NAME__FAIL_TIMEOUT, \
             FANTAIL_UPSTREAM__NAME__RETRIES"
        );
    }

    #[test]
    fn syntax_error_in_a_file_names_the_line() {
        let error = file_error("[stream]\nping = '1s'\nretry = \n");
        assert!(error.starts_with("fantail.toml:3: not TOML: "), "{error}");
        let error = file_error("[stream]\nping = '1s'\nping = '2s'\n");
        assert!(error.starts_with("fantail.toml:3: not TOML: "), "{error}");
    }

    #[test]
    fn listener_that_cannot_be_is_refused_with_its_line() {
        for (text, message) in [
            (
                "[listen]\npublic = ['127.0.0.1:80', '0.0.0.0:80']\n",
                "2: listen.public: 0.0.0.0:80 collides with 127.0.0.1:80, expected another port",
            ),
            (
                "[[route]]\npath = '/a/{channel}'\nat = ['127.0.0.1:1']\n",
                "3: route[0].at: 127.0.0.1:1 is not one of listen.public, which is 127.0.0.1:8080",
            ),
            (
                "[[route]]\npath = '/a/{channel}'\nlistener = 'control'\nat = ['127.0.0.1:8080']\n",
                "4: route[0].at: is for the public listener; the control listener has one address",
            ),
            (
                "[control]\nlisten = 'off'\n[[route]]\npath = '/a/{channel}'\nlistener = 'control'\n",
                "5: route[0].listener: is \"control\", and control.listen = \"off\"",
            ),
        ] {
            assert_eq!(file_error(text), format!("fantail.toml:{message}"));
        }
    }

    #[test]
    fn forbidden_value_in_a_file_names_its_line() {
        let route = "is required, such as \"/live/{channels...}\"";
        for (text, error) in [
            (
                "[control]\nlisten = '0.0.0.0:8081'\n",
                "2: control.listen: 0.0.0.0:8081 is not on loopback, so everyone who reaches it could publish; set \
                 control.key, or control.open = true if the network is trusted",
            ),
            (
                "[listen]\npublic = '0.0.0.0:8081'\n",
                "2: listen.public: 0.0.0.0:8081 collides with control.listen = 127.0.0.1:8081, expected another port",
            ),
            ("[listen]\nhead_timeout = '0'\n", "2: listen.head_timeout: must be longer than 0"),
            ("[listen]\nhead_size = '1KiB'\n", "2: listen.head_size: 1KiB is too small, expected at least 8KiB"),
            ("[listen]\nshards = 5000\n", "2: listen.shards: 5000 is too many, expected 0 (one per core) to 1024"),
            (
                "[control]\nhosts = [\n  'a.example',\n  'http://b.example',\n]\n",
                "4: control.hosts[1]: \"http://b.example\" is not a host, expected a name such as \"fantail.internal\" or \
                 \"fantail:8081\"",
            ),
            (
                "[native]\nprefix = 'events'\n",
                "2: native.prefix: \"events\" is not a prefix, expected a path that begins and ends with \"/\", such as \
                 \"/events/\"",
            ),
            ("[stream]\nping = '0'\n", "2: stream.ping: must be longer than 0"),
            ("[stream]\nmax_channels = 0\n", "2: stream.max_channels: must be at least 1"),
            ("[stream]\nsend_buffer = 0\n", "2: stream.send_buffer: 0 is too small, expected at least 4KiB"),
            (
                "[cors]\n\ncredentials = true\n",
                "3: cors.credentials: cannot be true while cors.origins holds \"*\", list the origins that may send \
                 cookies",
            ),
            (
                "[cors]\norigins = ['https://a.example/']\n",
                "2: cors.origins[0]: \"https://a.example/\" is not an origin, expected \"*\" or a scheme, a host in lower \
                 case and perhaps a port, such as \"https://app.example.com\"",
            ),
            ("[hub]\nmessages = 0\n", "2: hub.messages: must be at least 1"),
            (
                "[hub]\nmemory = '1KiB'\n",
                "2: hub.memory: 1KiB is too small, expected room for one message (hub.message = 1MiB)",
            ),
            (
                "[[retention]]\nmessages = 1\n",
                "1: retention[0].prefix: is required, the beginning of channel names; what holds for all channels stands \
                 in [hub]",
            ),
            (
                "[[retention]]\nprefix = 'a'\n[[retention]]\nprefix = 'a'\n",
                "4: retention[1].prefix: \"a\" has been given before",
            ),
            ("[[retention]]\nprefix = 'a'\nage = '0'\n", "3: retention[0].age: must be longer than 0"),
            ("[idempotency]\nkeys = 0\n", "2: idempotency.keys: must be at least 1"),
            ("\n[[route]]\n", &format!("2: route[0].path: {route}")),
            ("[[route]]\npath = 'live'\n", "2: route[0].path: \"live\" must begin with \"/\""),
            (
                "[[route]]\npath = '/live'\n",
                "1: route[0].channels: is required as \"/live\" has no placeholder: list the channels, or put {channel} or \
                 {channels...} in the path",
            ),
            (
                "[[route]]\npath = '/{channel}'\nchannels = ['a']\n",
                "3: route[0].channels: cannot be given as \"/{channel}\" takes the channels from the request's path",
            ),
            (
                "[[route]]\npath = '/a'\nchannels = ['b', 'c*']\n",
                "3: route[0].channels[1]: \"c*\" is not a channel's name, expected 1 to 255 bytes without control \
                 characters, \"/\" or \"*\", and not \"ALL\"",
            ),
            (
                "[[route]]\npath = '/{channel}'\n[[route]]\npath = '/{channel}'\n",
                "4: route[1].path: \"/{channel}\" has been given before on the public listener",
            ),
            (
                "[[route]]\npath = '/in/{channel}'\naction = 'publish'\n",
                "3: route[0].action: \"publish\" on the public listener lets everyone publish: give publishers a \
                 [[key]], name an [access.NAME] in access, set public_publish = true to allow it, or listener = \"control\"",
            ),
            ("[stop]\nframe = '11s'\n", "2: stop.frame: stop.frame = 11s is longer than stop.deadline = 10s"),
            (
                "[log]\nlevel = 'loud'\n",
                "2: log.level: \"loud\" is not a level, expected off, error, warn, info, debug, trace, or a list such as \
                 \"info,fantail::listen=debug\"",
            ),
        ] {
            assert_eq!(file_error(text), format!("fantail.toml:{error}"));
        }
    }

    #[test]
    fn forbidden_value_elsewhere_names_its_source() {
        assert_eq!(
            environment_error("FANTAIL_STOP__DEADLINE", "0"),
            "environment variable FANTAIL_STOP__DEADLINE: stop.deadline: must be longer than 0"
        );
        assert_eq!(set_error("hub.age=0"), "--set: hub.age: must be longer than 0");
        let mut sources = set("control.listen=0.0.0.0:1");
        sources.flags = vec![Flag { name: "--control", key: "control.listen", value: "0.0.0.0:2".to_owned() }];
        let error = load(&sources).unwrap_err().to_string();
        assert!(error.starts_with("--control: control.listen: 0.0.0.0:2 is not on loopback"), "{error}");
    }

    #[test]
    fn allowed_value_that_looks_dangerous_loads() {
        for text in [
            "[control]\nlisten = '0.0.0.0:8081'\nopen = true\n",
            "[control]\nlisten = '0.0.0.0:8081'\nkey = 'k'\n",
            "[cors]\norigins = ['https://a.example']\ncredentials = true\n",
            "[[route]]\npath = '/in/{channel}'\naction = 'publish'\npublic_publish = true\n",
            "[[route]]\npath = '/in/{channel}'\naction = 'publish'\nlistener = 'control'\n",
            "[[route]]\npath = '/{channel}'\n[[route]]\npath = '/{channel}'\nlistener = 'control'\n",
            "[listen]\npublic = '127.0.0.1:0'\n[control]\nlisten = '127.0.0.1:0'\n",
            "[stream]\nping = '50s'\n",
            "[log]\nlevel = 'info,fantail::listen=debug'\n",
        ] {
            Config::from_toml(text).unwrap();
        }
    }
}
