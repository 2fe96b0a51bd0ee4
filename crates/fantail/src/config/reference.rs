//! `docs/configuration.md`, made from the declarations of the sections, so that it cannot say anything else than the code.

use super::{
    Config,
    section::{Field, Kind, Section, defaults},
};

const INTRODUCTION: &str = "\
<!-- Generated from crates/fantail/src/config; after a change there: UPDATE=1 cargo test -p fantail --lib reference -->

# Configuration

Fantail runs without any configuration. What is set is taken, each over those before it, from

1. the defaults below,
2. a TOML file: `--config FILE`, or the environment variable `FANTAIL_CONFIG`,
3. environment variables `FANTAIL_SECTION__KEY`, two underscores for the dot: `FANTAIL_STREAM__PING=10s`,
4. `--set section.key=value`: `--set stream.ping=10s`,
5. flags: `--listen` (`listen.public`), `--control` (`control.listen`), `--shards` (`listen.shards`), `--data DIR`
   (`journal.url = \"disk:DIR\"`), `--ephemeral` (`journal.url = \"memory:\"`) and `--upstream` (`upstream.default.servers`, one for
   each time it is given, and a route from `/{path...}` to them).

In environment variables and `--set`, values are written as in TOML, and strings may go without quotes; a list is a TOML
array (`FANTAIL_CORS__ORIGINS='[\"https://a.example\"]'`) and replaces the whole list of the file, `[[route]]` and
`[[retention]]` too. A table that has a name is reached by it: `--set upstream.app.keep=8`, `FANTAIL_UPSTREAM__APP__KEEP=8`.
Unknown keys and variables are refused. `fantail check` prints the effective configuration, or says what
is wrong and where.

`fantail journal` reads it as `fantail serve` does. `fantail publish` and `fantail tail` read none: they take the server's URLs from
`FANTAIL_CONTROL_URL` and `FANTAIL_PUBLIC_URL`, and the key from `FANTAIL_TOKEN`.

A *duration* is a whole number with `ms`, `s`, `m`, `h` or `d`, or `0`. A *size* is a whole number with `KB`, `MB`, `GB` (1000)
or `KiB`, `MiB`, `GiB` (1024), or a plain number of bytes. An *address* is an IP address with a port; port 0 takes a free one.
";

/// The whole of `docs/configuration.md`.
pub fn reference() -> String {
    let mut page = INTRODUCTION.to_owned();
    let all = defaults::<Config>();
    for section in Config::FIELDS {
        let (title, fields, defaults) = match section.kind {
            Kind::Table(fields) => {
                let defaults = all.get(section.name).and_then(toml::Value::as_table).cloned();
                (format!("[{}]", section.name), fields, defaults.unwrap_or_default())
            }
            Kind::Tables { fields, defaults } => (format!("[[{}]]", section.name), fields, defaults()),
            Kind::Map { fields, defaults } => (format!("[{}.NAME]", section.name), fields, defaults()),
            Kind::Value { .. } => continue,
        };
        let rows: String = fields.iter().map(|field| row(field, defaults.get(field.name))).collect();
        let about = section.doc.trim();
        let head = "| key | type | default | meaning |\n|---|---|---|---|";
        page.extend(["\n## `", &title, "`\n\n", about, "\n\n", head, "\n", &rows]);
    }
    page
}

fn row(field: &Field, default: Option<&toml::Value>) -> String {
    let Kind::Value { name, .. } = field.kind else { return String::new() };
    let default = match default {
        None => "–".to_owned(),
        Some(toml::Value::String(text)) if text.is_empty() => "–".to_owned(),
        Some(value) => format!("`{value}`"),
    };
    format!("| `{}` | {name} | {default} | {} |\n", field.name, field.doc.trim())
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;

    #[test]
    fn reference_on_disk_is_what_the_code_says() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/configuration.md");
        if std::env::var_os("UPDATE").is_some() {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, reference()).unwrap();
        }
        let on_disk = fs::read_to_string(&path).unwrap_or_default();
        assert!(
            on_disk == reference(),
            "docs/configuration.md is out of date, run UPDATE=1 cargo test -p fantail --lib reference"
        );
    }

    #[test]
    fn reference_of_every_setting_has_a_meaning() {
        for section in Config::FIELDS {
            assert!(!section.doc.is_empty(), "{}", section.name);
            if let Kind::Table(fields) | Kind::Tables { fields, .. } | Kind::Map { fields, .. } = section.kind {
                for field in fields {
                    assert!(!field.doc.is_empty(), "{}.{}", section.name, field.name);
                    assert!(!field.doc.contains('|'), "a bar would break the table");
                }
            }
        }
    }
}
