//! A client that polls: on one connection, one request after the other, each with what the last answer said of its place. Knows no
//! sockets.

use crate::answers::Answers;
use crate::head;

/// Fields of an answer that say where it ends, and of the next request that say where it begins.
const PLACE: [(&str, &str); 2] = [("last-modified", "If-Modified-Since"), ("etag", "If-None-Match")];

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// An answer.
    Asked,
    /// A pause.
    Answered,
    /// A request.
    Pausing,
}

/// Where a client stands, and what it has read of the present answer.
#[derive(Debug)]
pub(crate) struct Poller {
    /// The present request, with its blank line.
    request: Vec<u8>,
    /// How much of it is the same in each.
    same: usize,
    answers: Answers,
    stage: Stage,
}

impl Poller {
    /// One that has sent its first request.
    pub(crate) fn new(request: &[u8]) -> Self {
        let same = request.len() - 2;
        Self { request: request.to_vec(), same, answers: Answers::default(), stage: Stage::Asked }
    }

    /// Says once that the answer has come whole, and a pause begins.
    pub(crate) fn pauses(&mut self) -> bool {
        let begins = self.stage == Stage::Answered;
        if begins {
            self.stage = Stage::Pausing;
        }
        begins
    }

    /// Says once that the pause is over, and what to ask.
    pub(crate) fn ask(&mut self) -> Option<&[u8]> {
        let asks = self.stage == Stage::Pausing;
        self.stage = if asks { Stage::Asked } else { self.stage };
        asks.then_some(&self.request)
    }

    /// Takes what was read: the messages of an answer, once it has come whole.
    pub(crate) fn take(&mut self, read: &[u8]) -> Result<Option<Vec<u8>>, String> {
        self.answers.push(read);
        let Some(answer) = self.answers.next(false)? else { return Ok(None) };
        if !matches!(answer.status, 200 | 304) {
            return Err(format!("status {}", answer.status));
        }
        if answer.close {
            return Err("a poll's connection ends behind its answer".into());
        }
        if PLACE.iter().any(|(said, _)| head::field(&answer.head, said).is_some()) {
            self.request.truncate(self.same);
            for (said, asked) in PLACE {
                if let Some(value) = head::field(&answer.head, said) {
                    for part in [asked.as_bytes(), b": ", value, b"\r\n"] {
                        self.request.extend_from_slice(part);
                    }
                }
            }
            self.request.extend_from_slice(b"\r\n");
        }
        self.stage = Stage::Answered;
        Ok(Some(answer.body))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(poller: &mut Poller) -> Vec<u8> {
        assert!(poller.ask().is_none(), "it does not pause");
        assert!(poller.pauses() && !poller.pauses(), "it begins to, once");
        poller.ask().unwrap().to_vec()
    }

    #[test]
    fn poller_asks_again_from_where_the_answer_ended() {
        let first = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        let mut poller = Poller::new(first);
        let answer = b"HTTP/1.1 200 OK\r\nLast-Modified: x\r\nEtag: W/3\r\nContent-Length: 2\r\n\r\nhi";
        let (start, end) = answer.split_at(50);
        assert_eq!(poller.take(start).unwrap(), None);
        let again = b"GET / HTTP/1.1\r\nHost: a\r\nIf-Modified-Since: x\r\nIf-None-Match: W/3\r\n\r\n";
        assert_eq!(poller.take(end).unwrap(), Some(b"hi".to_vec()));
        assert_eq!(next(&mut poller), again);
        // An answer without a place leaves the client where it is.
        let nothing = b"HTTP/1.1 304 Not Modified\r\n\r\n";
        assert_eq!(poller.take(nothing).unwrap(), Some(Vec::new()));
        assert_eq!(next(&mut poller), again);
        let later = b"HTTP/1.1 200 OK\r\nEtag: W/4\r\nContent-Length: 0\r\n\r\n";
        let request = b"GET / HTTP/1.1\r\nHost: a\r\nIf-None-Match: W/4\r\n\r\n";
        assert_eq!(poller.take(later).unwrap(), Some(Vec::new()));
        assert_eq!(next(&mut poller), request);
    }

    #[test]
    fn poller_refuses_what_is_no_answer_to_a_poll() {
        for bad in ["HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 304 No\r\nConnection: close\r\n\r\n"] {
            assert!(Poller::new(b"GET / HTTP/1.1\r\n\r\n").take(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
