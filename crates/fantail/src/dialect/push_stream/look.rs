//! How the hub's messages look to the module's clients: its templates as the hub's renderers.

use fantail_hub::{ChannelName, Gap, Kind, Message, Position, Render};

use super::event_source::EventSource;
use super::padding::{Filler, pad};
use super::path::channel_id;
use super::template::{Entry, Template};
use crate::dialect::native::{GapStyle, Native};

/// How messages look on one kind of connection.
#[derive(Debug)]
pub struct Look {
    shape: Shape,
    filling: Option<Filling>,
    /// What stands behind each message.
    between: &'static [u8],
    /// A deleted channel is the subscriber's only one, and ends its connection.
    alone: bool,
    /// A channel that is deleted is left, whatever becomes of it.
    leaves: bool,
}

#[derive(Debug)]
enum Shape {
    /// The template, and nothing else: there is no word for a gap.
    Plain(Template),
    /// An event stream; how gaps are told there.
    Events(EventSource, GapStyle),
}

/// How much of it there is to be at least.
#[derive(Debug, Clone, Copy)]
struct Filling {
    least: usize,
    most: usize,
}

impl Look {
    /// Messages through a template as it stands.
    pub fn plain(template: &str, strict: bool) -> Self {
        Self::of(Shape::Plain(Template::parse(template, strict)))
    }

    /// Messages as events. Strictly a gap is not told.
    pub fn events(template: &str, gap: GapStyle, strict: bool) -> Self {
        let gap = if strict { GapStyle::Off } else { gap };
        Self::of(Shape::Events(EventSource::new(template, strict), gap))
    }

    fn of(shape: Shape) -> Self {
        Self { shape, filling: None, between: b"", alone: false, leaves: false }
    }

    /// With filler behind each message that is shorter than `least`; `most` is the largest such number of all routes.
    #[must_use]
    pub fn filled(self, least: usize, most: usize) -> Self {
        Self { filling: Some(Filling { least, most }), ..self }
    }

    /// With this behind each message.
    #[must_use]
    pub fn separated(self, between: &'static [u8]) -> Self {
        Self { between, ..self }
    }

    /// For subscribers of one channel, whose connections end with it. Those of several go on until all have ended.
    #[must_use]
    pub fn alone(self) -> Self {
        Self { alone: true, ..self }
    }

    /// For subscribers of several channels who hear nothing more of one that was deleted, even if it is there again.
    #[must_use]
    pub fn leaving(self) -> Self {
        Self { leaves: true, ..self }
    }

    /// Appends a message, or what nobody published.
    pub fn entry(&self, out: &mut Vec<u8>, entry: &Entry<'_>) {
        let start = out.len();
        let length = match &self.shape {
            Shape::Plain(template) => {
                template.render(out, entry);
                out.len() - start
            }
            Shape::Events(template, _) => template.message(out, entry),
        };
        if let Some(Filling { least, most }) = self.filling {
            pad(out, length, least, most, self.filler());
        }
        out.extend_from_slice(self.between);
    }

    /// What filler is made of here.
    pub fn filler(&self) -> Filler {
        match self.shape {
            Shape::Plain(_) => Filler::LineBreaks,
            Shape::Events(..) => Filler::Comment,
        }
    }
}

impl Render for Look {
    fn message(&self, out: &mut Vec<u8>, channel: &ChannelName, position: Position, number: u64, message: &Message) {
        let data = message.bytes();
        let channel = channel_id(channel);
        let entry = match message.kind() {
            Kind::Data => Entry {
                number: i64::try_from(number).unwrap_or(i64::MAX),
                text: &data,
                channel,
                time: message.time(),
                tag: position.offset.0,
                event_id: message.id(),
                event_type: message.event(),
                position: Some(position),
            },
            Kind::End | Kind::Broken => Entry::deleted(channel, &data),
        };
        self.entry(out, &entry);
    }

    fn gap(&self, out: &mut Vec<u8>, gap: &Gap<'_>) {
        if let Shape::Events(_, style) = &self.shape {
            Native { gap: *style }.gap(out, gap);
        }
    }

    fn closes(&self, _: &ChannelName, message: &Message) -> bool {
        self.alone && message.kind().ends()
    }

    fn leaves_ends(&self) -> bool {
        self.leaves
    }

    fn forgets_ends(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use fantail_hub::{Epoch, Millis, NewMessage, Offset, Traits};
    use fantail_sse::{EventId, EventName};

    use super::*;

    const AT: Position = Position { epoch: Epoch::new(0xab), offset: Offset(7) };

    fn rendered(look: &Look, message: &Message) -> Vec<u8> {
        let mut out = Vec::new();
        look.message(&mut out, &ChannelName::parse("ch").unwrap(), AT, 3, message);
        out
    }

    fn message(kind: Kind, data: &str) -> Message {
        let (event, id) = (EventName::parse("ty").unwrap(), EventId::parse("e1").unwrap());
        Message::new(Millis(1_795_359_029_500), kind, NewMessage { data, event: Some(&event), id: Some(&id) })
    }

    #[test]
    fn look_fills_the_template_with_what_the_hub_knows() {
        let look = Look::plain("~id~|~channel~|~text~|~tag~|~time~|~event-id~|~event-type~\n", true);
        assert_eq!(rendered(&look, &message(Kind::Data, "a")), b"3|ch|a|7|Sun, 22 Nov 2026 14:50:29 GMT|e1|ty\n");
        assert_eq!(
            rendered(&look, &message(Kind::End, "gone")),
            b"-2|ch|gone|0|Thu, 01 Jan 1970 00:00:00 GMT||\n",
            "what is deleted has no place"
        );
    }

    #[test]
    fn look_gives_bytes_back_as_they_came() {
        let bytes: String = (0..=255_u8).map(char::from).collect();
        let kept = message(Kind::Data, &bytes).with(Traits { bytes: true, ..Traits::default() });
        let expected: Vec<u8> = (0..=255).collect();
        assert_eq!(rendered(&Look::plain("~text~", true), &kept), expected);
        let sized = rendered(&Look::plain("ü~size~", true), &kept);
        assert_eq!(String::from_utf8(sized).unwrap(), "ü256");
    }

    #[test]
    fn look_of_an_event_stream_tells_ids_events_and_gaps() {
        let look = Look::events("~text~", GapStyle::Comment, false);
        assert_eq!(rendered(&look, &message(Kind::Data, "a\nb")), b"id: e1\nevent: ty\ndata: a\ndata: b\n\n");
        let bare = Message::new(Millis(0), Kind::Data, NewMessage { data: "a", event: None, id: None });
        assert_eq!(rendered(&look, &bare), b"id: ~1.ab.7\ndata: a\n\n");
        let channel = ChannelName::parse("ch").unwrap();
        let gap = Gap { channel: &channel, asked: None, seen: None, lost_to: AT, with_id: true };
        let told = |look: &Look| {
            let mut out = Vec::new();
            look.gap(&mut out, &gap);
            String::from_utf8(out).unwrap()
        };
        assert!(told(&look).starts_with(": fantail-gap {"));
        let strict = Look::events("~text~", GapStyle::Comment, true);
        assert_eq!(rendered(&strict, &bare), b"data: a\n\n");
        assert_eq!(told(&strict), "");
        assert_eq!(told(&Look::plain("~text~", false)), "");
    }

    #[test]
    fn look_adds_what_stands_behind_messages() {
        let bare = message(Kind::Data, "abc");
        assert_eq!(rendered(&Look::plain("~text~", true).separated(b","), &bare), b"abc,");
        let filled = rendered(&Look::plain("~text~", true).filled(10, 100), &bare);
        assert_eq!((filled.len(), &filled[..7]), (103, &b"abc\r\n\r\n"[..]));
        let filled = rendered(&Look::events("~text~", GapStyle::Off, true).filled(20, 100), &bare);
        assert_eq!(filled, [b"id: e1\nevent: ty\ndata: abc\n\n".to_vec(), vec![b':'; 99], b"\n".to_vec()].concat());
    }

    #[test]
    fn look_of_one_channel_ends_with_it() {
        let channel = ChannelName::parse("ch").unwrap();
        let look = Look::plain("~text~", true);
        assert!(!look.closes(&channel, &message(Kind::End, "")));
        let look = look.alone();
        assert!(look.closes(&channel, &message(Kind::End, "")));
        assert!(!look.closes(&channel, &message(Kind::Data, "")));
    }
}
