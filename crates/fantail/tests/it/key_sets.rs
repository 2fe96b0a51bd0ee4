//! Keys that are fetched from whoever signs tokens: each algorithm, as Node signs them; their rotation; and what happens when they
//! are not to be had. The other side is a real server, tests/access/issuer.mjs.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use serde_json::json;

use crate::access::seconds;
use crate::client::Client;
use crate::program::{Program, tests_folder};
use crate::server::{TestServer, eventually};

const ALGORITHMS: [&str; 9] = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"];

struct Issuer {
    _program: Program,
    /// Where the keys are.
    port: u16,
    /// Where tokens are asked for.
    plain: SocketAddr,
}

impl Issuer {
    fn start(files: Option<(&Path, &Path)>) -> Self {
        let mut command = Command::new("node");
        command.arg(tests_folder("access").join("issuer.mjs"));
        if let Some((key, certificate)) = files {
            command.args([key, certificate]);
        }
        let mut program = Program::start(&command);
        let port = program.until("its port", |line| line.parse().ok());
        let plain = match files {
            None => port,
            Some(_) => program.until("its other port", |line| line.strip_prefix("plain ")?.parse().ok()),
        };
        Self { _program: program, port, plain: SocketAddr::from(([127, 0, 0, 1], plain)) }
    }

    fn ask(&self, method: &str, target: &str) -> String {
        Client::connect(self.plain).request(method, target, &[], b"").text()
    }

    fn token(&self, algorithm: &str) -> String {
        let claims = json!({ "exp": seconds(60), "subscribe": ["a"] }).to_string();
        let claims: String = claims.bytes().map(|byte| format!("%{byte:02x}")).collect::<Vec<_>>().concat();
        self.ask("GET", &format!("/token?alg={algorithm}&claims={claims}"))
    }

    fn server(&self, settings: &str) -> TestServer {
        TestServer::start(&format!(
            "stream.access = 'id'\nstream.soft_refusal = 'off'\n[access.id]\nby = 'jwt'\n\
             jwks_url = 'http://127.0.0.1:{}/jwks.json'\n{settings}",
            self.port
        ))
    }
}

fn status(server: &TestServer, token: &str) -> u16 {
    server.public().request("GET", "/sub/a?wait=1ms", &[("Authorization", &format!("Bearer {token}"))], b"").status
}

#[test]
fn token_of_every_algorithm_is_believed_with_the_key_of_its_name() {
    let issuer = Issuer::start(None);
    let server = issuer.server("");
    let tokens = ALGORITHMS.map(|algorithm| issuer.token(algorithm));
    for (algorithm, token) in ALGORITHMS.iter().zip(&tokens) {
        assert_eq!(status(&server, token), 200, "{algorithm}");
        let (text, signature) = token.rsplit_once('.').expect("a token");
        let other = if signature.starts_with('A') { "B" } else { "A" };
        assert_eq!(status(&server, &format!("{text}.{other}{}", &signature[1..])), 401, "{algorithm}");
    }
    assert_eq!(issuer.ask("GET", "/asked"), "1", "all are in one set");
    assert_eq!(server.metric("fantail_access_keys_fetched_total"), 1);
}

#[test]
fn keys_that_are_new_are_fetched_when_a_token_names_one_and_not_too_often() {
    let issuer = Issuer::start(None);
    let server = issuer.server("jwks_cooldown = '1s'");
    let old = issuer.token("ES256");
    assert_eq!(status(&server, &old), 200);
    issuer.ask("POST", "/rotate");
    let new = issuer.token("ES256");
    eventually("the new key is known", || status(&server, &new) == 200);
    assert_eq!(status(&server, &old), 401, "the old one is gone");

    let patient = issuer.server("jwks_cooldown = '1h'");
    assert_eq!(status(&patient, &new), 200);
    let asked = issuer.ask("GET", "/asked");
    for _ in 0..20 {
        assert_eq!(status(&patient, &old), 401);
    }
    assert_eq!(issuer.ask("GET", "/asked"), asked, "whoever makes names up makes nobody ask");
}

#[test]
fn keys_that_cannot_be_fetched_let_nobody_in_and_old_ones_are_good_for_a_while() {
    let issuer = Issuer::start(None);
    issuer.ask("POST", "/break");
    let server = issuer.server("jwks_cooldown = '50ms'\njwks_refresh = '50ms'\njwks_stale = '1h'");
    let token = issuer.token("EdDSA");
    let answer = server.public().request("GET", "/sub/a", &[("Authorization", &format!("Bearer {token}"))], b"");
    assert_eq!((answer.status, answer.head.get("retry-after")), (503, Some("5")));
    assert_eq!(answer.error(), "tokens cannot be checked at present: their keys could not be fetched");
    issuer.ask("POST", "/mend");
    eventually("the keys are known", || status(&server, &token) == 200);
    issuer.ask("POST", "/break");
    let failed = || server.metric("fantail_access_keys_failed_total");
    let before = failed();
    eventually("fetching has failed again", || {
        assert_eq!(status(&server, &token), 200, "with the keys that are known");
        failed() > before
    });

    let strict = issuer.server("jwks_cooldown = '10ms'\njwks_refresh = '20ms'\njwks_stale = '30ms'");
    assert_eq!(status(&strict, &token), 503);
    issuer.ask("POST", "/mend");
    eventually("the keys are known", || status(&strict, &token) == 200);
    issuer.ask("POST", "/break");
    eventually("they are too old", || status(&strict, &token) == 503);
}

#[test]
fn keys_are_fetched_over_tls_from_whom_we_trust() {
    let folder = tempfile::tempdir().expect("a folder");
    let (key, certificate) = (folder.path().join("key.pem"), folder.path().join("cert.pem"));
    let config = folder.path().join("openssl.cnf");
    std::fs::write(
        &config,
        "[req]\ndistinguished_name = name\nx509_extensions = own\nprompt = no\n[name]\nCN = localhost\n\
         [own]\nsubjectAltName = DNS:localhost\nbasicConstraints = critical, CA:FALSE\n",
    )
    .expect("a file");
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"])
        .args([Path::new("-config"), &config, Path::new("-keyout"), &key, Path::new("-out"), &certificate])
        .output()
        .expect("openssl");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let issuer = Issuer::start(Some((&key, &certificate)));
    let token = issuer.token("ES256");
    let server = |settings: &str| {
        TestServer::start(&format!(
            "stream.access = 'id'\n[access.id]\nby = 'jwt'\njwks_url = 'https://localhost:{}/jwks.json'\n{settings}",
            issuer.port
        ))
    };
    assert_eq!(status(&server(&format!("jwks_ca = '{}'", certificate.display())), &token), 200);
    assert_eq!(status(&server(""), &token), 503, "nobody vouches for it");
}

#[test]
fn keys_of_files_check_tokens_too() {
    let issuer = Issuer::start(None);
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("jwks.json");
    std::fs::write(&file, issuer.ask("GET", "/jwks.json")).expect("a file");
    let server = TestServer::start(&format!(
        "stream.access = 'id'\n[access.id]\nby = 'jwt'\njwks_file = '{}'\n",
        file.display()
    ));
    assert_eq!(status(&server, &issuer.token("PS256")), 200);
    issuer.ask("POST", "/rotate");
    assert_eq!(status(&server, &issuer.token("PS256")), 401);
}
