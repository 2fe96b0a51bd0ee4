//! A real nginx as the judge of which route takes a path: both are asked for the same paths, over the same locations.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use fantail::config::Config;
use fantail::explain;

use crate::behind_nginx::Nginx;
use crate::server::PATIENCE;

/// A location of nginx: its kind and its path.
type Location = (&'static str, &'static str);

/// Sites, each as its locations in the order of the file.
const SITES: [&[Location]; 5] = [
    &[("", "/"), ("=", "/"), ("", "/documents/"), ("^~", "/images/"), ("~*", r"\.(gif|jpg|jpeg)$")],
    &[
        ("", "/pub"),
        ("~", "^/sub/(.*)$"),
        ("~", "/ev/([a-z]+)"),
        ("^~", "/lp/plain"),
        ("", "/lp"),
        ("=", "/channels-stats"),
        ("", "/sub/deep/"),
    ],
    &[("~", "a"), ("~*", "A"), ("~", "^/(?<word>[^/]+)/(?<rest>.*)$"), ("^~", "/a/b"), ("", "/a/b/c"), ("=", "/a/b")],
    &[
        ("", "/a b"),
        ("=", "/ü/"),
        ("~", "^/%41"),
        ("~", r"^/(\w+)$"),
        ("^~", "/a//b"),
        ("~*", "^/[[:alpha:]]{2,3}(?:/|$)"),
    ],
    &[("^~", "/"), ("~", "z"), ("", "/x/y"), ("=", "/x/y/z")],
];

/// What stands between two slashes.
const SEGMENTS: [&str; 26] = [
    "",
    "a",
    "A",
    "b",
    "c",
    "sub",
    "ev",
    "lp",
    "plain",
    "images",
    "x.GIF",
    "documents",
    "channels-stats",
    "pub",
    "publish",
    "deep",
    ".",
    "..",
    "%2e%2E",
    "a%20b",
    "a%2Fb",
    "%C3%BC",
    "%2541",
    "x",
    "y",
    "z%3Fq%23",
];

/// The location that nginx chooses, and its first group.
fn asked(nginx: &Nginx, path: &str) -> String {
    let mut socket = TcpStream::connect(nginx.address).expect("nginx listens");
    socket.set_read_timeout(Some(PATIENCE)).expect("a socket takes a timeout");
    write!(socket, "GET {path} HTTP/1.0\r\nHost: a\r\n\r\n").expect("nginx reads");
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).expect("nginx answers");
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{path}: {answer}"));
    if head.starts_with("HTTP/1.1 200") { body.to_owned() } else { "none".to_owned() }
}

/// The route that Fantail chooses, and its first group.
fn chosen(config: &Config, path: &str) -> String {
    let text = explain(config, path).expect("a path to ask for");
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name));
    let Some(number) = field("  route     ").and_then(|route| route.rsplit_once("(route[")?.1.strip_suffix("])"))
    else {
        return "none".to_owned();
    };
    let captured = field("  captures  ").map_or("", |captures| {
        let value = captures.split_once(" = ").expect("a name and a value").1;
        value.split_once(", $").map_or(value, |(first, _)| first).trim_matches('"')
    });
    format!("{number} {captured}")
}

#[test]
fn locations_are_chosen_as_nginx_chooses_them() {
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = |below: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        (random % below as u64) as usize
    };
    for site in SITES {
        let mut lines = String::new();
        let mut routes = String::from("[native]\nprefix = '/own/'\n");
        for (number, (kind, path)) in site.iter().enumerate() {
            let first = if path.contains('(') && !path.contains("(?:") { "$1" } else { "" };
            let _ = writeln!(lines, "location {kind} \"{path}\" {{ return 200 \"{number} {first}\"; }}");
            let location = format!("{kind} {path}");
            let _ = writeln!(
                routes,
                "[[route]]\npath = '{}'\naction = 'push_stream'\nsubscriber = 'streaming'\nchannels_path = 'a'",
                location.trim_start()
            );
        }
        let nginx = Nginx::serve(&lines);
        let config = Config::from_toml(&routes).expect("a sound configuration");
        let mut taken = vec![0; site.len()];
        for _ in 0..1_500 {
            // Half of them begin as one of the site's locations does.
            let (kind, begin) = site[next(site.len())];
            let begin = if kind.starts_with('~') || next(2) == 0 { "" } else { begin };
            let begin = begin.replace(' ', "%20").replace('ü', "%C3%BC");
            let depth = next(4) + usize::from(begin.is_empty());
            let path = (0..depth).fold(begin, |path, _| path + "/" + SEGMENTS[next(SEGMENTS.len())]);
            let expected = asked(&nginx, &path);
            assert_eq!(chosen(&config, &path), expected, "{path} in {site:?}");
            if let Some(number) = expected.split(' ').next().and_then(|number| number.parse::<usize>().ok()) {
                taken[number] += 1;
            }
        }
        // One of a site may stand behind others that take all its paths.
        let idle = taken.iter().filter(|taken| **taken == 0).count();
        assert!(idle <= 1, "these took nothing: {taken:?} of {site:?}");
    }
}
