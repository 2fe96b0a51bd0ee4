//! Fantail's own dialect: plain Server-Sent Events with an id on every message, and events of its own for gaps and ends.

use fantail_hub::{ChannelName, Gap, Kind, Message, Position, Render};
use fantail_sse::encode;
use serde::Serialize;

/// The event that tells of lost messages.
pub const GAP_EVENT: &str = "fantail-gap";
/// The event that is a channel's last.
pub const END_EVENT: &str = "fantail-end";
/// A ping: one comment line with a single LF. A blank line behind it would be an empty event to several clients.
pub const PING: &[u8] = b": ping\n";

/// How gaps are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GapStyle {
    /// As an event with an id, so that it is told once.
    Event,
    /// As a comment, which clients do not see but people do.
    Comment,
    /// Not at all.
    Off,
}

/// Renders messages for `EventSource`.
#[derive(Debug, Clone, Copy)]
pub struct Native {
    /// How gaps are told.
    pub gap: GapStyle,
}

/// The data of a gap event.
#[derive(Serialize)]
struct GapData<'a> {
    channel: &'a str,
    /// What the subscriber asked to go on from: an id, or null where it is not known.
    asked: Option<String>,
    /// What follows comes after this position.
    next: String,
}

impl Render for Native {
    fn message(&self, out: &mut Vec<u8>, _: &ChannelName, position: Position, _: u64, message: &Message) {
        match message.id() {
            Some(id) => encode::id(out, id),
            None => write_id(out, position),
        }
        match message.kind() {
            Kind::Data => {
                if let Some(event) = message.event() {
                    encode::event(out, event);
                }
            }
            Kind::End | Kind::Broken => encode::event(out, END_EVENT),
        }
        encode::data(out, message.data().as_bytes());
        encode::end(out);
    }

    fn gap(&self, out: &mut Vec<u8>, gap: &Gap<'_>) {
        let asked = gap.asked.map(str::to_owned).or_else(|| gap.seen.map(|seen| seen.to_string()));
        let data = GapData { channel: gap.channel.as_str(), asked, next: gap.lost_to.to_string() };
        // Only strings: there is nothing that serialising could refuse.
        let data = serde_json::to_string(&data).unwrap_or_default();
        match self.gap {
            GapStyle::Off => {}
            GapStyle::Comment => encode::comment(out, &format!("{GAP_EVENT} {data}")),
            GapStyle::Event => {
                if gap.with_id {
                    write_id(out, gap.lost_to);
                }
                encode::event(out, GAP_EVENT);
                encode::data(out, data.as_bytes());
                encode::end(out);
            }
        }
    }
}

/// What a stream begins with: how long to wait before coming back, and the id at which it starts. A browser takes both
/// without firing an event.
pub fn prologue(retry_ms: u64, start: Option<Position>) -> Vec<u8> {
    let mut out = Vec::with_capacity(64);
    encode::retry(&mut out, retry_ms);
    if let Some(position) = start {
        out.append(&mut self::start(position));
    }
    out
}

/// The id at which a stream or an answer starts.
pub fn start(position: Position) -> Vec<u8> {
    let mut out = Vec::with_capacity(48);
    write_id(&mut out, position);
    encode::end(&mut out);
    out
}

fn write_id(out: &mut Vec<u8>, position: Position) {
    use std::io::Write as _;
    // Writing to a Vec cannot fail.
    let _ = writeln!(out, "id: {position}");
}

#[cfg(test)]
mod tests {
    use fantail_hub::{Epoch, Millis, NewMessage, Offset};
    use fantail_sse::{EventId, EventName};

    use super::*;

    const AT: Position = Position { epoch: Epoch::new(0xab), offset: Offset(7) };

    fn rendered(kind: Kind, said: NewMessage<'_>) -> String {
        let mut out = Vec::new();
        let channel = ChannelName::parse("a").unwrap();
        Native { gap: GapStyle::Event }.message(&mut out, &channel, AT, 1, &Message::new(Millis(0), kind, said));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn message_without_an_id_gets_its_position() {
        let said = NewMessage { data: "a\n\nb", event: None, id: None };
        assert_eq!(rendered(Kind::Data, said), "id: ~1.ab.7\ndata: a\ndata: \ndata: b\n\n");
    }

    #[test]
    fn message_with_id_and_event_shows_them_as_given() {
        let (event, id) = (EventName::parse("tick").unwrap(), EventId::parse("order 7").unwrap());
        let said = NewMessage { data: "", event: Some(&event), id: Some(&id) };
        assert_eq!(rendered(Kind::Data, said), "id: order 7\nevent: tick\ndata: \n\n");
    }

    #[test]
    fn end_is_an_event_with_the_last_word() {
        let said = NewMessage { data: "bye", event: None, id: None };
        assert_eq!(rendered(Kind::End, said), "id: ~1.ab.7\nevent: fantail-end\ndata: bye\n\n");
    }

    #[test]
    fn gap_is_told_in_each_style() {
        let channel = ChannelName::parse("a\"b").unwrap();
        let gap = Gap { channel: &channel, asked: Some("x"), seen: None, lost_to: AT, with_id: true };
        let json = r#"{"channel":"a\"b","asked":"x","next":"~1.ab.7"}"#;
        for (style, expected) in [
            (GapStyle::Event, format!("id: ~1.ab.7\nevent: fantail-gap\ndata: {json}\n\n")),
            (GapStyle::Comment, format!(": fantail-gap {json}\n")),
            (GapStyle::Off, String::new()),
        ] {
            let mut out = Vec::new();
            Native { gap: style }.gap(&mut out, &gap);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }

    #[test]
    fn gap_before_another_at_the_same_place_has_no_id_yet() {
        let channel = ChannelName::parse("a").unwrap();
        let gap = Gap { channel: &channel, asked: None, seen: Some(AT), lost_to: AT, with_id: false };
        let mut out = Vec::new();
        Native { gap: GapStyle::Event }.gap(&mut out, &gap);
        let expected = "event: fantail-gap\ndata: {\"channel\":\"a\",\"asked\":\"~1.ab.7\",\"next\":\"~1.ab.7\"}\n\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn prologue_without_a_start_id_ends_without_a_blank_line() {
        assert_eq!(prologue(3000, Some(AT)), b"retry: 3000\nid: ~1.ab.7\n\n");
        assert_eq!(prologue(3000, None), b"retry: 3000\n");
    }
}
