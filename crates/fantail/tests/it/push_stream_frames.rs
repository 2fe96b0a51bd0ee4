//! RFC 6455, case by case: what a client may send in frames and what ends its connection, and with which code. Each case comes
//! whole, and in single bytes.

use std::io::Write as _;

use crate::push_stream_subscriber::server;
use crate::push_stream_websocket::{Socket, frame_head};
use crate::server::TestServer;

const FIN: u8 = 0x80;
const MORE: u8 = 0;
const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;
/// The largest message, in bytes.
const MOST: usize = 70_000;

/// What the server makes of it.
#[derive(Debug, PartialEq, Eq)]
enum Then {
    /// It says these frames, and goes on.
    Says(Vec<(u8, Vec<u8>)>),
    /// It says these frames, and then goodbye with this code and nothing else, or with nothing.
    Ends(Vec<(u8, Vec<u8>)>, Option<u16>),
}

struct Case {
    name: String,
    bytes: Vec<u8>,
    then: Then,
}

/// A frame as a client has to send it.
fn frame(first: u8, content: &[u8]) -> Vec<u8> {
    masked(first, content, [0x9a, 0x01, 0xff, 0x40])
}

fn masked(first: u8, content: &[u8], mask: [u8; 4]) -> Vec<u8> {
    let mut frame = frame_head(first, content.len(), 0x80);
    frame.extend_from_slice(&mask);
    frame.extend(content.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

fn unmasked(first: u8, content: &[u8]) -> Vec<u8> {
    [frame_head(first, content.len(), 0), content.to_vec()].concat()
}

fn goodbye(code: u16, reason: &[u8]) -> Vec<u8> {
    frame(FIN | CLOSE, &[&code.to_be_bytes(), reason].concat())
}

/// A text that comes back, since it is published to the channel that its sender listens to.
fn echo(text: &[u8]) -> (u8, Vec<u8>) {
    (FIN | TEXT, text.to_vec())
}

fn pong(content: &[u8]) -> (u8, Vec<u8>) {
    (FIN | PONG, content.to_vec())
}

/// The cases, in the making.
#[derive(Default)]
struct Table(Vec<Case>);

impl Table {
    fn says(&mut self, name: &str, frames: &[Vec<u8>], says: &[(u8, Vec<u8>)]) {
        self.0.push(Case { name: name.to_owned(), bytes: frames.concat(), then: Then::Says(says.to_vec()) });
    }

    fn ends(&mut self, name: &str, frames: &[Vec<u8>], code: u16) {
        self.ends_after(name, frames, &[], Some(code));
    }

    fn ends_after(&mut self, name: &str, frames: &[Vec<u8>], says: &[(u8, Vec<u8>)], code: Option<u16>) {
        self.0.push(Case { name: name.to_owned(), bytes: frames.concat(), then: Then::Ends(says.to_vec(), code) });
    }

    /// §5.2, §5.6: whole messages, and their lengths.
    fn messages(&mut self) {
        for length in [1, 125, 126, 127, 128, 65_535, 65_536, MOST] {
            let text = vec![b'*'; length];
            self.says(&format!("text of {length} bytes"), &[frame(FIN | TEXT, &text)], &[echo(&text)]);
        }
        self.says("several at once", &[frame(FIN | TEXT, b"1"), frame(FIN | TEXT, b"2")], &[echo(b"1"), echo(b"2")]);
        self.says("a mask of zeros", &[masked(FIN | TEXT, b"plain", [0; 4])], &[echo(b"plain")]);
        self.says("nothing is not published", &[frame(FIN | TEXT, b"")], &[]);
        self.ends("a byte too many", &[frame(FIN | TEXT, &vec![b'*'; MOST + 1])], 1009);
        for (name, length) in [("more than there is room for", 1 << 40), ("a length below zero", u64::MAX)] {
            self.ends(name, &[vec![FIN | TEXT, 0xff], length.to_be_bytes().to_vec(), vec![1, 2, 3, 4]], 1009);
        }
        self.ends("bytes, which are not published", &[frame(FIN | BINARY, b"\x00\xff")], 1003);
        self.ends("bytes in pieces", &[frame(MORE | BINARY, b"a"), frame(FIN | CONTINUATION, b"b")], 1003);
    }

    /// §5.1: clients mask what they send.
    fn masks(&mut self) {
        self.ends("text without a mask", &[unmasked(FIN | TEXT, b"plain")], 1002);
        self.ends("a ping without a mask", &[unmasked(FIN | PING, b"")], 1002);
        self.ends("a goodbye without a mask", &[unmasked(FIN | CLOSE, b"")], 1002);
        self.ends(
            "a second piece without a mask",
            &[frame(MORE | TEXT, b"a"), unmasked(FIN | CONTINUATION, b"b")],
            1002,
        );
    }

    /// §5.2: bits and opcodes that mean nothing.
    fn reserved(&mut self) {
        for bits in 1..8 {
            for opcode in [TEXT, CLOSE, PING, PONG] {
                let name = format!("reserved bits {bits} in a frame of kind {opcode}");
                self.ends(&name, &[frame(FIN | bits << 4 | opcode, b"")], 1002);
            }
        }
        let pieces = [frame(MORE | TEXT, b"a"), frame(FIN | 0x40 | CONTINUATION, b"b")];
        self.ends("a reserved bit in a second piece", &pieces, 1002);
        for opcode in (3..8).chain(11..16) {
            self.ends(&format!("a frame of kind {opcode}"), &[frame(FIN | opcode, b"")], 1002);
            let between = [frame(MORE | TEXT, b"a"), frame(FIN | opcode, b"x"), frame(FIN | CONTINUATION, b"b")];
            self.ends(&format!("one of kind {opcode} between pieces"), &between, 1002);
        }
    }

    /// §5.4: messages in pieces.
    fn pieces(&mut self) {
        let text = |content: &[u8]| frame(MORE | TEXT, content);
        let middle = |content: &[u8]| frame(MORE | CONTINUATION, content);
        let last = |content: &[u8]| frame(FIN | CONTINUATION, content);
        self.says("two pieces", &[text(b"one "), last(b"two")], &[echo(b"one two")]);
        self.says("three, the first of nothing", &[text(b""), middle(b"a"), last(b"b")], &[echo(b"ab")]);
        self.says("three, the second of nothing", &[text(b"a"), middle(b""), last(b"b")], &[echo(b"ab")]);
        self.says("three, the last of nothing", &[text(b"a"), middle(b"b"), last(b"")], &[echo(b"ab")]);
        self.says("pieces of nothing", &[text(b""), middle(b""), last(b"")], &[]);
        let many: Vec<_> = [text(b"0")].into_iter().chain((0..500).map(|_| middle(b"1"))).chain([last(b"2")]).collect();
        self.says("many pieces", &many, &[echo(&[&b"0"[..], &[b'1'; 500], b"2"].concat())]);
        let half = vec![b'h'; MOST / 2];
        self.says("as much as there may be", &[text(&half), last(&half)], &[echo(&[&half[..], &half].concat())]);
        self.ends("too much together", &[text(&half), middle(&half), last(b"!")], 1009);
        let pinged = [text(b"a"), frame(FIN | PING, b"p"), middle(b"b"), frame(FIN | PONG, b"q"), last(b"c")];
        self.says("a ping and a pong between pieces", &pinged, &[pong(b"p"), echo(b"abc")]);
        self.ends_after("a goodbye between pieces", &[text(b"a"), goodbye(1000, b""), last(b"b")], &[], Some(1000));
        self.ends("a new message before the last piece", &[text(b"a"), frame(FIN | TEXT, b"b")], 1002);
        self.ends("a new one in pieces before the last piece", &[text(b"a"), text(b"b")], 1002);
        self.ends("the last piece of nothing begun", &[last(b"a")], 1002);
        self.ends("a piece of nothing begun", &[middle(b"a")], 1002);
        self.ends("a piece behind a whole message", &[frame(FIN | TEXT, b""), last(b"b")], 1002);
        for opcode in [PING, PONG, CLOSE] {
            self.ends(&format!("a piece of a frame of kind {opcode}"), &[frame(MORE | opcode, b"")], 1002);
        }
    }

    /// §5.5: pings and pongs.
    fn pings(&mut self) {
        let ping = |content: &[u8]| frame(FIN | PING, content);
        for content in [&b""[..], b"hello", b"\x00\xff\xfe\x80", &[b'p'; 125]] {
            self.says(&format!("a ping of {} bytes", content.len()), &[ping(content)], &[pong(content)]);
        }
        self.ends("a ping of 126 bytes", &[ping(&[b'p'; 126])], 1002);
        self.ends("a pong of 126 bytes", &[frame(FIN | PONG, &[b'p'; 126])], 1002);
        self.says("a pong that nobody asked for", &[frame(FIN | PONG, b""), frame(FIN | PONG, b"x")], &[]);
        self.says("a ping behind such a pong", &[frame(FIN | PONG, b"x"), ping(b"y")], &[pong(b"y")]);
    }

    /// §8.1: text is UTF-8.
    fn texts(&mut self) {
        let valid =
            ["κόσμε", "\u{0}", "\u{7f}\u{80}", "\u{7ff}\u{800}", "\u{ffff}\u{10000}", "\u{10ffff}", "\u{feff}b"];
        for text in valid {
            let bytes = text.as_bytes();
            self.says(&format!("text {text:?}"), &[frame(FIN | TEXT, bytes)], &[echo(bytes)]);
            let pieces: Vec<_> = (0..bytes.len())
                .map(|n| {
                    let first = if n == 0 { TEXT } else { CONTINUATION };
                    frame(first | if n + 1 == bytes.len() { FIN } else { MORE }, &bytes[n..=n])
                })
                .collect();
            self.says(&format!("text {text:?} in single bytes"), &pieces, &[echo(bytes)]);
        }
        let invalid: [&[u8]; 12] = [
            b"\x80",
            b"\xbf\x80",
            b"a\xc3",
            b"\xe2\x82",
            b"\xf0\x9f\xa6",
            b"\xc0\xaf",
            b"\xe0\x80\xaf",
            b"\xf0\x80\x80\xaf",
            b"\xed\xa0\x80",
            b"\xed\xad\xbf\xed\xb0\x80",
            b"\xf4\x90\x80\x80",
            b"\xfe",
        ];
        for text in invalid {
            self.ends(&format!("text {text:02x?}"), &[frame(FIN | TEXT, &[b"good ", text].concat())], 1007);
            let (start, end) = text.split_at(1);
            let pieces = [frame(MORE | TEXT, start), frame(FIN | CONTINUATION, end)];
            self.ends(&format!("text {text:02x?} in pieces"), &pieces, 1007);
        }
    }

    /// §5.5.1, §7.4: goodbyes.
    fn goodbyes(&mut self) {
        self.ends_after("a goodbye without a word", &[frame(FIN | CLOSE, b"")], &[], None);
        for code in [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999] {
            self.ends(&format!("a goodbye with {code}"), &[goodbye(code, b"")], code);
        }
        for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535] {
            self.ends(&format!("a goodbye with {code}, which is none"), &[goodbye(code, b"")], 1002);
        }
        self.ends("a goodbye with half a code", &[frame(FIN | CLOSE, &[3])], 1002);
        self.ends("a goodbye too long", &[goodbye(1000, &[b'x'; 124])], 1002);
        self.ends("a goodbye whose reason is no text", &[goodbye(1000, b"\xff")], 1007);
        let behind = [goodbye(1000, b""), frame(FIN | TEXT, b"more"), frame(FIN | PING, b"")];
        self.ends("whatever stands behind a goodbye", &behind, 1000);
    }
}

/// Sends this as it is; the server may have gone before its end.
fn send(socket: &mut Socket, bytes: &[u8], whole: bool) {
    let to = &mut socket.client.socket;
    let sent = if whole { to.write_all(bytes) } else { bytes.chunks(1).try_for_each(|byte| to.write_all(byte)) };
    sent.ok();
}

fn check(server: &TestServer, case: &Case, number: usize, whole: bool) {
    let mut socket = Socket::open(server, &format!("/ws?id={number}-{whole}"));
    socket.client.socket.set_nodelay(true).expect("an option that every socket has");
    send(&mut socket, &case.bytes, whole);
    let (says, code) = match &case.then {
        Then::Says(says) => (says, None),
        Then::Ends(says, code) => (says, Some(code)),
    };
    let name = &case.name;
    for expected in says {
        let said = socket.frame();
        assert!(said == *expected, "{name}, whole: {whole}: {:02x?} for {:02x?}", short(&said), short(expected));
    }
    let Some(code) = code else {
        send(&mut socket, &frame(FIN | TEXT, b"it goes on"), true);
        let said = socket.frame();
        assert!(said == echo(b"it goes on"), "{name}, whole: {whole}: {:02x?} behind it", short(&said));
        return;
    };
    let said = socket.frame();
    let goodbye = code.map(|code| code.to_be_bytes().to_vec()).unwrap_or_default();
    // A goodbye's reason may be said again with its code.
    assert!(said.0 == FIN | CLOSE && said.1.starts_with(&goodbye), "{name}, whole: {whole}: {:02x?}", short(&said));
    assert_eq!(said.1.is_empty(), code.is_none(), "{name}");
    send(&mut socket, &frame(FIN | CLOSE, &said.1), true);
    socket.expect_end();
}

fn short(frame: &(u8, Vec<u8>)) -> (u8, usize, &[u8]) {
    (frame.0, frame.1.len(), &frame.1[..frame.1.len().min(20)])
}

#[test]
fn frames_are_taken_and_refused_as_the_rfc_says() {
    let options = "subscriber = 'websocket'\nchannels_path = '$arg_id'\nwebsocket_allow_publish = true";
    let server = server(&format!("[hub]\nmessage = '{MOST}'\n"), &[("/ws", options)]);
    let mut table = Table::default();
    table.messages();
    table.masks();
    table.reserved();
    table.pieces();
    table.pings();
    table.texts();
    table.goodbyes();
    for (number, case) in table.0.iter().enumerate() {
        check(&server, case, number, true);
        check(&server, case, number, false);
    }
    assert!(table.0.len() > 150, "{} cases", table.0.len());
    server.until_stat("subscribers", 0);
}
