//! A configuration of nginx that is run as it is: found, carried over in memory, and what has to be said of that.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::bail;
use clap::Args;

use crate::config::{Config, ConfigError, Listen, Origin, Text};
use crate::nginx::{Front, Import, Process, Verdict, import_with};

/// What holds where nginx's configuration says nothing: no path of the site is Fantail's own, messages are kept in memory as
/// the module keeps them, and a second process can stand beside another one.
const DEFAULTS: &[(&str, &str)] = &[("journal.url", "memory:"), ("native.public", "false"), ("control.listen", "off")];
/// The same where a route is for the control listener.
const DEFAULTS_WITH_CONTROL: &[(&str, &str)] = &[("journal.url", "memory:"), ("native.public", "false")];

/// Directives outside of all blocks that are for this process, and that a `fantail.toml` has no setting for.
const OF_THE_PROCESS: [&str; 5] = ["user", "pid", "daemon", "error_log", "worker_rlimit_nofile"];

/// Which configuration of nginx is meant.
#[derive(Args, Clone)]
pub(super) struct ConfArgs {
    #[arg(long, help = "Run this configuration of nginx", value_name = "FILE", conflicts_with = "config")]
    nginx_conf: Option<PathBuf>,
    #[arg(
        short = 'p',
        long,
        help = "The directory from which nginx's relative paths count [default: where FILE is, or above its conf/]",
        value_name = "DIR",
        requires = "nginx_conf"
    )]
    prefix: Option<PathBuf>,
    #[arg(
        short = 'g',
        help = "Directives to stand before those of the file, such as 'daemon off;'",
        value_name = "DIRECTIVES",
        requires = "nginx_conf"
    )]
    globals: Option<String>,
}

impl ConfArgs {
    /// What comes of the configuration, if one is meant.
    pub(super) fn carried(&self) -> anyhow::Result<Option<Carried>> {
        let Some(file) = &self.nginx_conf else { return Ok(None) };
        let path = self.prefix.as_ref().map_or_else(|| file.clone(), |prefix| prefix.join(file));
        let import = import_with(&path, None, self.globals.as_deref().unwrap_or_default())?;
        let prefix = self.prefix.clone().unwrap_or_else(|| prefix_of(&path));
        Ok(Some(Carried { path, prefix, import }))
    }
}

/// Where relative paths count from if nothing is said: nginx keeps its files below one directory, the configuration in `conf`.
fn prefix_of(conf: &Path) -> PathBuf {
    let folder = conf.parent().unwrap_or(Path::new(""));
    match folder.file_name() {
        Some(name) if name == "conf" => folder.parent().unwrap_or(Path::new("")).to_owned(),
        _ => folder.to_owned(),
    }
}

/// A configuration of nginx, carried over.
pub(super) struct Carried {
    path: PathBuf,
    prefix: PathBuf,
    import: Import,
}

impl Carried {
    /// What it is for Fantail.
    pub(super) fn text(&self) -> Text {
        let controls = self.import.toml.lines().any(|line| line == "[control]" || line == "listener = \"control\"");
        let defaults = if controls { DEFAULTS_WITH_CONTROL } else { DEFAULTS };
        Text { path: self.path.clone(), toml: self.import.toml.clone(), defaults }
    }

    /// What it says of the process.
    pub(super) fn process(&self) -> &Process {
        &self.import.process
    }

    /// A file that it names for the process.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.prefix.join(name)
    }

    /// Its main file.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Refuses a configuration that would be served elsewhere than nginx serves it.
    pub(super) fn check(&self, config: &Config) -> anyhow::Result<()> {
        let is_placed = config.listen.public != Listen::default().public;
        let file = self.path.display();
        match self.import.front {
            Front::Plain => Ok(()),
            _ if is_placed => Ok(()),
            Front::Nowhere => bail!(
                "{file}: no location publishes, subscribes, counts or passes on to an upstream that Fantail can ask; \
                 `fantail import {file}` says what became of each"
            ),
            Front::Tls(address) => bail!(
                "{file}: nginx speaks TLS at {address}, which is where the routes are, and Fantail speaks none: let a proxy \
                 that does stand in front, and say with --listen where it finds Fantail"
            ),
        }
    }

    /// What whoever starts it has to know, a line each.
    pub(super) fn notes(&self) -> Vec<String> {
        let file = self.path.display();
        let mut notes = Vec::new();
        let open = &self.import.open_publishers;
        if !open.is_empty() {
            notes.push(format!(
                "{file}: whoever reaches the public listener may publish at {}, as in nginx; allow and deny, or auth_basic, would \
                 keep others out",
                open.join(", ")
            ));
        }
        let (changed, left) = (self.count(Verdict::Changed), self.count(Verdict::LeftOut));
        if changed + left > 0 {
            notes.push(format!(
                "{file}: of its directives {left} were left out and {changed} mean something else; `fantail import {file}` says \
                 which, and why"
            ));
        }
        notes
    }

    /// Of how many directives that became; those of the process count as carried over.
    fn count(&self, verdict: Verdict) -> usize {
        let of_process = |text: &str| {
            let name = text.split(' ').next().unwrap_or_default();
            OF_THE_PROCESS.contains(&name)
        };
        let entries = self.import.report.entries.iter();
        entries.filter(|entry| entry.verdict == verdict && !of_process(&entry.text)).count()
    }

    /// What the process does, as comments.
    pub(super) fn about_process(&self) -> String {
        let Process { pid, error_log, daemon, user, descriptors } = &self.import.process;
        let mut text = format!("# The process, from {}:\n", self.path.display());
        let daemon = if daemon.unwrap_or(true) { "goes to the background" } else { "stays in the foreground" };
        let _ = writeln!(text, "#   daemon                {daemon}");
        let file = |name: &Option<String>| {
            name.as_ref().map_or("none".to_owned(), |name| self.file(name).display().to_string())
        };
        let _ = writeln!(text, "#   pid                   {}", file(pid));
        let log = error_log.as_deref().filter(|name| log_file(name).is_some());
        let log = log.map_or("stderr".to_owned(), |name| self.file(name).display().to_string());
        let _ = writeln!(text, "#   error_log             {log}");
        if let Some((name, group)) = user {
            let _ = writeln!(text, "#   user                  {name} {}", group.as_deref().unwrap_or(name));
        }
        if let Some(most) = descriptors {
            let _ = writeln!(text, "#   worker_rlimit_nofile  {most}");
        }
        text.push('\n');
        text
    }

    /// An error of the configuration that was made, at the place in nginx's that it comes from.
    pub(super) fn at_its_line(&self, error: ConfigError) -> anyhow::Error {
        let (ConfigError::Setting { origin, .. }
        | ConfigError::File { origin, .. }
        | ConfigError::Syntax { origin, .. }) = &error
        else {
            return error.into();
        };
        let Origin::File { path, line } = origin else { return error.into() };
        if *path != self.path {
            return error.into();
        }
        let spot = self.spot(*line).unwrap_or_else(|| path.display().to_string());
        match error {
            ConfigError::Setting { key, reason, .. } => anyhow::anyhow!("{spot}: {key}: {reason}"),
            ConfigError::File { key, path, source, .. } => {
                anyhow::Error::new(source).context(format!("{spot}: {key}: cannot read {}", path.display()))
            }
            other => anyhow::anyhow!("{spot}: {other}"),
        }
    }

    /// The place in nginx's configuration of which a line was made: it stands above the route.
    fn spot(&self, line: usize) -> Option<String> {
        let lines: Vec<&str> = self.import.toml.lines().take(line).collect();
        let header = lines.iter().rposition(|line| line.starts_with('['))?;
        let comment = lines[header].starts_with("[[route]]").then(|| lines.get(header.checked_sub(1)?))??;
        comment.strip_prefix("# ").map(str::to_owned)
    }
}

/// The file of an `error_log`; nothing for what is no file.
pub(super) fn log_file(name: &str) -> Option<&str> {
    let elsewhere =
        matches!(name, "stderr" | "/dev/stderr") || name.starts_with("syslog:") || name.starts_with("memory:");
    (!elsewhere).then_some(name)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::config::{Address, Sources, load};

    fn carried(text: &str) -> (tempfile::TempDir, Carried) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("nginx.conf");
        fs::write(&path, text).unwrap();
        let arguments = ConfArgs { nginx_conf: Some(path), prefix: None, globals: None };
        let carried = arguments.carried().unwrap().unwrap();
        (folder, carried)
    }

    fn site(locations: &str) -> String {
        format!("http {{ push_stream_shared_memory_size 1m; server {{ listen 127.0.0.1:8099;\n{locations}\n}} }}")
    }

    fn config(carried: &Carried) -> Config {
        load(&Sources { text: Some(carried.text()), ..Sources::default() }).unwrap()
    }

    #[test]
    fn carried_site_has_its_urls_alone_and_keeps_nothing_on_disk() {
        let text = site("location /sub { push_stream_subscriber; push_stream_channels_path a; }");
        let (_folder, carried) = carried(&text);
        let config = config(&carried);
        assert_eq!(config.listen.public.to_string(), "127.0.0.1:8099");
        assert_eq!(config.control.listen, Address::Off);
        assert_eq!((config.journal.url.to_string().as_str(), config.native.public), ("memory:", false));
        let notes = carried.notes();
        assert!(matches!(notes.as_slice(), [one] if one.contains("0 were left out and 1 mean")), "{notes:?}");
        assert!(carried.check(&config).is_ok());
    }

    #[test]
    fn carried_site_with_protected_publishers_has_a_control_listener() {
        let text = site("location /pub { push_stream_publisher; push_stream_channels_path a; deny all; }");
        let (_folder, carried) = carried(&text);
        assert_eq!(config(&carried).control.listen.to_string(), "127.0.0.1:8081");
    }

    #[test]
    fn notes_name_open_publishers_once_and_count_what_is_lost() {
        let publishers = "location /pub { push_stream_publisher; push_stream_channels_path a; }\n\
                          location /in { push_stream_publisher admin; push_stream_channels_path a; }\n root /var/www;";
        let (_folder, carried) = carried(&format!("user www; pid a.pid; {}", site(publishers)));
        let notes = carried.notes();
        assert_eq!(notes.len(), 2, "{notes:?}");
        assert!(notes[0].contains("may publish at /pub, /in, as in nginx"), "{notes:?}");
        assert!(notes[1].contains("1 were left out and 1 mean something else"), "{notes:?}");
    }

    #[test]
    fn site_that_would_be_elsewhere_is_refused() {
        let (_folder, files) = carried("http { server { listen 80; root /var/www; } }");
        let error = files.check(&config(&files)).unwrap_err().to_string();
        assert!(error.contains("no location publishes"), "{error}");
        let (_folder, tls) = carried(
            &site("")
                .replace("8099;", "8443 ssl; location /sub { push_stream_subscriber; push_stream_channels_path a; }"),
        );
        let error = tls.check(&config(&tls)).unwrap_err().to_string();
        assert!(error.contains("speaks TLS at 127.0.0.1:8443"), "{error}");
    }

    #[test]
    fn error_of_what_was_made_names_nginxs_line() {
        let text = site(
            "\nlocation /sub { push_stream_subscriber; push_stream_channels_path a; push_stream_header_template_file no; }",
        );
        let (_folder, carried) = carried(&text);
        let error = load(&Sources { text: Some(carried.text()), ..Sources::default() }).unwrap_err();
        let error = carried.at_its_line(error).to_string();
        assert!(error.starts_with("nginx.conf:3: route[0].header_template_file: cannot read "), "{error}");
    }

    #[test]
    fn relative_paths_count_from_above_conf() {
        assert_eq!(prefix_of(Path::new("/usr/local/nginx/conf/nginx.conf")), Path::new("/usr/local/nginx"));
        assert_eq!(prefix_of(Path::new("/etc/nginx/nginx.conf")), Path::new("/etc/nginx"));
        assert_eq!(prefix_of(Path::new("nginx.conf")), Path::new(""));
    }
}
