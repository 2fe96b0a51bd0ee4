//! A client: a real decoder over whatever bytes arrived, and its judgement of every event against the book. It believes
//! nothing that a connection promised, only complete events.

use std::collections::{BTreeMap, BTreeSet};

use fantail_hub::Framing;
use fantail_sse::{Decoder, Item};

use crate::book::{Book, position};

/// What one client knows, over all its connections.
#[derive(Debug)]
pub(crate) struct Client {
    framing: Framing,
    quiet: bool,
    decoder: Decoder,
    chunks: Chunks,
    /// What it will send as `Last-Event-ID`; empty for none.
    pub(crate) last_id: Vec<u8>,
    /// The offset behind which it truly stands, as its events say it, in the epoch of `last_id`.
    pub(crate) seen: u64,
    /// For each of its channels, the highest offset that it has or was told to be lost. `None`: its past is unknown, and
    /// it must be told so first.
    pub(crate) done: BTreeMap<usize, Option<u64>>,
    /// Every offset that it ever got.
    pub(crate) received: BTreeSet<u64>,
    /// The last offset on this connection.
    wire: Option<u64>,
}

impl Client {
    pub(crate) fn new(framing: Framing, quiet: bool) -> Self {
        Self {
            framing,
            quiet,
            decoder: Decoder::new(),
            chunks: Chunks::default(),
            last_id: Vec::new(),
            seen: 0,
            done: BTreeMap::new(),
            received: BTreeSet::new(),
            wire: None,
        }
    }

    /// A new connection. What an older one left unfinished is void.
    pub(crate) fn connect(&mut self, done: BTreeMap<usize, Option<u64>>) {
        self.decoder = Decoder::new();
        self.chunks = Chunks::default();
        self.done = done;
        self.wire = None;
    }

    /// Bytes arrive.
    pub(crate) fn take(&mut self, bytes: &[u8], book: &Book) {
        let bytes = match self.framing {
            Framing::Raw => bytes.to_vec(),
            Framing::Chunked => self.chunks.take(bytes),
        };
        let mut events = Vec::new();
        let each = |item: Item<'_>| match item {
            Item::Event(event) => events.push([event.name, event.data, event.id].map(<[u8]>::to_vec)),
            other => panic!("nobody sends {other:?}"),
        };
        self.decoder.feed(&bytes, each).expect("the limits of the decoder are wide");
        for [name, data, id] in events {
            let [name, data] = [name, data].map(|part| String::from_utf8(part).expect("text"));
            if name == "gap" { self.gap(&data, &id, book) } else { self.message(&name, &data, &id, book) }
        }
        let id = self.decoder.last_event_id();
        if !id.is_empty() {
            if self.wire.is_none() {
                // The start of the stream alone.
                self.seen = fantail_hub::Position::parse(id).map_or(self.seen, |position| position.offset.0);
            }
            self.last_id = id.to_vec();
        }
    }

    fn message(&mut self, name: &str, data: &str, id: &[u8], book: &Book) {
        let (offset, event) = match name.split_once('.') {
            Some((offset, event)) => (offset, Some(event)),
            None => (name, None),
        };
        let offset: u64 = offset.strip_prefix('m').and_then(|n| n.parse().ok()).expect("mOFFSET");
        let (channel, written) = book.find(offset).unwrap_or_else(|| panic!("nobody said {offset}"));
        assert_eq!(event, written.event.as_deref());
        assert_eq!(data, written.data.replace("\r\n", "\n").replace('\r', "\n"), "at {offset}");
        assert_eq!(id, written.id(book.epoch).as_bytes());
        assert!(self.wire < Some(offset), "{offset} after {:?}: out of order", self.wire);
        self.wire = Some(offset);
        self.seen = offset;
        assert!(self.received.insert(offset), "{offset} came twice");
        let floor = book.pages[channel].floor();
        let done = self.done.get_mut(&channel).unwrap_or_else(|| panic!("{offset} is of a channel not asked for"));
        let before = match *done {
            Some(before) => before,
            None if self.quiet => 0,
            None => panic!("{offset} came before it was told that the id is not known"),
        };
        assert!(offset > before, "{offset} came although {before} was told to be lost");
        for missing in book.between(channel, before, offset) {
            let excused = self.quiet && (missing.is_end || missing.offset <= floor);
            assert!(excused, "{} was lost in silence: {offset} after {before}", missing.offset);
        }
        *done = Some(offset);
    }

    fn gap(&mut self, data: &str, id: &[u8], book: &Book) {
        let [name, lost_to, with_id] = data.split(' ').collect::<Vec<_>>()[..] else { panic!("a gap says {data:?}") };
        let lost_to: u64 = lost_to.parse().expect("an offset");
        let channel = book.pages.iter().position(|page| page.name.as_str() == name).expect("a channel");
        assert!(self.wire <= Some(lost_to), "a gap to {lost_to} after {:?}: out of order", self.wire);
        self.wire = Some(lost_to);
        let done = self.done.get_mut(&channel).expect("a gap of a channel not asked for");
        if let Some(before) = *done {
            let lost = book.between(channel, before, lost_to + 1).next().is_some();
            assert!(lost || book.vague, "a gap of {name} from {before} to {lost_to}, and nothing was lost");
        }
        *done = Some(lost_to);
        if with_id == "true" {
            assert_eq!(id, position(book.epoch, lost_to).as_bytes());
            self.seen = lost_to;
        }
    }

    /// It has got everything that arrived: nothing that there is may be missing.
    pub(crate) fn check_settled(&self, book: &Book) {
        for (&channel, done) in &self.done {
            let page = &book.pages[channel];
            let Some(before) = done.or(self.quiet.then_some(0)) else {
                panic!("it was never told that {} has a gap", page.name)
            };
            for missing in book.between(channel, before, u64::MAX) {
                let excused = self.quiet && (missing.is_end || missing.offset <= page.floor());
                assert!(excused, "{} never came, and no gap either", missing.offset);
            }
        }
    }
}

/// Takes HTTP/1.1 chunks apart that are cut anywhere.
#[derive(Debug, Default)]
struct Chunks {
    /// The part of a size line, or of the line end behind a chunk.
    line: Vec<u8>,
    /// What is still to come of a chunk's content.
    left: usize,
    /// The content's last bytes.
    end: [u8; 2],
}

impl Chunks {
    /// The content, also of a chunk that is not complete: clients see that as well.
    fn take(&mut self, mut bytes: &[u8]) -> Vec<u8> {
        let mut content = Vec::new();
        while !bytes.is_empty() {
            if self.left > 0 {
                let (now, later) = bytes.split_at(self.left.min(bytes.len()));
                content.extend_from_slice(now);
                for &byte in &now[now.len().saturating_sub(2)..] {
                    self.end = [self.end[1], byte];
                }
                self.left -= now.len();
                bytes = later;
                if self.left == 0 {
                    assert_eq!(&self.end, b"\n\n", "a chunk is whole events");
                    self.line.push(b'.');
                }
                continue;
            }
            self.line.push(bytes[0]);
            bytes = &bytes[1..];
            if self.line == b".\r\n" {
                self.line.clear();
            } else if let Some(size) = self.line.strip_suffix(b"\r\n") {
                let size = std::str::from_utf8(size).expect("a size in hex");
                self.left = usize::from_str_radix(size, 16).expect("a size in hex");
                assert!(self.left > 0, "an empty chunk ends the body");
                self.line.clear();
            }
        }
        content
    }
}
