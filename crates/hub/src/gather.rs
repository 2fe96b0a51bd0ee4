//! What lies between a cursor and the end, as bytes ready to be sent. The one act behind live delivery, catching up and
//! resuming. Knows how frames are cut and merged, not what they say (that is [`Render`]) nor where they go.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

use crate::channel::Channel;
use crate::clock::Millis;
use crate::journal::Page;
use crate::message::Message;
use crate::name::ChannelName;
use crate::position::{Cursor, Epoch, Offset, Position};
use crate::tail::Entry;

/// How frames are delimited on the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Framing {
    /// Each frame is one HTTP/1.1 chunk (RFC 9112 §7.1): some clients take a chunk for an event.
    Chunked,
    /// The bytes as they are, for HTTP/1.0 and for framings of other layers.
    Raw,
}

impl Framing {
    /// Appends `content` in this framing. Nothing is appended for no content: an empty chunk would end the body.
    pub fn wrap(self, out: &mut Vec<u8>, content: &[u8]) {
        use std::io::Write as _;
        if content.is_empty() {
            return;
        }
        match self {
            Self::Raw => out.extend_from_slice(content),
            Self::Chunked => {
                // Writing to a Vec cannot fail.
                let _ = write!(out, "{:x}\r\n", content.len());
                out.extend_from_slice(content);
                out.extend_from_slice(b"\r\n");
            }
        }
    }

    /// What ends a body cleanly.
    pub const fn end(self) -> &'static [u8] {
        match self {
            Self::Chunked => b"0\r\n\r\n",
            Self::Raw => b"",
        }
    }
}

/// Some of a channel's messages are gone before a subscriber saw them.
#[derive(Debug, Clone, Copy)]
pub struct Gap<'a> {
    /// Whose.
    pub channel: &'a ChannelName,
    /// What the subscriber asked to go on from, where it said so in words of its own.
    pub asked: Option<&'a str>,
    /// The last position that the subscriber had seen, where that is known.
    pub seen: Option<Position>,
    /// What was lost ends here; what follows is behind it.
    pub lost_to: Position,
    /// Whether a subscriber that has seen this gap may go on from `lost_to`: then that is the event's id.
    pub with_id: bool,
}

/// Turns entries into the bytes of one family of clients.
pub trait Render: Send + Sync {
    /// Appends the frame of one message of a channel.
    /// `number` is the channel's own for it, see [`Entry::number`].
    fn message(&self, out: &mut Vec<u8>, channel: &ChannelName, position: Position, number: u64, message: &Message);
    /// Appends the frame that tells of a gap; may append nothing.
    fn gap(&self, out: &mut Vec<u8>, gap: &Gap<'_>);
    /// Whether a subscriber that has been sent this message is done: its connection ends behind the frame, while the
    /// channel lives on for the others. Asked for each message as it is gathered, so it has to be quick.
    fn closes(&self, _channel: &ChannelName, _message: &Message) -> bool {
        false
    }
    /// Whether a subscriber that has been told of a channel's end leaves it, and hears nothing of what goes on there: see
    /// [`Batch::left`].
    fn leaves_ends(&self) -> bool {
        false
    }
    /// Whether an end behind which the channel went on is kept from those who ask for the past.
    fn forgets_ends(&self) -> bool {
        false
    }
}

/// A renderer with an identity: subscribers of one profile at one cursor get the very same bytes.
pub struct Profile {
    key: u64,
    render: Box<dyn Render>,
}

impl Profile {
    /// A profile unlike any other of this process.
    pub fn new(render: impl Render + 'static) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self { key: NEXT.fetch_add(1, Ordering::Relaxed), render: Box::new(render) }
    }

    fn shared_key(&self, framing: Framing) -> u64 {
        self.key << 1 | u64::from(framing == Framing::Raw)
    }
}

impl fmt::Debug for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Profile({})", self.key)
    }
}

/// How far a subscription has come in its channels, and what it asked for until it has caught up.
#[derive(Debug)]
pub struct Progress {
    cursor: Cursor,
    start: Option<Box<Start>>,
}

/// What matters only until a subscription has caught up with the moment at which it began.
#[derive(Debug)]
pub(crate) struct Start {
    /// For each channel the first offset that was asked for; empty if the cursor alone decides.
    pub(crate) lower: Box<[u64]>,
    /// The id that was asked for, where it is not a position.
    pub(crate) asked: Option<Box<str>>,
    /// That moment.
    pub(crate) until: Offset,
}

impl Progress {
    pub(crate) fn new(cursor: Cursor, start: Option<Box<Start>>) -> Self {
        Self { cursor, start }
    }

    /// The first offset that is due.
    pub fn cursor(&self) -> Cursor {
        self.cursor
    }

    /// Whether the cursor alone says what is due, so that subscribers at equal cursors are due the same.
    pub fn is_plain(&self) -> bool {
        self.start.is_none()
    }

    /// Everything below `next` has been taken.
    pub fn advance(&mut self, next: Cursor) {
        debug_assert!(next >= self.cursor, "a cursor cannot regress");
        self.cursor = next;
        if self.start.as_ref().is_some_and(|start| next > Cursor::after(start.until)) {
            self.start = None;
        }
    }

    /// The first offset that is due from the channel at `index` of the subscription.
    pub fn next_in(&self, index: usize) -> u64 {
        let lower = self.start.as_ref().and_then(|start| start.lower.get(index)).copied();
        self.cursor.next().max(lower.unwrap_or(0))
    }

    /// The channel at `index` is none of the subscription's any more; those behind it move up.
    pub fn leave(&mut self, index: usize) {
        if let Some(start) = &mut self.start
            && index < start.lower.len()
        {
            let mut lower = std::mem::take(&mut start.lower).into_vec();
            lower.remove(index);
            start.lower = lower.into();
        }
    }

    /// The moment at which a subscription began that asked for the past: transient messages from before are not part of that.
    fn past(&self) -> Offset {
        self.start.as_ref().map_or(Offset(0), |start| start.until)
    }

    fn asked(&self) -> Option<&str> {
        self.start.as_ref()?.asked.as_deref()
    }
}

/// Frames ready to be sent: either several small ones, at most [`Batch::MAX_BYTES`] together, or a single one of any size.
#[derive(Debug)]
pub struct Batch {
    /// All frames, in their framing.
    pub bytes: Bytes,
    /// Where each ends, and what is due behind it.
    pub frames: Vec<Frame>,
    /// Messages among the frames.
    pub messages: u32,
    /// The last of them: where it stands, and when it was accepted.
    pub last: Option<(Offset, Millis)>,
    /// Gaps among the frames, told or not.
    pub gaps: u32,
    /// There is an end among them.
    pub ends: bool,
    /// The last frame is the last of the connection; see [`Render::closes`].
    pub closes: bool,
    /// The last frame is the end of this channel, which the subscriber leaves with it: whoever sends it sees to that, by
    /// [`Progress::leave`] too. See [`Render::leaves_ends`].
    pub left: Option<ChannelName>,
    /// More was due than fitted.
    pub full: bool,
    /// The lowest cursor that is due exactly this; see [`Batch::suits`].
    lowest: Cursor,
    /// The highest.
    highest: Cursor,
}

/// One frame of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame {
    /// The offset behind it in [`Batch::bytes`].
    pub end: usize,
    /// The subscriber's cursor once the frame is on its way.
    pub next: Cursor,
}

impl Batch {
    /// The most that is gathered for one write, unless a single frame is larger.
    pub const MAX_BYTES: usize = 64 << 10;

    /// Nothing, up to the cursor `next`.
    fn passing(next: Cursor) -> Self {
        Self {
            bytes: Bytes::new(),
            frames: Vec::new(),
            messages: 0,
            last: None,
            gaps: 0,
            ends: false,
            closes: false,
            left: None,
            full: false,
            lowest: next,
            highest: next,
        }
    }

    /// The cursor behind the whole batch.
    pub fn next(&self) -> Cursor {
        self.frames.last().map_or(self.highest, |frame| frame.next)
    }

    /// Whether a plain subscriber of the same channel at `cursor` is due the same bytes.
    pub fn suits(&self, cursor: Cursor) -> bool {
        (self.lowest..=self.highest).contains(&cursor)
    }

    /// What is left to send of the frame in which the first `sent` bytes end, and the cursor behind that frame. The rest of
    /// the batch is gathered again later. `None` where the cut falls between two frames: then only the cursor counts.
    /// `sent` is at least one: of a batch that was not touched nothing has to be remembered.
    pub fn cut(&self, sent: usize) -> (Cursor, Option<Bytes>) {
        debug_assert!(sent > 0, "a cut needs something on its near side");
        let whole = self.frames.partition_point(|frame| frame.end <= sent);
        let begin = whole.checked_sub(1).map_or(0, |at| self.frames[at].end);
        let Some(frame) = self.frames.get(whole).filter(|_| sent > begin) else {
            let next = whole.checked_sub(1).map_or(self.lowest, |at| self.frames[at].next);
            return (next, None);
        };
        let rest = if self.frames.len() == 1 {
            self.bytes.slice(sent..frame.end)
        } else {
            // A copy of one small frame, so that a stalled reader does not keep the whole batch.
            Bytes::copy_from_slice(&self.bytes[sent..frame.end])
        };
        (frame.next, Some(rest))
    }
}

/// What a gathering came to.
#[derive(Debug)]
pub enum Gathered {
    /// Nothing is due.
    Nothing,
    /// This is due. It may be without frames, and only lead the cursor over a stretch in which there was nothing.
    Due(Batch),
    /// What is due lies further back than a tail goes: the [`missing`] pages have to be read first.
    Behind,
}

/// Pages of a subscription's channels, by their places.
pub type Pages = [(usize, Page)];

/// The first offsets of the pages that a subscription to `channels` needs: of those whose history lies in the journal where
/// it stands.
pub fn missing<'c>(channels: impl Iterator<Item = (usize, &'c Channel)>, progress: &Progress) -> Vec<(usize, u64)> {
    let behind = |(index, channel): (usize, &Channel)| {
        let next = progress.next_in(index);
        (channel.is_stored() && channel.read(|tail| next <= tail.floor().0)).then_some((index, next))
    };
    channels.filter_map(behind).collect()
}

/// What a gathering looks at.
#[derive(Debug, Clone, Copy)]
pub struct View {
    /// The journal's epoch.
    pub epoch: Epoch,
    /// Nothing above this is gathered. For several channels it must be the journal's counter, loaded before.
    pub until: Offset,
}

enum What {
    Lost,
    /// With its number.
    Is(u64, Arc<Message>),
}

struct Item {
    at: Offset,
    channel: usize,
    what: What,
}

/// What is taken of one channel.
struct Took<'a> {
    channel: usize,
    until: Offset,
    /// Transient messages up to here are not for this subscriber: it asked for the past.
    past: Offset,
    /// Nor is an end that did not last; see [`Render::forgets_ends`].
    forgets_ends: bool,
    /// The channel's end, if it has ended.
    end: Option<Offset>,
    complete_to: Offset,
    items: &'a mut Vec<Item>,
}

impl Took<'_> {
    /// Something was lost up to `floor`. False if that is no matter yet.
    fn lost(&mut self, floor: Offset) -> bool {
        if floor <= self.until {
            self.items.push(Item { at: floor, channel: self.channel, what: What::Lost });
        }
        floor <= self.until
    }

    fn entries<'e>(&mut self, entries: impl Iterator<Item = &'e Entry>, mut room: usize) {
        for Entry { offset, number, message } in entries {
            if *offset > self.until {
                break;
            }
            let passing = message.traits().transient || self.forgets_ends && message.kind().ends();
            if *offset <= self.past && passing && Some(*offset) != self.end {
                continue;
            }
            if room == 0 {
                self.complete_to = self.complete_to.min(Offset(offset.0 - 1));
                break;
            }
            room = room.saturating_sub(message.cost());
            let what = What::Is(*number, Arc::clone(message));
            self.items.push(Item { at: *offset, channel: self.channel, what });
        }
    }
}

/// Reusable room for gathering.
#[derive(Default)]
pub struct Gatherer {
    items: Vec<Item>,
    content: Vec<u8>,
}

impl Gatherer {
    /// What a subscription to `channels` (each with its place among them) at `progress` is due.
    ///
    /// Entries of several channels are merged by offset. A gap stands at its channel's floor in that order, so that the id
    /// it carries neither repeats nor skips what other channels hold. Where a cursor stands behind the floor of a stored channel's
    /// tail, `pages` take the tail's place up to their ends.
    pub fn gather<'c>(
        &mut self,
        view: View,
        channels: &(impl Iterator<Item = (usize, &'c Channel)> + Clone),
        pages: &Pages,
        progress: &Progress,
        profile: &Profile,
        framing: Framing,
    ) -> Gathered {
        self.items.clear();
        // Beyond this offset some channel's entries were left out.
        let mut complete_to = view.until;
        // Up to here the pages were read that took part.
        let mut read_to = None;
        let mut lowest = 0;
        let mut sources = 0;
        // Of many channels that are far behind only as much is taken as fits together, or little more.
        let behind = channels.clone().filter(|(index, channel)| channel.reaches(progress.next_in(*index))).count();
        let share = Batch::MAX_BYTES / behind.max(1);
        for (index, channel) in channels.clone() {
            let next = progress.next_in(index);
            if next > 0 && !channel.reaches(next) || next > view.until.0.saturating_add(1) {
                continue;
            }
            let before = self.items.len();
            let took = channel.read(|tail| {
                let mut took = Took {
                    channel: index,
                    until: view.until,
                    past: progress.past(),
                    forgets_ends: profile.render.forgets_ends(),
                    end: tail.ended().then(|| tail.last()),
                    complete_to,
                    items: &mut self.items,
                };
                let floor = tail.floor();
                if next > floor.0 {
                    took.entries(tail.from(next), share);
                    return Some((took.complete_to, tail.earliest_alike(next)));
                }
                let mut next = next;
                if channel.is_stored() {
                    // One that ends before it begins holds until the cursor stands where it ends.
                    let due = progress.cursor.next();
                    let page = pages.iter().find(|(of, page)| *of == index && page.next <= next && due <= page.until.0);
                    let (_, page) = page?;
                    read_to = Some(read_to.map_or(page.until, |until: Offset| until.min(page.until)));
                    if let Some(lost) = page.lost.filter(|lost| next <= lost.0) {
                        debug_assert!(lost <= floor, "a tail may not hold what the journal has lost");
                        if !took.lost(lost) {
                            return Some((took.complete_to, 0));
                        }
                        next = lost.0 + 1;
                    }
                    let from = page.entries.partition_point(|entry| entry.offset.0 < next);
                    // Pages hold little more than leaves together, however unlike the channels are.
                    took.entries(page.entries[from..].iter(), usize::MAX);
                    if page.until < floor {
                        took.complete_to = took.complete_to.min(page.until);
                        return Some((took.complete_to, 0));
                    }
                    next = page.until.0 + 1;
                } else {
                    if !took.lost(floor) {
                        return Some((took.complete_to, 0));
                    }
                    next = floor.0 + 1;
                }
                took.entries(tail.from(next), share);
                Some((took.complete_to, progress.cursor.next()))
            });
            let Some((complete, alike)) = took else { return Gathered::Behind };
            complete_to = complete;
            if self.items.len() > before {
                sources += 1;
                lowest = alike;
            }
        }
        if sources > 1 {
            self.items.sort_by_key(|item| item.at);
        }
        let Some(first) = self.items.first().filter(|item| item.at <= complete_to) else {
            // Nothing was there, up to here.
            let passed = read_to.map(|until| Cursor::after(until.min(complete_to)));
            return match passed.filter(|next| *next > progress.cursor) {
                Some(next) => Gathered::Due(Batch::passing(next)),
                None => Gathered::Nothing,
            };
        };
        let highest = match first.what {
            What::Lost => progress.cursor,
            What::Is(..) => Cursor::at(first.at.0),
        };
        let alone = sources > 1 || read_to.is_some();
        let lowest = if alone { progress.cursor } else { Cursor::at(lowest).min(highest) };
        let mut batch = self.render(view.epoch, channels, progress, profile, framing, complete_to);
        // What was left out of the room is due all the same.
        batch.full |= complete_to < view.until;
        (batch.lowest, batch.highest) = (lowest, highest);
        Gathered::Due(batch)
    }

    fn render<'c>(
        &mut self,
        epoch: Epoch,
        channels: &(impl Iterator<Item = (usize, &'c Channel)> + Clone),
        progress: &Progress,
        profile: &Profile,
        framing: Framing,
        complete_to: Offset,
    ) -> Batch {
        let mut out = Vec::new();
        let mut batch = Batch { frames: Vec::with_capacity(self.items.len()), ..Batch::passing(Cursor::BEGIN) };
        self.content.clear();
        let name = |index: usize| {
            let (place, channel) = channels.clone().nth(index).expect("an item's channel is one of those given");
            debug_assert_eq!(place, index, "a channel is given with its place");
            channel.name()
        };
        let leaves = profile.render.leaves_ends();
        let left = |index: usize, message: &Message| (leaves && message.kind().ends()).then(|| name(index).clone());
        let mut items = self.items.iter().peekable();
        let mut gaps = 0;
        while let Some(item) = items.next() {
            if item.at > complete_to {
                batch.full = true;
                break;
            }
            let position = Position { epoch, offset: item.at };
            let next = Cursor::after(item.at);
            match &item.what {
                What::Lost => {
                    // Gaps at one floor are one frame, and only the last of them has the id.
                    let with_id = items.peek().is_none_or(|other| other.at != item.at);
                    let seen = progress.cursor.seen().map(|offset| Position { epoch, offset });
                    let channel = name(item.channel);
                    let gap = Gap { channel, asked: progress.asked(), seen, lost_to: position, with_id };
                    profile.render.gap(&mut self.content, &gap);
                    gaps += 1;
                    if !with_id {
                        continue;
                    }
                }
                What::Is(number, message) if message.is_large() => {
                    if !batch.frames.is_empty() {
                        batch.full = true;
                        break;
                    }
                    let large = message.rendering(profile.shared_key(framing), || {
                        profile.render.message(&mut self.content, name(item.channel), position, *number, message);
                        let mut framed = Vec::with_capacity(self.content.len() + 16);
                        framing.wrap(&mut framed, &self.content);
                        framed
                    });
                    batch.bytes = Bytes::from_owner(Shared(large));
                    batch.frames.push(Frame { end: batch.bytes.len(), next });
                    batch.messages = 1;
                    batch.last = Some((item.at, message.time()));
                    batch.ends = message.kind().ends();
                    batch.closes = profile.render.closes(name(item.channel), message);
                    batch.left = left(item.channel, message);
                    batch.full = items.peek().is_some();
                    self.content = Vec::new();
                    self.items.clear();
                    return batch;
                }
                What::Is(number, message) => {
                    profile.render.message(&mut self.content, name(item.channel), position, *number, message);
                }
            }
            let before = out.len();
            framing.wrap(&mut out, &self.content);
            self.content.clear();
            if out.len() > Batch::MAX_BYTES && before > 0 {
                out.truncate(before);
                batch.full = true;
                break;
            }
            batch.gaps += std::mem::take(&mut gaps);
            if let What::Is(_, message) = &item.what {
                batch.messages += 1;
                batch.last = Some((item.at, message.time()));
                batch.ends |= message.kind().ends();
                batch.closes = profile.render.closes(name(item.channel), message);
                batch.left = left(item.channel, message);
            }
            batch.frames.push(Frame { end: out.len(), next });
            if batch.closes || batch.left.is_some() {
                batch.full = items.peek().is_some();
                break;
            }
        }
        // The messages are not kept alive by the room.
        self.items.clear();
        batch.bytes = out.into();
        batch
    }
}

struct Shared(Arc<crate::message::Rendering>);

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        (*self.0).as_ref()
    }
}
