//! Keeps the import walls: reads every source file of the workspace and says which line reaches into a room that it may
//! not know. It reads text, not types, so that it also sees code that is switched off, and tests.
//!
//! `main → lib → {http, listen, cli} → {proxy, dialect, auth, fanout, metrics, config} → journal → hub → sse`. Of the second
//! group only `metrics` looks at `journal`.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

/// A part of the program with one concern, and what it may know.
struct Room {
    name: &'static str,
    /// The rooms it may name. `lib` stands for the items of `crates/fantail/src/lib.rs` itself.
    may_use: &'static [&'static str],
    /// Paths outside the workspace that it must not name, nor any path below them.
    never: &'static [&'static str],
    /// The dependencies that it may name, where only few are right; `None` where `never` says enough.
    only: Option<&'static [&'static str]>,
    /// Said after a broken rule, so that whoever broke it need not look it up.
    because: &'static str,
}

/// Every room. A new one is added here, with a decision about its place, before its first line compiles in the tests.
const ROOMS: &[Room] = &[
    Room {
        name: "sse",
        may_use: &[],
        never: &["tokio", "mio", "hyper", "http", "socket2", "std::net", "std::fs", "std::os::unix::net"],
        only: None,
        because: "sse is the wire format alone: bytes in, events out",
    },
    Room {
        name: "hub",
        may_use: &["sse"],
        never: &[
            "tokio::net",
            "tokio::fs",
            "mio",
            "hyper",
            "hyper_util",
            "http",
            "http_body",
            "socket2",
            "serde",
            "serde_json",
            "toml",
            "toml_edit",
            "config",
            "std::net::TcpStream",
            "std::net::TcpListener",
            "std::net::UdpSocket",
            "std::net::ToSocketAddrs",
            "std::os::unix::net",
            "std::fs",
        ],
        only: None,
        because: "the hub reaches no socket, no driver, no HTTP and no configuration file",
    },
    Room {
        name: "faults",
        may_use: &["hub"],
        never: &["tokio", "hyper", "http", "mio"],
        only: None,
        because: "faults on purpose are plain functions, which are called where they do harm",
    },
    Room {
        name: "journal",
        may_use: &["faults", "hub", "sse"],
        never: &["hyper", "http"],
        only: None,
        because: "a journal implements the hub's trait and knows nothing else of Fantail",
    },
    Room {
        name: "config",
        may_use: &[],
        never: &["std::net::TcpStream", "std::net::TcpListener", "std::net::UdpSocket", "std::os::unix::net"],
        only: Some(&["serde", "serde_json", "toml", "toml_edit", "thiserror", "regex"]),
        because: "config describes settings; what they mean is for the rooms that read them",
    },
    Room {
        name: "nginx",
        may_use: &["config"],
        never: &["std::net::TcpStream", "std::net::TcpListener", "std::net::UdpSocket", "std::os::unix::net"],
        only: Some(&["thiserror", "toml"]),
        because: "nginx reads another program's configuration and writes ours; it serves nothing",
    },
    Room {
        name: "metrics",
        may_use: &["config", "journal", "hub", "sse"],
        never: &["mio", "hyper"],
        only: None,
        because: LEVEL,
    },
    Room {
        name: "dialect",
        may_use: &["config", "metrics", "hub", "sse"],
        never: &["tokio", "mio", "hyper", "hyper_util", "socket2", "std::net", "std::fs", "std::os::unix::net"],
        only: None,
        because: "a dialect parses and renders; it does no I/O",
    },
    Room {
        name: "admission",
        may_use: &["config", "metrics"],
        never: &["mio", "hyper", "std::net::TcpStream", "std::net::TcpListener"],
        only: None,
        because: "admission knows addresses and what was counted of them, and serves nobody",
    },
    Room { name: "auth", may_use: &["config", "metrics", "hub", "sse"], never: &["mio"], only: None, because: LEVEL },
    Room {
        name: "fanout",
        may_use: &["admission", "config", "metrics", "hub", "sse"],
        never: &["hyper", "hyper_util"],
        only: None,
        because: "a shard gets sockets and plain values, after HTTP is done with them",
    },
    Room {
        name: "http",
        may_use: &[
            "proxy",
            "dialect",
            "auth",
            "admission",
            "fanout",
            "metrics",
            "faults",
            "config",
            "journal",
            "hub",
            "sse",
        ],
        never: &["mio"],
        only: None,
        because: "http answers requests; listen owns the connections and calls it, not the other way round",
    },
    Room {
        name: "listen",
        may_use: &["http", "dialect", "auth", "admission", "fanout", "metrics", "config", "hub", "sse"],
        never: &[],
        only: None,
        because: "listen serves connections with http's service and knows no other room of its level",
    },
    Room {
        name: "proxy",
        may_use: &["dialect", "auth", "admission", "metrics", "config", "sse"],
        never: &["mio"],
        only: None,
        because: "the proxy lies below http and knows neither the hub nor the routes",
    },
    Room {
        name: "cli",
        may_use: &["lib", "nginx", "dialect", "auth", "fanout", "metrics", "config", "journal", "hub", "sse"],
        never: &["mio"],
        only: None,
        because: "a command uses the server as an embedder does, through lib.rs",
    },
    // The rooms that wire may know every other.
    Room { name: "lib", may_use: EVERYTHING, never: &[], only: None, because: "" },
    Room { name: "reload", may_use: EVERYTHING, never: &[], only: None, because: "" },
    Room { name: "main", may_use: EVERYTHING, never: &[], only: None, because: "" },
    Room {
        name: "bench",
        may_use: &["sse"],
        never: &[],
        only: None,
        because: "the load tool talks to any server over HTTP, like a stranger",
    },
];

const LEVEL: &str = "rooms of this level share only metrics and config types, and look down to the hub";

const EVERYTHING: &[&str] = &[
    "lib",
    "reload",
    "http",
    "listen",
    "proxy",
    "cli",
    "nginx",
    "dialect",
    "auth",
    "admission",
    "fanout",
    "metrics",
    "config",
    "journal",
    "faults",
    "hub",
    "sse",
];

#[test]
fn walls_of_the_workspace_stand() {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package lies in crates/");
    let mut broken = Vec::new();
    let mut files = 0;
    for package in ["sse", "hub", "fantail", "bench"] {
        let manifest = std::fs::read_to_string(crates.join(package).join("Cargo.toml")).expect("a readable manifest");
        let dependencies = dependencies(&manifest);
        let src = crates.join(package).join("src");
        for path in rust_files(&src) {
            let inside = path.strip_prefix(&src).expect("the file was found below src");
            let source = std::fs::read_to_string(&path).expect("a readable source file");
            let file = path.strip_prefix(crates.parent().expect("crates/ lies in the workspace")).unwrap_or(&path);
            broken.extend(check(package, inside, &source, &dependencies).into_iter().map(|b| b.at(file)));
            files += 1;
        }
        let room = ROOMS.iter().find(|room| room.name == package);
        broken.extend(room.into_iter().flat_map(|room| check_manifest(room, &dependencies)));
    }
    assert!(files >= 5, "found only {files} source files below {}: the walls were not read", crates.display());
    let list = broken.iter().map(|b| format!("\n  {b}")).collect::<Vec<_>>().concat();
    assert!(broken.is_empty(), "{} import(s) break the walls of ARCHITECTURE.md:{list}\n", broken.len());
}

#[test]
fn walls_planted_bad_lines_are_caught() {
    let planted = [
        ("sse", "lib.rs", "use tokio::io::AsyncRead;", "sse must not use tokio::io::AsyncRead"),
        ("hub", "tail.rs", "use tokio::{sync::Notify, net::TcpStream};", "hub must not use tokio::net::TcpStream"),
        ("hub", "tail.rs", "use std::net;", "hub must not use std::net"),
        ("hub", "tail.rs", "use std::net::*;", "hub must not use std::net::*"),
        ("hub", "tail.rs", "fn f() { std::net::UdpSocket::bind(1); }", "hub must not use std::net::UdpSocket::bind"),
        ("fantail", "http/publish.rs", "use crate::listen::Door;", "http must not use listen"),
        ("fantail", "http/publish.rs", "use super::super::cli;", "http must not use cli"),
        ("fantail", "proxy/body.rs", "use crate::http::error::Refusal;", "proxy must not use http"),
        ("fantail", "proxy/body.rs", "use super::super::fanout;", "proxy must not use fanout"),
        ("fantail", "proxy.rs", "use crate::listen::Door;", "proxy must not use listen"),
        ("fantail", "http.rs", "mod tests { use super::super::listen::Door; }", "http must not use listen"),
        ("fantail", "listen/tcp.rs", "fn f() { crate::proxy::forward(); }", "listen must not use proxy"),
        ("fantail", "proxy/body.rs", "use fantail_hub::Hub;", "proxy must not use hub"),
        ("fantail", "dialect/native.rs", "use std::{fmt, fs::File};", "dialect must not use std::fs::File"),
        (
            "fantail",
            "dialect.rs",
            "use crate::{\n  config::Route,\n  fanout::Shard,\n};",
            "dialect must not use fanout",
        ),
        ("fantail", "config/limits.rs", "use fantail_hub::Limits;", "config must not use hub"),
        ("fantail", "config.rs", "use tokio::time::Duration;", "config must not use tokio::time::Duration"),
        ("fantail", "metrics.rs", "use crate::Server;", "metrics must not use lib"),
        ("fantail", "nginx/map.rs", "use crate::dialect::native;", "nginx must not use dialect"),
        ("fantail", "nginx/tree.rs", "use serde::Deserialize;", "nginx must not use serde::Deserialize"),
        ("fantail", "journal/disk.rs", "use crate::config::Journal;", "journal must not use config"),
        ("fantail", "attic.rs", "", "the room `attic` has no place"),
        ("bench", "main.rs", "use fantail_hub::Hub;", "bench must not use hub"),
    ];
    for (package, file, line, expected) in planted {
        let source = format!("//! A room.\n\n{line}\n");
        let broken = check(package, Path::new(file), &source, &some_dependencies());
        let said = broken.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        assert_eq!(broken.len(), 1, "{package}/{file}: `{line}` breaks one rule, but: {said:?}");
        assert!(said.contains(expected), "{package}/{file}: `{line}` gave {said:?}, expected {expected:?}");
    }
}

#[test]
fn walls_broken_line_is_named() {
    let source = "use crate::{\n    config::Route,\n    listen::Door,\n};\n";
    let broken = check("fantail", Path::new("http/publish.rs"), source, &some_dependencies());
    let said = broken.into_iter().map(|b| b.at(Path::new("http/publish.rs")).to_string()).collect::<Vec<_>>();
    assert_eq!(said.len(), 1);
    assert!(said[0].starts_with("http/publish.rs:3: http must not use listen"), "{said:?}");
}

#[test]
fn walls_good_lines_pass() {
    let fine = [
        (
            "hub",
            "tail.rs",
            "use std::net::{IpAddr, SocketAddr};\nuse tokio::sync::Notify;\nuse crate::channel::Channel;",
        ),
        (
            "hub",
            "tail.rs",
            "// use hyper::Body;\n/* mio::Poll /* tokio::net */ */\nconst A: &str = \"use mio::Poll;\";",
        ),
        ("hub", "tail.rs", "const A: &str = r#\"mio::Poll \" \"#; const B: char = '\"'; fn f<'a>(_: &'a str) {}"),
        ("fantail", "http/publish.rs", "use super::error::Status;\nuse http::StatusCode;\nuse crate::config::Route;"),
        ("fantail", "http.rs", "mod tests { use super::*; fn f() { super::g(); } }"),
        ("fantail", "config.rs", "mod http;\nuse self::http::Http;\nfn f() { http::parse(); let _ = u64::MAX; }"),
        ("fantail", "listen/tcp.rs", "use crate::http::Service;\nuse mio::Poll;"),
        ("fantail", "cli/serve.rs", "use crate::Server;\nuse crate::config::Config;"),
        ("fantail", "lib.rs", "mod http; use proxy::Proxy; use fantail_hub::Hub;"),
        ("fantail", "main.rs", "use fantail::cli;"),
        ("bench", "main.rs", "use fantail_sse::Decoder;"),
    ];
    for (package, file, source) in fine {
        let broken = check(package, Path::new(file), source, &some_dependencies());
        assert!(broken.is_empty(), "{package}/{file}: `{source}` is fine, but: {}", broken[0]);
    }
}

#[test]
fn walls_forbidden_dependency_is_caught() {
    let names =
        dependencies("[dependencies]\nbytes = \"1\"\nserde = { version = \"1\" }\n[dev-dependencies]\nmio = \"1\"\n");
    let hub = ROOMS.iter().find(|room| room.name == "hub").expect("hub is a room");
    let broken = check_manifest(hub, &names);
    assert_eq!(broken.len(), 1, "serde is a dependency, mio only one of the tests");
    assert!(broken[0].to_string().contains("hub must not depend on serde"), "{}", broken[0]);
}

fn some_dependencies() -> BTreeSet<String> {
    ["http", "hyper", "tokio", "mio", "serde", "toml", "fantail_hub", "fantail_sse"].map(str::to_owned).into()
}

/// A line that reaches where it may not.
struct Broken {
    file: PathBuf,
    line: usize,
    rule: String,
}

impl Broken {
    fn at(mut self, file: &Path) -> Self {
        file.clone_into(&mut self.file);
        self
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file.display(), self.line, self.rule)
    }
}

/// All broken rules of one file; `file` is relative to the package's `src`.
fn check(package: &str, file: &Path, source: &str, dependencies: &BTreeSet<String>) -> Vec<Broken> {
    let module = module_of(file);
    let name = match (package, module.first()) {
        ("fantail", Some(first)) => first.as_str(),
        ("fantail", None) if file == Path::new("main.rs") => "main",
        ("fantail", None) => "lib",
        (other, _) => other,
    };
    let Some(room) = ROOMS.iter().find(|room| room.name == name) else {
        let rule = format!("the room `{name}` has no place yet: give it one in ROOMS (crates/fantail/tests/walls.rs)");
        return vec![Broken { file: file.to_owned(), line: 1, rule }];
    };
    let (named, children) = paths(source);
    named
        .into_iter()
        .filter_map(|path| {
            let line = path.line;
            let rule = broken_rule(room, package, &module, &children, dependencies, &path)?;
            Some(Broken { file: file.to_owned(), line, rule: format!("{rule} ({})", room.because) })
        })
        .collect()
}

fn broken_rule(
    room: &Room,
    package: &str,
    module: &[String],
    children: &BTreeSet<String>,
    dependencies: &BTreeSet<String>,
    path: &Named,
) -> Option<String> {
    let first = path.segments[0].clone();
    let target = match first.as_str() {
        "crate" => room_in(package, path.segments.get(1)),
        "self" | "super" => {
            let absolute = absolute(module, path)?;
            room_in(package, absolute.first())
        }
        "fantail" => room_in("fantail", path.segments.get(1)),
        "fantail_hub" => Some("hub".to_owned()),
        "fantail_sse" => Some("sse".to_owned()),
        // `http::parse()` after `mod http;` is the module, not the crate of that name.
        name if children.contains(name) => None,
        name => {
            let text = path.segments.join("::");
            let named = room.never.iter().any(|never| path.reaches(never));
            let unlisted = dependencies.contains(name) && room.only.is_some_and(|only| !only.contains(&name));
            return (named || unlisted).then(|| format!("{} must not use {text}", room.name));
        }
    };
    let target = target?;
    let allowed = target == room.name || room.may_use.contains(&target.as_str());
    (!allowed).then(|| format!("{} must not use {target}: `{}`", room.name, path.segments.join("::")))
}

/// The room that `crate::segment` lies in; none where the whole package is one room.
fn room_in(package: &str, segment: Option<&String>) -> Option<String> {
    if package != "fantail" {
        return None;
    }
    let known = segment.filter(|s| ROOMS.iter().any(|room| room.name == s.as_str()));
    Some(known.map_or("lib", |s| s.as_str()).to_owned())
}

/// `super::x` in terms of the crate's root; none if it stays in the file's own inline modules.
fn absolute(module: &[String], path: &Named) -> Option<Vec<String>> {
    let ups = path.segments.iter().take_while(|s| *s == "super" || *s == "self").filter(|s| *s == "super").count();
    let ups = ups.saturating_sub(path.inline);
    if ups == 0 {
        return None;
    }
    let rest = path.segments.iter().skip_while(|s| *s == "super" || *s == "self");
    Some(module[..module.len().saturating_sub(ups)].iter().chain(rest).cloned().collect())
}

fn check_manifest(room: &Room, dependencies: &BTreeSet<String>) -> Vec<Broken> {
    let forbidden = room.never.iter().filter(|never| !never.contains("::") && dependencies.contains(**never));
    forbidden
        .map(|name| Broken {
            file: format!("crates/{}/Cargo.toml", room.name).into(),
            line: 1,
            rule: format!("{} must not depend on {name} ({})", room.name, room.because),
        })
        .collect()
}

/// The names of a manifest's dependencies as code writes them; those of its tests are not among them.
fn dependencies(manifest: &str) -> BTreeSet<String> {
    let manifest: toml::Table = manifest.parse().expect("a well-formed manifest");
    let table = manifest.get("dependencies").and_then(toml::Value::as_table);
    table.into_iter().flat_map(toml::Table::keys).map(|name| name.replace('-', "_")).collect()
}

/// `http/publish.rs` is the module `http::publish`; `lib.rs` and `main.rs` are the root.
fn module_of(file: &Path) -> Vec<String> {
    let parts = file.with_extension("");
    let parts = parts.iter().map(|part| part.to_string_lossy().into_owned()).collect::<Vec<_>>();
    if parts.len() == 1 && (parts[0] == "lib" || parts[0] == "main") { Vec::new() } else { parts }
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a readable source folder") {
            let path = entry.expect("a readable folder entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// A path as it stands in the source.
struct Named {
    segments: Vec<String>,
    line: usize,
    /// Whether a `use` brought it in: then naming a whole module brings in all that lies below it.
    imported: bool,
    /// How many inline modules it stands in, each of which a `super` leaves first.
    inline: usize,
}

impl Named {
    fn reaches(&self, never: &str) -> bool {
        let never = never.split("::").collect::<Vec<_>>();
        let named = self.segments.iter().map(String::as_str).filter(|s| *s != "*").collect::<Vec<_>>();
        let whole_module = self.imported && named.len() > 1 && never.starts_with(&named);
        named.starts_with(&never) || whole_module
    }
}

/// Every path of two segments or more and every `use`, and the modules that the source declares.
fn paths(source: &str) -> (Vec<Named>, BTreeSet<String>) {
    let tokens = tokens(&blanked(source));
    let (mut named, mut children) = (Vec::new(), BTreeSet::new());
    let mut depth = 0_usize;
    let mut inline: Vec<usize> = Vec::new();
    let mut i = 0;
    while i < tokens.len() {
        let next = tokens.get(i + 1).map_or("", |t| t.text.as_str());
        match tokens[i].text.as_str() {
            "{" => depth += 1,
            "}" => {
                depth = depth.saturating_sub(1);
                inline.pop_if(|opened| *opened == depth);
            }
            "mod" => {
                if tokens.get(i + 2).is_some_and(|t| t.text == "{") {
                    inline.push(depth);
                }
                children.insert(next.to_owned());
                i += 1;
            }
            "use" if next != "<" => {
                i = use_tree(&tokens, i + 1, &[], inline.len(), &mut named);
                continue;
            }
            word if is_word(word) && next == "::" => {
                let (segments, end) = plain_path(&tokens, i);
                if segments.len() > 1 {
                    named.push(Named { segments, line: tokens[i].line, imported: false, inline: inline.len() });
                }
                i = end;
                continue;
            }
            _ => {}
        }
        i += 1;
    }
    (named, children)
}

/// Reads one branch of a `use` from `i`, and returns where it ends.
fn use_tree(tokens: &[Token], mut i: usize, before: &[String], inline: usize, named: &mut Vec<Named>) -> usize {
    let mut segments = before.to_vec();
    let line = tokens.get(i).map_or(0, |t| t.line);
    while let Some(token) = tokens.get(i) {
        match token.text.as_str() {
            "{" => {
                i += 1;
                while tokens.get(i).is_some_and(|t| t.text != "}") {
                    let start = i;
                    i = use_tree(tokens, i, &segments, inline, named);
                    i += usize::from(tokens.get(i).is_some_and(|t| t.text == ","));
                    assert!(i > start, "line {}: a `use` that the wall test cannot read", token.line);
                }
                return i + 1;
            }
            ";" | "," | "}" => break,
            "as" => i += 1,
            "::" => {}
            word => segments.push(word.to_owned()),
        }
        i += 1;
    }
    if !segments.is_empty() {
        named.push(Named { segments, line, imported: true, inline });
    }
    i
}

fn plain_path(tokens: &[Token], mut i: usize) -> (Vec<String>, usize) {
    let mut segments = vec![tokens[i].text.clone()];
    while let [colons, word] = &tokens[i + 1..(i + 3).min(tokens.len())]
        && colons.text == "::"
        && is_word(&word.text)
    {
        segments.push(word.text.clone());
        i += 2;
    }
    (segments, i + 1)
}

struct Token {
    text: String,
    line: usize,
}

fn is_word(text: &str) -> bool {
    text.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

fn tokens(source: &str) -> Vec<Token> {
    let mut found = Vec::new();
    for (number, line) in source.lines().enumerate() {
        let mut rest = line;
        while let Some(first) = rest.chars().next() {
            let word = rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len());
            let length = if word > 0 {
                word
            } else if rest.starts_with("::") {
                2
            } else {
                first.len_utf8()
            };
            if !first.is_whitespace() {
                found.push(Token { text: rest[..length].to_owned(), line: number + 1 });
            }
            rest = &rest[length..];
        }
    }
    found
}

/// The source with comments and literals turned into blanks; lines stay where they are.
fn blanked(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    let mut before = ' ';
    while let Some(first) = rest.chars().next() {
        let length = match hidden(rest, before) {
            0 => {
                out.push(first);
                first.len_utf8()
            }
            length => {
                out.extend(rest[..length].chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
                length
            }
        };
        before = first;
        rest = &rest[length..];
    }
    out
}

/// How many bytes of a comment or literal stand at the start of `rest`.
fn hidden(rest: &str, before: char) -> usize {
    let to = |end: Option<usize>| end.unwrap_or(rest.len());
    if rest.starts_with("//") {
        return to(rest.find('\n'));
    }
    if rest.starts_with("/*") {
        let mut depth = 0_usize;
        for (at, _) in rest.char_indices() {
            depth += usize::from(rest[at..].starts_with("/*"));
            if rest[..at].ends_with("*/") {
                depth -= 1;
            }
            if depth == 0 && at > 0 {
                return at;
            }
        }
        return rest.len();
    }
    let quoted = |quote: char| {
        let mut escaped = false;
        let end = rest.char_indices().skip(1).find(|(_, c)| {
            let ends = *c == quote && !escaped;
            escaped = *c == '\\' && !escaped;
            ends
        });
        to(end.map(|(at, _)| at + 1))
    };
    if rest.starts_with('"') {
        return quoted('"');
    }
    if rest.starts_with('r') && !(before.is_alphanumeric() && before != 'b' || before == '_') {
        let hashes = rest[1..].bytes().take_while(|b| *b == b'#').count();
        if rest[1 + hashes..].starts_with('"') {
            let end = format!("\"{}", "#".repeat(hashes));
            return to(rest[2 + hashes..].find(&end).map(|at| 2 + hashes + at + end.len()));
        }
    }
    // `'a'` and `'\n'` are characters, `'a` is a lifetime.
    let mut chars = rest.chars();
    if chars.next() == Some('\'') {
        let (second, third) = (chars.next(), chars.next());
        if second == Some('\\') || third == Some('\'') {
            return quoted('\'');
        }
    }
    0
}
