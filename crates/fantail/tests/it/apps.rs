//! Applications for the server to stand in front of; tests/apps/README.md says what they serve.

use std::net::SocketAddr;
use std::process::Command;

use crate::client::{Answer, Client};
use crate::program::{Program, interpreter, tests_folder};
use crate::server::{TestServer, eventually};

/// A framework, and what an application of it does by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Express with `compression`.
    Express,
    /// `FastAPI` with sse-starlette, on uvicorn.
    FastApi,
    /// Django on uvicorn.
    DjangoAsgi,
    /// Django on the server of its `runserver`.
    DjangoWsgi,
    /// PHP's built-in server.
    Php,
    /// The streaming LLM API of tests/apps/llm.mjs.
    Llm,
}

/// An application that runs. It ends when it is dropped.
pub(crate) struct App {
    pub(crate) address: SocketAddr,
    program: Program,
    /// Deleted after it.
    _folder: tempfile::TempDir,
}

impl Kind {
    /// The type of its event streams.
    pub(crate) fn stream_type(self) -> &'static str {
        match self {
            Self::Express | Self::FastApi | Self::Llm => "text/event-stream; charset=utf-8",
            Self::DjangoAsgi | Self::DjangoWsgi => "text/event-stream",
            Self::Php => "text/event-stream;charset=UTF-8",
        }
    }

    /// Whether it compresses event streams for whoever accepts that.
    pub(crate) fn compresses_streams(self) -> bool {
        !matches!(self, Self::FastApi | Self::Llm)
    }

    /// Whether it sends the head of a stream before its first event.
    pub(crate) fn sends_heads_early(self) -> bool {
        self != Self::DjangoWsgi
    }

    /// Whether it notices that its client left although it has nothing to write.
    pub(crate) fn notices_in_silence(self) -> bool {
        !matches!(self, Self::DjangoWsgi | Self::Php)
    }

    /// What starts it.
    fn command(self) -> Command {
        let script = tests_folder("apps").join(match self {
            Self::Express => "express.mjs",
            Self::FastApi => "fastapi_app.py",
            Self::DjangoAsgi | Self::DjangoWsgi => "django_app.py",
            Self::Php => "app.php",
            Self::Llm => "llm.mjs",
        });
        if self == Self::Php {
            // Its address is told on stderr.
            let mut command = Command::new("sh");
            command.args(["-c", r#"exec "$@" 2>&1"#, "php", "php"]);
            command.args(["-d", "zlib.output_compression=1", "-S", "127.0.0.1:0"]).arg(script);
            // A request each at a time.
            command.env("PHP_CLI_SERVER_WORKERS", "4");
            return command;
        }
        let mut command = Command::new(interpreter(&script));
        command.arg(script);
        match self {
            Self::DjangoAsgi => command.arg("asgi"),
            Self::DjangoWsgi => command.arg("wsgi"),
            _ => &mut command,
        };
        command
    }
}

impl App {
    /// Starts one on a free port and waits until it listens.
    pub(crate) fn start(kind: Kind) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut command = kind.command();
        // Django's own log goes to stderr, a line a request.
        command.env("TMPDIR", folder.path()).env("PYTHONDONTWRITEBYTECODE", "1");
        let mut program = Program::start(&command);
        let address = program.until("where it listens", |line| {
            let address = line.split_once("http://")?.1;
            address.trim_end_matches(|c: char| !c.is_ascii_digit()).parse().ok()
        });
        Self { address, program, _folder: folder }
    }

    /// A server before it that passes everything on, with heartbeats every 50 ms.
    pub(crate) fn behind_server(&self) -> TestServer {
        self.behind_server_with("")
    }

    /// The same with further settings of the route.
    pub(crate) fn behind_server_with(&self, route: &str) -> TestServer {
        let upstream = format!("[upstream.app]\nservers = ['http://{}']\n", self.address);
        let all = "[[route]]\npath = '/{path...}'\naction = 'proxy'\nupstream = 'app'\nping = '50ms'\n";
        TestServer::start(&format!("{upstream}{all}{route}"))
    }

    /// Waits until it has said this line.
    pub(crate) fn until_said(&mut self, line: &str) {
        self.program.until(line, |said| (said == line).then_some(()));
    }

    /// Waits until all that it has said since its start is enough.
    pub(crate) fn until_said_enough(&mut self, what: &str, enough: impl Fn(&[String]) -> bool) {
        self.program.until_enough(what, enough);
    }

    /// Lets the stream go on that waits for a step, past the server under test; waits for it to wait.
    pub(crate) fn step(&self) {
        eventually("a stream waits for its step", || self.try_step());
    }

    /// Lets the stream go on that waits for a step, if one does.
    pub(crate) fn try_step(&self) -> bool {
        let Answer { status, .. } = Client::connect(self.address).request("POST", "/step", &[], b"");
        assert!(matches!(status, 204 | 409), "a step was answered with {status}");
        status == 204
    }
}
