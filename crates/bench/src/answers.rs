//! Reads the answers of a connection, one after the other, pipelined or not.

use crate::chunked::Chunked;
use crate::head::{self, Framing, Head};

/// One answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// The server ends the connection behind it.
    pub(crate) close: bool,
    /// With its blank line.
    pub(crate) head: Vec<u8>,
    pub(crate) body: Vec<u8>,
}

/// A connection's unread bytes.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    bytes: Vec<u8>,
    /// Bytes that earlier answers used.
    used: usize,
}

impl Answers {
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        if self.used > 0 {
            self.bytes.drain(..self.used);
            self.used = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole answer. `ended`: no more bytes will come.
    pub(crate) fn next(&mut self, ended: bool) -> Result<Option<Answer>, &'static str> {
        let bytes = &self.bytes[self.used..];
        let Some(Head { status, framing, close, len }) = head::parse(bytes)? else { return Ok(None) };
        let (head, mut rest) = bytes.split_at(len);
        let head = head.to_vec();
        let mut body = Vec::new();
        match framing {
            Framing::Length(length) => {
                let length = usize::try_from(length).map_err(|_| "answer too long")?;
                let Some((whole, behind)) = rest.split_at_checked(length) else { return Ok(None) };
                body.extend_from_slice(whole);
                rest = behind;
            }
            Framing::Chunked => {
                let mut chunked = Chunked::new();
                while let Some(piece) = chunked.next(&mut rest).map_err(|_| "malformed chunk in an answer")? {
                    body.extend_from_slice(piece);
                }
                if !chunked.is_done() {
                    return Ok(None);
                }
            }
            Framing::UntilClose if ended => body.extend_from_slice(std::mem::take(&mut rest)),
            Framing::UntilClose => return Ok(None),
        }
        self.used = self.bytes.len() - rest.len();
        Ok(Some(Answer { status, close: close || framing == Framing::UntilClose, head, body }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_pipelined_come_one_by_one_under_every_split() {
        let bytes = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 202 Accepted\r\n\
            Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\nHTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n";
        for split in 0..bytes.len() {
            let (mut answers, mut told) = (Answers::default(), Vec::new());
            for piece in [&bytes[..split], &bytes[split..]] {
                answers.push(piece);
                while let Some(answer) = answers.next(false).unwrap() {
                    told.push((answer.status, answer.body, answer.close));
                }
            }
            assert_eq!(told, [(200, b"ok".to_vec(), false), (202, b"x".to_vec(), false), (204, vec![], true)]);
        }
    }

    #[test]
    fn answers_without_length_end_with_the_connection() {
        let mut answers = Answers::default();
        answers.push(b"HTTP/1.0 200 OK\r\nA: b\r\n\r\nPublished\n");
        assert!(answers.next(false).unwrap().is_none());
        assert_eq!(answers.next(true).unwrap().unwrap().body, b"Published\n");
    }
}
