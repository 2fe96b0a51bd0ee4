//! The few lines of docs/access.md that make tokens and signed URLs in other languages: each is run, and the server believes what
//! it prints.

use std::process::Command;

use crate::access::SECRET;
use crate::server::TestServer;

const PAGE: &str = include_str!("../../../../docs/access.md");

/// The blocks in this language.
fn blocks(language: &str) -> Vec<String> {
    let begin = format!("```{language}\n");
    PAGE.split(&begin).skip(1).map(|rest| rest.split("```").next().unwrap_or_default().to_owned()).collect()
}

/// What each block of a language prints; the token first.
fn printed(language: &str, interpreter: &str, file: &str) -> [String; 2] {
    let folder = tempfile::tempdir().expect("a folder");
    let run = |text: &String| {
        let path = folder.path().join(file);
        std::fs::write(&path, text).expect("a file");
        let out = Command::new(interpreter).arg(&path).env("FANTAIL_SECRET", SECRET).output();
        let out = out.unwrap_or_else(|error| panic!("{interpreter} is missing, scripts/test installs it: {error}"));
        assert!(out.status.success(), "{text}\n{}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).expect("text").trim().to_owned()
    };
    let printed: Vec<_> = blocks(language).iter().map(run).collect();
    printed.try_into().unwrap_or_else(|all| panic!("two recipes in {language}, not {all:?}"))
}

fn are_believed([token, url]: [String; 2]) {
    let server = TestServer::start(&format!(
        "stream.access = 'members'\n[access.members]\nby = 'jwt'\nsecret = '{SECRET}'\n\
         [access.links]\nby = 'signed'\nsecret = '{SECRET}'\n[[route]]\npath = '/live/{{channels...}}'\naccess = 'links'\n"
    ));
    let mut streams = [
        server.public().subscribe(&format!("/sub/orders.1/user.42.inbox?token={token}")),
        server.public().subscribe(&format!("{url}&last=1")),
    ];
    server.publish("orders.1", "x");
    server.publish("orders", "x");
    for stream in &mut streams {
        assert_eq!(stream.event().data, "x");
    }
    assert_eq!(server.public().get(&format!("/sub/user.43.inbox?token={token}")).status, 403);
    assert_eq!(server.public().get(&url.replace("/live/orders", "/live/other")).status, 401);
    let list = server.control().get("/subscribers?sub=42").json();
    assert_eq!(list["subscribers"].as_array().map(Vec::len), Some(2), "{list}");
}

#[test]
fn recipes_in_ruby_are_believed() {
    are_believed(printed("ruby", "ruby", "recipe.rb"));
}

#[test]
fn recipes_in_php_are_believed() {
    are_believed(printed("php", "php", "recipe.php"));
}

#[test]
fn recipes_in_python_are_believed() {
    are_believed(printed("python", "python3", "recipe.py"));
}

#[test]
fn recipes_in_javascript_are_believed() {
    are_believed(printed("javascript", "node", "recipe.mjs"));
}
