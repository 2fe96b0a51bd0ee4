//! What the tests of this room share, and tests of the whole way: configurations with what is to come of them
//! (`tests/import`), and properties that hold for all.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;

use proptest::prelude::*;

use super::files::Files;
use super::tree::{Tree, read};
use super::*;
use crate::config::Config;

/// The tree of a file `nginx.conf` with this text.
pub(super) fn tree(text: &str) -> Tree {
    let folder = tempfile::tempdir().unwrap();
    let main = folder.path().join("nginx.conf");
    fs::write(&main, text).unwrap();
    read(&main, &Files::new(&main, None), "").unwrap()
}

pub(super) fn imported(text: &str) -> Result<Import, ImportError> {
    let folder = tempfile::tempdir().unwrap();
    let main = folder.path().join("nginx.conf");
    fs::write(&main, text).unwrap();
    import(&main, None)
}

/// The error that such a file is refused with.
pub(super) fn wrong(text: &str) -> String {
    imported(text).unwrap_err().to_string()
}

/// What comes of a server with this in it.
fn server(text: &str) -> Import {
    imported(&format!("events {{}}\nhttp {{ push_stream_shared_memory_size 1m; server {{ listen 8080;\n{text}\n}} }}"))
        .unwrap()
}

fn examples() -> Vec<PathBuf> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/import");
    let mut examples: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    examples.sort();
    examples
}

/// With `UPDATE=1` in the environment, what comes out is written down as what is to come.
#[test]
fn examples_come_out_as_they_are_written_down() {
    let update = std::env::var_os("UPDATE").is_some();
    let examples = examples();
    assert!(examples.len() >= 12);
    for example in examples {
        let import = import(&example.join("nginx.conf"), Some(Path::new("/etc/nginx"))).unwrap();
        let name = example.display();
        Config::from_toml(&import.toml).unwrap_or_else(|error| panic!("{name}: {error}\n{}", import.toml));
        for (file, text) in [("fantail.toml", import.toml), ("report.txt", import.report.to_string())] {
            let path = example.join(file);
            if update {
                fs::write(&path, &text).unwrap();
            }
            let expected = fs::read_to_string(&path).unwrap_or_default();
            assert!(text == expected, "{name}/{file} is another now (UPDATE=1 writes it):\n{text}");
        }
    }
}

#[test]
fn publisher_that_is_open_is_named() {
    let import = server("location /pub { push_stream_publisher; push_stream_channels_path a; }");
    assert_eq!(import.open_publishers, ["/pub"]);
    let import = server("location /pub { push_stream_publisher; push_stream_channels_path a; deny all; }");
    assert!(import.open_publishers.is_empty());
    assert!(import.toml.contains("listener = \"control\""));
}

#[test]
fn location_of_push_stream_that_nginx_refuses_is_refused() {
    let refused = |text: &str| {
        let text = format!("http {{ {text} }}");
        wrong(&text).strip_prefix("nginx.conf:1: ").map(str::to_owned).unwrap()
    };
    for (text, why) in [
        (
            "server { location / { push_stream_subscriber; } }",
            "push_stream_subscriber: push_stream_channels_path must be set, as in \"push_stream_channels_path $arg_id;\"",
        ),
        (
            "server { location / { push_stream_subscriber; push_stream_channels_path a; push_stream_message_template ''; } }",
            "push_stream_message_template: cannot be blank, expected a text such as \"~text~\"",
        ),
        (
            "server { location / { push_stream_subscriber; push_stream_channels_path a; \
             push_stream_wildcard_channel_max_qtd 2; } }",
            "push_stream_wildcard_channel_max_qtd: has no meaning without push_stream_wildcard_channel_prefix",
        ),
        (
            "push_stream_wildcard_channel_prefix b; push_stream_max_number_of_wildcard_channels 1; server { location / { \
             push_stream_subscriber; push_stream_channels_path a; push_stream_wildcard_channel_max_qtd 2; } }",
            "push_stream_wildcard_channel_max_qtd: 2 is more than push_stream_max_number_of_wildcard_channels, expected at \
             most 1",
        ),
        (
            "push_stream_max_number_of_wildcard_channels 1;",
            "push_stream_max_number_of_wildcard_channels: has no meaning without push_stream_wildcard_channel_prefix",
        ),
        (
            "server { location / { push_stream_subscriber; push_stream_channels_path a; push_stream_padding_by_user_agent x; } }",
            "push_stream_padding_by_user_agent: \"x\" is not REGEX,HEADER_MIN,MESSAGE_MIN with two whole numbers, expected \
             such as \"MSIE,254,0:Safari,1024,1\"",
        ),
        (
            "server { location / { push_stream_subscriber; push_stream_channels_path a; push_stream_header_template b; \
             push_stream_header_template_file c; } }",
            "push_stream_header_template_file: is duplicate, push_stream_header_template in nginx.conf:1 says the same",
        ),
    ] {
        assert_eq!(refused(text), why);
    }
}

#[test]
fn header_template_is_that_of_the_inner_block() {
    let text = |outer: &str, inner: &str| {
        server(&format!("{outer} location / {{ push_stream_subscriber; push_stream_channels_path a; {inner} }}")).toml
    };
    let both = text("push_stream_header_template a;", "push_stream_header_template_file /b;");
    assert!(both.contains("header_template_file = \"/b\"") && !both.contains("header_template = "), "{both}");
    let both = text("push_stream_header_template_file /a;", "push_stream_header_template b;");
    assert!(both.contains("header_template = \"b\"") && !both.contains("_file"), "{both}");
}

/// What nginx takes without being told is written down wherever another location makes it more.
#[test]
fn largest_body_is_each_publishers_own() {
    let publisher = |path: &str, size: &str| {
        format!("location {path} {{ push_stream_publisher; push_stream_channels_path $arg_id; {size} }}\n")
    };
    let limits = |text: &str| {
        let config = Config::from_toml(&server(text).toml).unwrap();
        let routes = config.route.iter().map(|route| (route.path.clone(), route.max_body.to_string()));
        (config.hub.message.to_string(), routes.collect::<Vec<_>>())
    };
    let limited = |message: &str, routes: &[(&str, &str)]| {
        let routes = routes.iter().map(|(path, size)| ((*path).to_owned(), (*size).to_owned()));
        (message.to_owned(), routes.collect::<Vec<_>>())
    };
    let (small, large, plain) = ("client_max_body_size 8k;", "client_max_body_size 4m;", "");
    let all = [publisher("/a", small), publisher("/b", large), publisher("/c", plain)].concat();
    assert_eq!(limits(&all), limited("4MiB", &[("/a", "8KiB"), ("/b", "0"), ("/c", "1MiB")]));
    let all = [publisher("/a", small), publisher("/c", plain)].concat();
    assert_eq!(limits(&all), limited("1MiB", &[("/a", "8KiB"), ("/c", "0")]));
    let all = [large, &publisher("/a", small), &publisher("/c", plain)].concat();
    assert_eq!(limits(&all), limited("4MiB", &[("/a", "8KiB"), ("/c", "0")]));
    let unlimited = server(&publisher("/a", "client_max_body_size 0;"));
    assert!(unlimited.report.to_string().contains("a message always has a limit, hub.message"));
}

#[test]
fn second_value_for_all_is_reported() {
    let import = imported(
        "http { server { send_timeout 10s; location /a { push_stream_subscriber; push_stream_channels_path a; } } \
         server { send_timeout 20s; server_name b; location /b { push_stream_subscriber; push_stream_channels_path a; } } }",
    );
    let report = import.unwrap().report.to_string();
    assert!(report.contains("send_timeout 20s\n      stream.stall_limit is \"10s\", one for all"), "{report}");
}

#[test]
fn setting_of_a_location_that_is_one_for_all_is_left_out() {
    let import =
        server("location / { push_stream_subscriber; push_stream_channels_path a; send_timeout 5s; access_log b; }");
    let left = |name: &str| {
        import.report.entries.iter().any(|entry| entry.text.starts_with(name) && entry.verdict == Verdict::LeftOut)
    };
    assert!(left("send_timeout") && left("access_log"), "{}", import.report);
    assert!(!import.toml.contains("stall_limit"));
}

#[test]
fn report_of_a_directive_stands_once_whatever_becomes_of_it() {
    for example in examples() {
        let import = import(&example.join("nginx.conf"), Some(Path::new("/etc/nginx"))).unwrap();
        let written = import.report.to_string();
        let lines = written.lines().filter(|line| line.starts_with("  ") && !line.starts_with("   ")).count();
        assert_eq!(lines, import.report.entries.len(), "{}", example.display());
    }
}

/// An argument that ends where it should.
fn argument() -> impl Strategy<Value = String> {
    let words = [
        "on",
        "off",
        "10",
        "0",
        "5s",
        "1m",
        "8k",
        "$arg_id",
        "$1",
        "/",
        "/a/",
        "/b",
        "~",
        "^~",
        "=",
        "~*",
        "(.*)",
        "(",
        "''",
        "\"a b\"",
        "http://a:80/b",
        "http://$host",
        "unix:/a",
        "80",
        "[::]:80",
        "ssl",
        "_",
        "a.example",
        "*.b",
        "all",
        "auto",
        "eventsource",
        "long-polling",
        "${x}y",
        "$",
        "\\x",
        "text/html",
        "a,1,2",
        "GET",
        "@x",
        "always",
        "\u{fc}",
    ];
    prop_oneof![9 => prop::sample::select(words.to_vec()).prop_map(str::to_owned), 1 => "[a-z$~/.]{1,6}"]
}

/// An argument that may be anything.
fn wild() -> impl Strategy<Value = String> {
    prop_oneof![argument(), "[a-z$~/.{}\\\\\"' ]{0,6}"]
}

/// A name, most often one that is known.
fn name() -> impl Strategy<Value = &'static str> {
    let mut names =
        vec!["weird", "location", "location", "location", "server", "server", "http", "if", "upstream", "map", "set"];
    names.extend(known::all().map(|known| known.name));
    prop::sample::select(names)
}

/// Directives, a line each.
fn soup() -> impl Strategy<Value = String> {
    let line =
        (name(), prop::collection::vec(wild(), 0..3)).prop_map(|(name, args)| format!("{name} {};\n", args.join(" ")));
    line.prop_recursive(4, 48, 8, |inner| {
        (name(), prop::collection::vec(wild(), 0..3), prop::collection::vec(inner, 0..8))
            .prop_map(|(name, args, lines)| format!("{name} {} {{\n{}}}\n", args.join(" "), lines.concat()))
    })
}

/// Whether a directive is no line of its own, or is about a file that would have to be there.
fn has_more(name: &str) -> bool {
    let files = ["include", "push_stream_header_template_file"];
    known::BLOCKS.contains(&name) || matches!(name, "server" | "mail" | "rtmp") || files.contains(&name)
}

/// A directive that may stand in a location or a server, with as many arguments as it takes.
fn fitting(context: known::Contexts) -> impl Strategy<Value = String> {
    let fitting: Vec<_> = known::all().filter(|known| known.contexts & context != 0 && !has_more(known.name)).collect();
    (prop::sample::select(fitting), argument(), argument(), argument(), argument()).prop_map(|(known, a, b, c, d)| {
        let args = match known.value {
            known::Value::Flag => vec!["on".to_owned()],
            known::Value::Time | known::Value::SomeTime | known::Value::Seconds | known::Value::SomeSeconds => {
                vec!["7s".to_owned()]
            }
            known::Value::Size => vec!["8k".to_owned()],
            known::Value::Count | known::Value::SomeCount => vec!["7".to_owned()],
            known::Value::Words(words) => vec![words[0].to_owned()],
            known::Value::Any => [a, b, c, d].into_iter().take(known.args.0.max(known.args.1.min(1))).collect(),
        };
        format!("{} {};\n", known.name, args.join(" "))
    })
}

/// What locations do.
const HANDLERS: [&str; 14] = [
    "",
    "push_stream_subscriber;\npush_stream_channels_path $arg_id;\n",
    "push_stream_subscriber websocket;\npush_stream_channels_path $1;\n",
    "push_stream_subscriber long-polling;\nset $a $arg_b;\npush_stream_channels_path $a;\n",
    "push_stream_publisher admin;\npush_stream_channels_path a;\n",
    "push_stream_channels_statistics;\npush_stream_channels_path a;\n",
    "nchan_subscriber;\nnchan_channel_id a;\n",
    "nchan_pubsub websocket;\nnchan_channel_id $arg_a $arg_b;\n",
    "nchan_publisher;\nnchan_channel_id $1;\n",
    "proxy_pass http://a:1;\n",
    "proxy_pass http://up;\n",
    "proxy_pass http://up/b/;\n",
    "proxy_pass http://127.0.0.1/c;\n",
    "return 204;\n",
];

fn kind() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["", "", "= ", "^~ ", "~ ", "~* "])
}

fn location() -> impl Strategy<Value = String> {
    let paths = ["/", "/a", "/a/", "/a/b", "/b/", "/a/b/c", "^/(a|b)/(.*)$", "(?<x>c)", "(?!a)", "@n"];
    let open = move || (kind(), prop::sample::select(paths.to_vec()), prop::sample::select(HANDLERS.to_vec()));
    let lines = || prop::collection::vec(fitting(known::LOCATION), 0..5);
    let one = (open(), lines()).prop_map(|((kind, path, handler), lines)| {
        format!("location {kind}{path} {{\n{handler}{}}}\n", lines.concat())
    });
    one.prop_recursive(2, 6, 3, move |inner| {
        let condition = prop::collection::vec(fitting(known::IF), 0..3)
            .prop_map(|lines| format!("if ($arg_a) {{\n{}}}\n", lines.concat()));
        (open(), lines(), prop::collection::vec(prop_oneof![3 => inner, 1 => condition], 0..3)).prop_map(
            |((kind, path, handler), lines, inner)| {
                format!("location {kind}{path} {{\n{handler}{}{}}}\n", lines.concat(), inner.concat())
            },
        )
    })
}

/// A configuration that nginx might take.
fn plausible() -> impl Strategy<Value = String> {
    let listens =
        ["", "listen 8080;\n", "listen 443 ssl;\n", "listen 127.0.0.1:8081;\n", "listen [::]:80 default_server;\n"];
    let names = ["", "server_name a.example *.b;\n", "server_name _;\n", "server_name ~^x$ .c;\n"];
    let server = (
        prop::sample::select(listens.to_vec()),
        prop::sample::select(names.to_vec()),
        prop::collection::vec(fitting(known::SERVER), 0..4),
        prop::collection::vec(location(), 0..4),
    )
        .prop_map(|(listen, name, lines, locations)| {
            format!("server {{\n{listen}{name}{}{}}}\n", lines.concat(), locations.concat())
        });
    let upstream = prop::collection::vec(fitting(known::UPSTREAM), 0..3).prop_map(|lines| {
        format!("upstream up {{\nserver b:2 max_fails=2;\nserver c:3 max_fails=2;\n{}}}\n", lines.concat())
    });
    let http = (prop::collection::vec(fitting(known::HTTP), 0..5), upstream, prop::collection::vec(server, 0..4));
    (prop::collection::vec(fitting(known::MAIN), 0..3), http).prop_map(|(main, (lines, upstream, servers))| {
        format!("{}events {{\n}}\nhttp {{\n{}{upstream}{}}}\n", main.concat(), lines.concat(), servers.concat())
    })
}

/// Whether the report has each directive of the text, one a line, exactly once.
fn is_whole(text: &str, import: &Import) -> Result<(), TestCaseError> {
    let mut lines: HashMap<usize, usize> = HashMap::new();
    for entry in &import.report.entries {
        *lines.entry(entry.spot.line).or_default() += 1;
    }
    let mut table: Option<usize> = None;
    for (index, line) in text.lines().enumerate() {
        let is_end = line == "}";
        let expected = usize::from(!is_end && table.is_none());
        // What is in a table is no directive; blocks within it are refused.
        if is_end {
            table = None;
        } else if line.ends_with('{')
            && ["types ", "map ", "geo ", "split_clients ", "charset_map ", "match "]
                .iter()
                .any(|name| line.starts_with(name))
        {
            table = Some(index);
        }
        prop_assert_eq!(
            lines.get(&(index + 1)).copied().unwrap_or(0),
            expected,
            "line {} of\n{}\n{}",
            index + 1,
            text,
            import.report
        );
    }
    prop_assert_eq!(
        import.report.to_string().lines().filter(|line| line.starts_with("  nginx.conf:")).count(),
        import.report.entries.len()
    );
    Ok(())
}

/// As many cases as the environment asks for, and a few hundred at least; nothing is written down of what failed.
fn config() -> ProptestConfig {
    let default = ProptestConfig::default();
    ProptestConfig { cases: default.cases.max(400), failure_persistence: None, ..default }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn import_never_panics_and_drops_nothing(text in plausible()) {
        if let Ok(import) = imported(&text) {
            is_whole(&text, &import)?;
            let config = Config::from_toml(&import.toml);
            prop_assert!(config.is_ok(), "{}\n{}\n{}", config.unwrap_err(), text, import.toml);
        }
    }

    #[test]
    fn import_of_soup_never_panics(text in soup()) {
        if let Ok(import) = imported(&text) {
            prop_assert!(!import.report.to_string().is_empty());
        }
    }

    #[test]
    fn import_of_anything_never_panics(text in "[a-z{};\"'\\\\#$ \n]{0,80}") {
        drop(imported(&text));
    }
}
