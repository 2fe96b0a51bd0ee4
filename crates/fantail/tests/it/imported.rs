//! `fantail import`, from outside: exit codes and files; and a real nginx as the judge of what comes of locations within one
//! another, and of what they inherit.

use std::fmt::Write as _;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;

use fantail::config::Config;
use fantail::explain;
use fantail::nginx::{Verdict, import};

use crate::behind_nginx::Nginx;
use crate::durable_trouble::run;
use crate::server::PATIENCE;

const SMALL: &str = "events {}\nhttp { push_stream_shared_memory_size 1m; server { listen 8080; location /sub { \
                     push_stream_subscriber; push_stream_channels_path $arg_id; } } }\n";

#[test]
fn import_prints_a_configuration_and_a_report() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("nginx.conf"), SMALL).unwrap();
    let printed = run(folder.path(), &["import", "nginx.conf", "--strict"]);
    assert_eq!(printed.status.code(), Some(0), "{printed:?}");
    let toml = String::from_utf8(printed.stdout).unwrap();
    assert!(toml.contains("subscriber = \"streaming\""), "{toml}");
    let report = String::from_utf8(printed.stderr).unwrap();
    assert!(report.contains("  nginx.conf:2: listen 8080\n      listen.public\n"), "{report}");

    let written = run(folder.path(), &["import", "nginx.conf", "--output", "fantail.toml", "--report", "report.txt"]);
    assert!(written.status.success() && written.stdout.is_empty() && written.stderr.is_empty(), "{written:?}");
    assert_eq!(fs::read_to_string(folder.path().join("fantail.toml")).unwrap(), toml);
    assert_eq!(fs::read_to_string(folder.path().join("report.txt")).unwrap(), report);
    let checked = run(folder.path(), &["check", "--config", "fantail.toml"]);
    assert!(checked.status.success(), "{checked:?}");
}

#[test]
fn import_says_by_its_exit_code_how_it_went() {
    let folder = tempfile::tempdir().unwrap();
    let code = |text: &str, more: &[&str]| {
        fs::write(folder.path().join("nginx.conf"), text).unwrap();
        let ran = run(folder.path(), &[&["import", "nginx.conf"], more].concat());
        (ran.status.code(), String::from_utf8(ran.stderr).unwrap())
    };
    let lossy = SMALL.replace("server {", "server { root /var/www;");
    assert_eq!(code(&lossy, &[]).0, Some(0));
    assert_eq!(code(&lossy, &["--strict"]).0, Some(2));
    let (wrong, said) = code(&SMALL.replace("$arg_id;", "$arg_id"), &[]);
    assert_eq!(wrong, Some(1));
    assert!(said.starts_with("error: nginx.conf:2: unexpected \"}\""), "{said}");
    let (refused, said) = code(&SMALL.replace("1m;", "1m; push_stream_message_ttl 0;"), &[]);
    assert_eq!(refused, Some(1));
    assert_eq!(said, "error: nginx.conf:2: push_stream_message_ttl: cannot be zero, expected a time such as \"30s\"\n");
    let missing = run(folder.path(), &["import", "other.conf"]);
    assert_eq!(missing.status.code(), Some(1));
    let said = String::from_utf8(missing.stderr).unwrap();
    assert_eq!(said, "error: cannot read other.conf: No such file or directory (os error 2)\n");
}

/// Numbers that look random and are the same each time.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % limit as u64).expect("below a usize")
    }

    fn of<'a>(&mut self, all: &[&'a str]) -> &'a str {
        all[self.below(all.len())]
    }
}

const SEGMENTS: [&str; 5] = ["/a", "/b", "/ab", "/c.gif", "/"];
const REGEXES: [&str; 5] = ["^/a/", "b", r"\.gif$", "^/(a|b)/b", "/ab/"];

/// The same locations for both: what nginx answers by itself is a subscriber for the importer.
#[derive(Default)]
struct Site {
    nginx: String,
    push: String,
    locations: usize,
    taken: Vec<String>,
}

impl Site {
    fn add(&mut self, random: &mut Random, outer: &str, depth: usize) {
        let mut kind = random.of(&["", "", "", "=", "^~", "~", "~*"]);
        // A regular expression within a location is looked at for all paths, and the report says so.
        if depth > 0 && kind.starts_with('~') {
            kind = "";
        }
        let path = if kind.starts_with('~') {
            random.of(&REGEXES).to_owned()
        } else {
            format!("{outer}{}", random.of(&SEGMENTS)).replace("//", "/")
        };
        // Prefixes are the same with and without a modifier.
        let key = format!("{}{path}", if kind == "^~" { "" } else { kind });
        if self.taken.contains(&key) {
            return;
        }
        self.taken.push(key);
        let number = self.locations;
        self.locations += 1;
        let _ = writeln!(self.nginx, "location {kind} \"{path}\" {{ return 200 \"{number}\";");
        let _ = writeln!(
            self.push,
            "location {kind} \"{path}\" {{ push_stream_subscriber; push_stream_channels_path l{number};"
        );
        self.set(random);
        if matches!(kind, "" | "^~") && depth < 2 {
            for _ in 0..random.below(3) {
                self.add(random, &path, depth + 1);
            }
        }
        self.nginx.push_str("}\n");
        self.push.push_str("}\n");
    }

    /// What locations within inherit.
    fn set(&mut self, random: &mut Random) {
        if random.below(2) == 0 {
            let value = random.below(1000);
            let _ = writeln!(self.nginx, "add_header X-Set v{value};");
            let _ = writeln!(self.push, "push_stream_footer_template v{value};");
        }
    }
}

/// The head and the body of nginx's answer.
fn answer(nginx: &Nginx, path: &str) -> (String, String) {
    let mut socket = TcpStream::connect(nginx.address).expect("nginx listens");
    socket.set_read_timeout(Some(PATIENCE)).expect("a socket takes a timeout");
    write!(socket, "GET {path} HTTP/1.0\r\nHost: a\r\n\r\n").expect("nginx reads");
    let mut answer = String::new();
    socket.read_to_string(&mut answer).expect("nginx answers");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{path}: {answer}"));
    (head.to_owned(), body.to_owned())
}

/// The location that nginx chooses, and what holds there.
fn asked(nginx: &Nginx, path: &str) -> (String, String) {
    let (head, body) = answer(nginx, path);
    if !head.starts_with("HTTP/1.1 200") {
        return ("none".to_owned(), String::new());
    }
    let set = head.lines().find_map(|line| line.strip_prefix("X-Set: ")).unwrap_or_default();
    (format!("l{body}"), set.to_owned())
}

/// The route that Fantail chooses, by its channel, and its footer.
fn chosen(config: &Config, path: &str) -> (String, String) {
    let text = explain(config, path).expect("a path is a request");
    let number = text.split_once("(route[").and_then(|(_, rest)| rest.split_once(']')?.0.parse::<usize>().ok());
    let Some(route) = number.map(|number| &config.route[number]) else { return ("none".to_owned(), String::new()) };
    (route.channels_path.clone().unwrap_or_default(), route.footer_template.clone())
}

#[test]
fn imported_locations_are_chosen_and_inherit_as_in_nginx() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let folder = tempfile::tempdir().unwrap();
    let (mut answered, mut unreached) = (0, 0);
    for _ in 0..12 {
        let mut site = Site::default();
        site.set(&mut random);
        for _ in 0..6 {
            site.add(&mut random, "", 0);
        }
        let main = folder.path().join("nginx.conf");
        fs::write(&main, format!("events {{}}\nhttp {{ server {{ listen 8080;\n{}\n}} }}", site.push)).unwrap();
        let import = import(Path::new(&main), None).unwrap();
        unreached += import.report.count(Verdict::LeftOut);
        let config = Config::from_toml(&import.toml).unwrap();
        let nginx = Nginx::serve(&site.nginx);
        for _ in 0..250 {
            let path: String = (0..=random.below(4)).map(|_| random.of(&SEGMENTS)).collect();
            let expected = asked(&nginx, &path);
            answered += usize::from(expected.0 != "none");
            assert_eq!(
                chosen(&config, &path),
                expected,
                "{path} in\n{}\n{}\n{}",
                site.push,
                import.toml,
                import.report
            );
        }
    }
    assert!(answered > 1000, "{answered} paths were answered");
    assert!(unreached > 0, "no location was hidden by another");
}

/// An argument in nginx's syntax, with quotes or without.
fn argument(random: &mut Random) -> String {
    let quote = random.of(&["", "'", "\""]);
    let anywhere = ["a", "b", "\\n", "\\t", "\\r", "\\\\", "\\\"", "\\'", "\\d", "\\;", "\u{fc}"];
    let within = ["#", "}", ";", " ", "{", "\n", "\t", "\\\n"];
    let behind = ["#", "}", "\"", "'"];
    let mut text = String::new();
    for index in 0..random.below(8) + usize::from(quote.is_empty()) {
        text.push_str(match (random.below(3), quote) {
            (0, "'") => random.of(&[&within[..], &["\""]].concat()),
            (0, "\"") => random.of(&[&within[..], &["'"]].concat()),
            (0, _) if index > 0 => random.of(&behind),
            _ => random.of(&anywhere),
        });
    }
    format!("{quote}{text}{quote}")
}

#[test]
fn imported_words_are_those_that_nginx_reads() {
    let mut random = Random(0x0123_4567_89ab_cdef);
    let folder = tempfile::tempdir().unwrap();
    let arguments: Vec<String> = (0..300).map(|_| argument(&mut random)).collect();
    let (mut answers, mut push) = (String::new(), String::new());
    for (number, argument) in arguments.iter().enumerate() {
        let _ = writeln!(answers, "location = /{number} {{ return 200 {argument};}}");
        let _ = writeln!(
            push,
            "location = /{number} {{ push_stream_subscriber; push_stream_channels_path a; push_stream_footer_template {argument};}}"
        );
    }
    let main = folder.path().join("nginx.conf");
    fs::write(&main, format!("events {{}}\nhttp {{ server {{ listen 8080;\n{push}\n}} }}")).unwrap();
    let config = Config::from_toml(&import(&main, None).unwrap().toml).unwrap();
    let nginx = Nginx::serve(&answers);
    for (number, argument) in arguments.iter().enumerate() {
        let (head, body) = answer(&nginx, &format!("/{number}"));
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        assert_eq!(chosen(&config, &format!("/{number}")).1, body, "{argument}");
    }
}
