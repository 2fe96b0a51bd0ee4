//! A real Chromium, driven through tests/browser/driver.mjs. All methods block: from async tests, call them on a blocking
//! thread.

use std::collections::HashMap;
use std::fmt;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// How many reports of one source wait for the test to read them; beyond it the driver waits too.
const SOURCE_QUEUE: usize = 16_384;

/// How long the browser may take to start, and to answer one command, on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// A browser with one page, which belongs to an origin of its own.
pub(crate) struct Browser {
    driver: Child,
    /// Taken at the end: the driver quits when it closes.
    commands: Option<ChildStdin>,
    answers: Receiver<Answer>,
    page: String,
}

/// One `EventSource` in the page.
pub(crate) struct Source {
    number: u64,
    url: String,
    reports: Receiver<Report>,
}

/// What an `EventSource` has to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Report {
    Open,
    Event(Event),
    /// The connection was lost and the browser will make it again.
    Retrying,
    /// The connection failed for good.
    GaveUp,
}

/// An event as the page's listener got it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) name: String,
    pub(crate) data: String,
    /// `lastEventId`
    pub(crate) id: String,
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}({:?}, id {:?})", self.name, self.data, self.id)
    }
}

impl Browser {
    /// Starts Chromium with a fresh profile and opens the driver's own page.
    ///
    /// Panics with what to do if a part is missing.
    pub(crate) fn start() -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser");
        let chromium = chromium();
        require(chromium.exists(), &format!("Chromium ({})", chromium.display()));
        require(folder.join("node_modules/playwright-core").exists(), "playwright-core (tests/browser/node_modules)");
        let driver = Command::new("node")
            .arg("driver.mjs")
            .current_dir(&folder)
            .env("FANTAIL_TEST_CHROMIUM", &chromium)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        require(driver.is_ok(), "node");
        let mut driver = driver.expect("checked above");
        let commands = driver.stdin.take();
        let reports = driver.stdout.take().expect("a piped stdout");
        let (answer, answers) = sync_channel(1);
        std::thread::spawn(move || read_reports(reports, &answer));
        let mut browser = Self { driver, commands, answers, page: String::new() };
        match browser.answer("start") {
            Answer::Ready(page) => browser.page = page,
            other => panic!("the browser driver did not start, it said {other:?}"),
        }
        browser
    }

    /// The address of the driver's own page.
    pub(crate) fn page(&self) -> &str {
        &self.page
    }

    /// Goes to another page; sources of the present one end.
    pub(crate) fn open(&mut self, url: &str) {
        self.command(&json!({ "do": "open", "url": url }));
    }

    /// Makes a `new EventSource(url)` in the page that listens for `message` and for the events of these names.
    pub(crate) fn subscribe(&mut self, url: &str, names: &[&str]) -> Source {
        match self.command(&json!({ "do": "subscribe", "url": url, "events": names })) {
            Answer::Subscribed { number, reports } => Source { number, url: url.to_owned(), reports },
            other => panic!("the browser answered a subscribe with {other:?}"),
        }
    }

    /// Runs a script in the page and waits for its value, if it is a promise.
    pub(crate) fn evaluate(&mut self, script: &str) -> Value {
        match self.command(&json!({ "do": "evaluate", "script": script })) {
            Answer::Value(value) => value,
            other => panic!("the browser answered a script with {other:?}"),
        }
    }

    /// Runs a script until its value is true.
    pub(crate) fn wait_until(&mut self, script: &str, timeout: Duration) {
        let end = Instant::now() + timeout;
        while self.evaluate(script) != Value::Bool(true) {
            assert!(Instant::now() < end, "after {timeout:?} this was still not true in the page: {script}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// `EventSource.close()`.
    pub(crate) fn close(&mut self, source: &Source) {
        self.command(&json!({ "do": "close", "source": source.number }));
    }

    fn command(&mut self, command: &Value) -> Answer {
        let commands = self.commands.as_mut().expect("open until the browser is dropped");
        writeln!(commands, "{command}").expect("the browser driver takes commands");
        commands.flush().expect("the browser driver takes commands");
        match self.answer(&command.to_string()) {
            Answer::Failed(reason) => panic!("the browser failed at {command}: {reason}"),
            answer => answer,
        }
    }

    fn answer(&self, to: &str) -> Answer {
        match self.answers.recv_timeout(PATIENCE) {
            Ok(answer) => answer,
            Err(RecvTimeoutError::Timeout) => panic!("the browser did not answer within {PATIENCE:?} to {to}"),
            Err(RecvTimeoutError::Disconnected) => panic!("the browser driver ended at {to}; its reason is above"),
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The end of its input makes the driver close the browser and quit.
        self.commands.take();
        let end = Instant::now() + Duration::from_secs(10);
        while Instant::now() < end && matches!(self.driver.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(10));
        }
        self.driver.kill().ok();
        self.driver.wait().ok();
    }
}

impl Source {
    /// The next thing that this source has to say; panics if it says nothing for so long.
    pub(crate) fn next(&self, timeout: Duration) -> Report {
        self.try_next(timeout).unwrap_or_else(|| panic!("nothing from {} within {timeout:?}", self.url))
    }

    /// The next event, whatever else the source says before it; panics if it gives up or no event comes for so long.
    pub(crate) fn next_event(&self, timeout: Duration) -> Event {
        let end = Instant::now() + timeout;
        loop {
            match self.try_next(end.saturating_duration_since(Instant::now())) {
                Some(Report::Event(event)) => return event,
                Some(Report::GaveUp) => panic!("the browser gave up {}", self.url),
                Some(_) => {}
                None => panic!("no event from {} within {timeout:?}", self.url),
            }
        }
    }

    /// Waits until the source is connected, whatever it says before; panics if that takes longer.
    pub(crate) fn wait_open(&self, timeout: Duration) {
        let end = Instant::now() + timeout;
        while self.next(end.saturating_duration_since(Instant::now())) != Report::Open {}
    }

    /// The next thing that this source says within the time, if any.
    pub(crate) fn try_next(&self, timeout: Duration) -> Option<Report> {
        match self.reports.recv_timeout(timeout) {
            Ok(report) => Some(report),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => panic!("the browser driver ended while {} was open", self.url),
        }
    }
}

#[derive(Debug)]
enum Answer {
    Ready(String),
    Opened,
    Subscribed { number: u64, reports: Receiver<Report> },
    Value(Value),
    Closed,
    Failed(String),
}

/// Sorts what the driver says: answers to the one who asked, the rest to the source that it is about.
fn read_reports(from: ChildStdout, answers: &SyncSender<Answer>) {
    let mut sources: HashMap<u64, SyncSender<Report>> = HashMap::new();
    for line in BufReader::new(from).lines().map_while(Result::ok) {
        let said: Value = serde_json::from_str(&line).unwrap_or_else(|e| panic!("the driver said {line:?}: {e}"));
        let text = |name: &str| said[name].as_str().unwrap_or_default().to_owned();
        let number = said["source"].as_u64().unwrap_or_default();
        let answer = match said["report"].as_str() {
            Some("ready") => Answer::Ready(text("page")),
            Some("opened") => Answer::Opened,
            Some("value") => Answer::Value(said["value"].clone()),
            Some("closed") => Answer::Closed,
            Some("failed") => Answer::Failed(text("reason")),
            Some("subscribed") => {
                let (sender, reports) = sync_channel(SOURCE_QUEUE);
                sources.insert(number, sender);
                Answer::Subscribed { number, reports }
            }
            kind => {
                let report = match kind {
                    Some("open") => Report::Open,
                    Some("event") => Report::Event(Event { name: text("type"), data: text("data"), id: text("id") }),
                    Some("error") if said["state"] == 0 => Report::Retrying,
                    Some("error") => Report::GaveUp,
                    _ => panic!("the driver said {line:?}, which tests/it/browser.rs does not know"),
                };
                // A test that has dropped a source no longer wants to hear of it.
                sources.get(&number).map(|source| source.send(report));
                continue;
            }
        };
        if answers.send(answer).is_err() {
            return;
        }
    }
}

fn chromium() -> PathBuf {
    std::env::var_os("FANTAIL_TEST_CHROMIUM").map_or_else(|| "/usr/bin/chromium".into(), PathBuf::from)
}

fn require(there: bool, what: &str) {
    assert!(there, "{what} is missing: run scripts/test, which installs it");
}
