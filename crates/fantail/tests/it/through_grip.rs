//! Applications with the GRIP libraries that people use, as their documentation sets them up, behind the server.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::{Arc, OnceLock};
use std::thread;

use crate::client::{Client, End, Event};
use crate::program::{Program, interpreter, tests_folder};
use crate::server::TestServer;

const KEY: &str = "a key of at least thirty-two bytes";

/// An application and the server before it. The application publishes to a port that is known before the server's.
struct Pair {
    server: TestServer,
    _app: Program,
}

impl Pair {
    fn start(script: &str) -> Self {
        let (door, behind) = door();
        let script = tests_folder("apps").join(script);
        let mut command = Command::new(interpreter(&script));
        command.arg(&script).arg(format!("http://{door}")).arg(KEY.replace(' ', "+"));
        let mut app = Program::start(&command);
        let port: u16 = app.until("its port", |line| line.parse().ok());
        // The control key is not what libraries send: the token has to be enough.
        let server = TestServer::start(&format!(
            "[control]\nkey = 's3cret'\n[proxy]\ngrip_key = '{}'\n[upstream.app]\nservers = ['http://127.0.0.1:{port}']\n\
             [[route]]\npath = '/{{path...}}'\naction = 'proxy'\nupstream = 'app'\n",
            KEY.replace(' ', "+")
        ));
        behind.set(server.control).expect("it is set once");
        Self { server, _app: app }
    }

    fn post(&self, target: &str, body: &str) {
        let answer = self.server.public().request("POST", target, &[], body.as_bytes());
        assert_eq!(answer.status, 200, "{target}: {}", answer.text());
    }

    /// How many are held.
    fn until_held(&self, count: u64) {
        let key = [("Authorization", "Bearer s3cret")];
        crate::server::eventually(&format!("{count} are held"), || {
            let stats = self.server.control().request("GET", "/stats", &key, b"").json();
            stats["subscribers"].as_u64() == Some(count)
        });
    }
}

/// A port that passes connections on to an address that is told later.
fn door() -> (SocketAddr, Arc<OnceLock<SocketAddr>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    let behind = Arc::new(OnceLock::new());
    let told = Arc::clone(&behind);
    thread::spawn(move || {
        for near in listener.incoming().map_while(Result::ok) {
            let far = TcpStream::connect(told.get().expect("nobody publishes before the server is there"));
            let far = far.expect("a server");
            let clone = |socket: &TcpStream| socket.try_clone().expect("a descriptor");
            for (mut from, mut to) in [(clone(&near), clone(&far)), (far, near)] {
                thread::spawn(move || {
                    io::copy(&mut from, &mut to).ok();
                    to.shutdown(Shutdown::Write).ok();
                });
            }
        }
    });
    (address, behind)
}

fn event(name: &str, id: &str, data: &str) -> Event {
    Event { name: name.to_owned(), data: data.to_owned(), id: id.to_owned() }
}

#[test]
fn django_eventstream_holds_resumes_and_kicks() {
    let pair = Pair::start("grip_app.py");
    let mut stream = pair.server.public().subscribe("/events/?channel=a%20b&channel=loose");
    assert_eq!(stream.event().name, "stream-open");
    pair.until_held(1);
    pair.post("/send/a%20b/", "100% of one");
    pair.post("/send/a%20b/", "two\nlines");
    pair.post("/send/loose/", "5%");
    assert_eq!(stream.event(), event("message", "a%20b:1", "100% of one"));
    assert_eq!(stream.event(), event("message", "a%20b:2", "two\nlines"));
    assert_eq!(stream.event().data, "5%");
    drop(stream);
    pair.until_held(0);
    pair.post("/send/a%20b/", "three");

    // What was missed comes from its database, what is new from the channel, and nothing twice.
    let back = [("Last-Event-ID", "a%20b:2")];
    let mut stream = pair.server.public().subscribe_with("/events/?channel=a%20b", &back);
    pair.until_held(1);
    pair.post("/send/a%20b/?skip=anonymous", "not for those without a name");
    pair.post("/send/a%20b/", "five");
    let expected = ["three", "five"].map(str::to_owned);
    assert_eq!(stream.event().name, "stream-open");
    assert_eq!(stream.data(2), expected);
    assert_eq!(stream.last_event_id(), "a%20b:5");

    let mut locked = pair.server.public().subscribe("/events/?channel=room");
    pair.until_held(2);
    pair.post("/lock/room/", "");
    assert_eq!(
        locked.events(2).into_iter().map(|event| event.name).collect::<Vec<_>>(),
        ["stream-open", "stream-error"]
    );
    assert_eq!(locked.to_end().1, End::Said);
    pair.until_held(1);
    pair.post("/send/a%20b/", "six");
    assert_eq!(stream.data(1), ["six"], "others were not meant");
}

#[test]
fn serve_grip_holds_streams_and_polls() {
    let pair = Pair::start("grip_app.mjs");
    let mut stream = pair.server.public().subscribe("/stream/a");
    assert_eq!(stream.event().name, "open");
    let mut poll: Client = pair.server.public();
    poll.ask("GET", "/poll/b", &[], b"");
    pair.until_held(2);
    pair.post("/stream/a", "grüße 🦜");
    assert_eq!(stream.data(1), ["grüße 🦜"]);
    pair.post("/poll/b", "answered");
    let answer = poll.answer();
    assert_eq!((answer.status, answer.text().as_str()), (200, "answered"));
    assert_eq!(poll.get("/poll/b?timeout=1").text(), "nothing\n");
    pair.post("/close/a", "");
    assert_eq!(stream.to_end().1, End::Said);
}
