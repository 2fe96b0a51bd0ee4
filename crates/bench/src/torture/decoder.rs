//! Reads an event stream as a browser does (WHATWG HTML §9.2.6): events are told at their blank line, and so is the id that
//! they leave behind. Lines end with LF or CRLF.

/// What a blank line completed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Event {
    /// The last `id:` since the blank line before, if there was one.
    pub(super) id: Option<String>,
    /// `event:`, empty if there was none.
    pub(super) name: String,
    /// The data; `None` where a browser fires no event.
    pub(super) data: Option<Vec<u8>>,
}

/// One stream's unread bytes and unfinished event.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    /// The line that the last piece broke off in.
    carry: Vec<u8>,
    event: Event,
}

impl Decoder {
    /// Takes the next piece of the stream, and tells `sink` what became complete in it.
    pub(super) fn feed(&mut self, mut piece: &[u8], mut sink: impl FnMut(Event)) {
        while let Some(end) = memchr::memchr(b'\n', piece) {
            if self.carry.is_empty() {
                self.line(&piece[..end], &mut sink);
            } else {
                let mut line = std::mem::take(&mut self.carry);
                line.extend_from_slice(&piece[..end]);
                self.line(&line, &mut sink);
                line.clear();
                self.carry = line;
            }
            piece = &piece[end + 1..];
        }
        self.carry.extend_from_slice(piece);
    }

    fn line(&mut self, line: &[u8], sink: &mut impl FnMut(Event)) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            let event = std::mem::take(&mut self.event);
            if event != Event::default() {
                sink(event);
            }
            return;
        }
        let (field, value) = match memchr::memchr(b':', line) {
            Some(colon) => (&line[..colon], &line[colon + 1..]),
            None => (line, &b""[..]),
        };
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match field {
            b"data" => match &mut self.event.data {
                Some(data) => {
                    data.push(b'\n');
                    data.extend_from_slice(value);
                }
                none => *none = Some(value.to_vec()),
            },
            b"id" => self.event.id = Some(String::from_utf8_lossy(value).into_owned()),
            b"event" => self.event.name = String::from_utf8_lossy(value).into_owned(),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &[u8] =
        b"retry: 5\nid: ~1.a.0\n\n: ping\nid: x\ndata: one\ndata:\ndata: two\n\nevent: fantail-gap\r\ndata:{}\r\n\r\ndata: cut";

    fn told(pieces: &[&[u8]]) -> Vec<Event> {
        let (mut decoder, mut told) = (Decoder::default(), Vec::new());
        for piece in pieces {
            decoder.feed(piece, |event| told.push(event));
        }
        told
    }

    #[test]
    fn decoder_tells_the_same_under_every_split() {
        let event = |id: Option<&str>, name: &str, data: Option<&str>| Event {
            id: id.map(str::to_owned),
            name: name.to_owned(),
            data: data.map(|data| data.as_bytes().to_vec()),
        };
        let expected = [
            event(Some("~1.a.0"), "", None),
            event(Some("x"), "", Some("one\n\ntwo")),
            event(None, "fantail-gap", Some("{}")),
        ];
        for split in 0..STREAM.len() {
            assert_eq!(told(&[&STREAM[..split], &STREAM[split..]]), expected);
        }
    }
}
