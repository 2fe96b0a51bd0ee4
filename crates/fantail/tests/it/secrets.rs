//! The program with secrets of every kind: nothing that it says, on whatever way, holds one of them.

use std::fs::File;
use std::process::{Child, Command, Stdio};

use fantail::auth::{digest, sign};
use serde_json::json;

use crate::access::{SECRET, moment, token};
use crate::client::{Answer, Client};
use crate::server::eventually;
use crate::upstream::Upstream;

const CONTROL: &str = "the-control-key-that-nobody-sees";
const PREVIOUS: &str = "fedcba9876543210fedcba9876543210";
const GRIP: &str = "the-grip-key-that-nobody-sees";
const KEY: &str = "fantail_the-key-that-nobody-sees";
const COOKIE: &str = "the-session-that-nobody-sees";

fn tell(said: &mut String, answer: &Answer) {
    said.push_str(&answer.head.raw);
    said.push_str(&answer.text());
}

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

fn fantail() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fantail"));
    command.env_clear().stdin(Stdio::null());
    command
}

/// What is said of a configuration in which a secret stands where it does not belong.
fn of_wrong_files(text: &str) -> String {
    let config = tempfile::NamedTempFile::with_suffix(".toml").expect("a file");
    let mut said = String::new();
    for wrong in [
        text.replace("by = 'signed'", "by = 'callback'"),
        text.replace(&digest(KEY), KEY),
        text.replace(&format!("secret = '{SECRET}'"), &format!("secret = 'base64:{SECRET}!'")),
        text.replace(&format!("key = '{CONTROL}'"), &format!("key = '{CONTROL} {CONTROL}'")),
    ] {
        std::fs::write(config.path(), wrong).expect("a file");
        let out = fantail().arg("check").arg("--config").arg(config.path()).output().expect("the program runs");
        assert!(!out.status.success(), "{out:?}");
        said += &String::from_utf8_lossy(&[out.stdout, out.stderr].concat());
    }
    said
}

#[test]
fn secrets_are_in_nothing_that_the_program_says() {
    let folder = tempfile::tempdir().expect("a folder");
    let app = Upstream::serve(|head, _| {
        let status = if head.contains("/may") { "500 Oops" } else { "200 OK" };
        format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n").into_bytes()
    });
    let config = folder.path().join("fantail.toml");
    let text = format!(
        "[control]\nkey = '{CONTROL}'\naccess = 'members'\n[log]\nlevel = 'trace'\n[proxy]\ngrip_key = '{GRIP}'\n\
         [[key]]\nname = 'orders'\nsha256 = '{}'\nchannels = ['orders.*']\n\
         [access.members]\nby = 'jwt'\nsecret = '{SECRET}'\nprevious_secret = '{PREVIOUS}'\ncookie = 'sid'\n\
         [access.links]\nby = 'signed'\nsecret = '{PREVIOUS}'\n\
         [access.app]\nby = 'callback'\nupstream = 'app'\npath = '/may'\n\
         [access.remote]\nby = 'jwt'\njwks_url = 'http://127.0.0.1:1/jwks.json'\n\
         [upstream.app]\nservers = ['{}']\n[stream]\naccess = 'members'\n\
         [[route]]\npath = '/l/{{channels...}}'\naccess = 'links'\n[[route]]\npath = '/c/{{channels...}}'\naccess = 'app'\n\
         [[route]]\npath = '/r/{{channels...}}'\naccess = 'remote'\n\
         [[route]]\npath = '/p/{{path...}}'\naction = 'proxy'\nupstream = 'app'\naccess = 'members'\n",
        digest(KEY),
        app.name
    );
    std::fs::write(&config, &text).expect("a file");
    let log = folder.path().join("log");
    let out = || Stdio::from(File::options().append(true).create(true).open(&log).expect("a file"));
    let mut serve = fantail();
    serve
        .args(["serve", "--listen", "127.0.0.1:0", "--control", "127.0.0.1:0", "--ephemeral", "--config"])
        .arg(&config);
    let _server = Killed(serve.stdout(out()).stderr(out()).spawn().expect("the program starts"));
    let logged = || std::fs::read_to_string(&log).unwrap_or_default();
    eventually("the banner", || logged().contains("  journal"));
    let banner = logged();
    let address = |name: &str| -> std::net::SocketAddr {
        let line = banner.lines().find_map(|line| line.trim().strip_prefix(name)).expect("an address in the banner");
        line.trim().trim_start_matches("http://").parse().expect("an address")
    };
    let (public, control) = (address("public"), address("control"));

    let mut said = String::new();
    let good = token(json!({ "sub": "42", "subscribe": ["a"], "publish": ["a"] }));
    let expired = token(json!({ "exp": 1, "subscribe": ["a"] }));
    let url = sign(PREVIOUS.as_bytes(), "/l/a", moment(60), Some("42"));
    let signature = url.rsplit_once("sig=").expect("a signature").1.to_owned();
    for token in [&good, &expired, &format!("{good}x"), &COOKIE.to_owned()] {
        let (bearer, cookie) = (format!("Bearer {token}"), format!("sid={token}; other={COOKIE}"));
        for path in ["/sub/a?wait=1ms", "/sub/b", "/l/a", "/c/a", "/r/a", "/p/x"] {
            for headers in [
                vec![("Authorization", &*bearer)],
                vec![("Cookie", &*cookie)],
                vec![("Cookie", &*cookie), ("Origin", "http://evil")],
                vec![],
            ] {
                let target = if headers.is_empty() {
                    format!("{path}{}token={token}", if path.contains('?') { '&' } else { '?' })
                } else {
                    path.to_owned()
                };
                tell(&mut said, &Client::connect(public).request("GET", &target, &headers, b""));
            }
        }
        for key in [token.as_str(), KEY, CONTROL, GRIP, "wrong"] {
            let headers = [("Authorization", &*format!("Bearer {key}"))];
            for (method, path) in [
                ("POST", "/pub/a"),
                ("GET", "/stats"),
                ("POST", "/publish/"),
                ("GET", "/subscribers?sub=42"),
                ("GET", "/metrics"),
            ] {
                tell(&mut said, &Client::connect(control).request(method, path, &headers, b"x"));
            }
        }
    }
    for target in [url.clone(), format!("{url}0"), url.replace("/l/a", "/l/b")] {
        tell(&mut said, &Client::connect(public).request("GET", &format!("{target}&wait=1ms"), &[], b""));
    }
    for arguments in [&["check"][..], &["check", "--explain", "GET /sub/a"]] {
        let out = fantail().args(arguments).arg("--config").arg(&config).output().expect("the program runs");
        assert!(out.status.success(), "{out:?}");
        said += &String::from_utf8_lossy(&[out.stdout, out.stderr].concat());
    }
    said += &of_wrong_files(&text);
    said += &logged();
    for looked_at in
        ["a key set could not be fetched", "said neither yes nor no", "the token has expired", "secret = \"***\""]
    {
        assert!(said.contains(looked_at), "nothing was said of {looked_at:?}");
    }
    for secret in [CONTROL, SECRET, PREVIOUS, GRIP, KEY, COOKIE, &good, &expired, &signature] {
        let at = said.find(secret);
        assert_eq!(at.map(|at| &said[at.saturating_sub(300)..at]), None, "{secret} was said");
    }
}
