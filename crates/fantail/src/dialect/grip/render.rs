//! What the subscribers of a hold are sent: the raw content of items for streams, and for response holds records from which
//! the one answer is made.

use bytes::Bytes;
use fantail_hub::{ChannelName, Gap, Message, Position, Render};

use super::envelope::{self, Content, Label, Response};
use super::filter::Filter;
use super::viewer::Viewer;

/// Which items are for the subscribers of a hold.
#[derive(Default)]
struct Audience {
    /// One whose messages are its own; else all are alike.
    viewer: Option<Viewer>,
    /// Ids that the application's answer speaks for, in channels where they were not found: they may still be published.
    already: Vec<(ChannelName, String)>,
}

impl Audience {
    fn wants(&self, channel: &ChannelName, message: &Message, label: &Label) -> bool {
        let id = envelope::id(message, label);
        let already = self.already.iter().any(|(in_channel, known)| in_channel == channel && Some(&**known) == id);
        !already && self.viewer.as_ref().is_none_or(|viewer| viewer.wants(channel, label))
    }

    fn content(
        &self,
        channel: &ChannelName,
        position: Position,
        id: Option<&str>,
        content: Content,
        filters: Option<Vec<Filter>>,
    ) -> Vec<u8> {
        let Some(viewer) = &self.viewer else { return content.bytes() };
        let filters = filters.unwrap_or_else(|| viewer.content_filters(channel));
        viewer.fill(content.bytes(), &filters, channel, position.offset, id)
    }
}

/// Renders items for streams.
#[derive(Default)]
pub struct StreamHold(Audience);

impl StreamHold {
    /// For one subscriber, or for all that are alike; see [`Viewer::new`]. Items of `already` are left out.
    pub fn new(viewer: Option<Viewer>, already: Vec<(ChannelName, String)>) -> Self {
        Self(Audience { viewer, already })
    }
}

impl Render for StreamHold {
    fn message(&self, out: &mut Vec<u8>, channel: &ChannelName, position: Position, _: u64, message: &Message) {
        let Some(label) = envelope::label(message).filter(|label| self.0.wants(channel, message, label)) else {
            return;
        };
        let Some(stream) = envelope::formats(message).and_then(|formats| formats.stream) else { return };
        let id = envelope::id(message, &label);
        out.append(&mut self.0.content(channel, position, id, stream.content, stream.filters));
    }

    /// GRIP has no word for it: an application that has to know gives its items ids of its own.
    fn gap(&self, _: &mut Vec<u8>, _: &Gap<'_>) {}

    fn closes(&self, channel: &ChannelName, message: &Message) -> bool {
        envelope::may_close(message)
            && envelope::label(message).is_some_and(|label| self.0.wants(channel, message, &label))
    }
}

/// Renders items for response holds: each as a record, since several may be due at once and only the first is the answer.
#[derive(Default)]
pub struct ResponseHold(Audience);

impl ResponseHold {
    /// As [`StreamHold::new`].
    pub fn new(viewer: Option<Viewer>, already: Vec<(ChannelName, String)>) -> Self {
        Self(Audience { viewer, already })
    }
}

impl Render for ResponseHold {
    fn message(&self, out: &mut Vec<u8>, channel: &ChannelName, position: Position, _: u64, message: &Message) {
        let Some(label) = envelope::label(message).filter(|label| self.0.wants(channel, message, label)) else {
            return;
        };
        let Some(mut response) = envelope::formats(message).and_then(|formats| formats.response) else { return };
        let (body, filters) = (std::mem::take(&mut response.body), response.filters.take());
        let body = self.0.content(channel, position, envelope::id(message, &label), body, filters);
        // Only strings and numbers: there is nothing that serialising could refuse.
        let head = serde_json::to_vec(&response).unwrap_or_default();
        for part in [&head, &body] {
            out.extend_from_slice(&(part.len() as u64).to_be_bytes());
            out.extend_from_slice(part);
        }
    }

    fn gap(&self, _: &mut Vec<u8>, _: &Gap<'_>) {}
}

/// What a message says to those who wait for a response. What it leaves open is as in the application's answer.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub code: Option<u16>,
    /// The words behind the status, if they are not the usual ones.
    pub reason: Option<String>,
    /// Each replaces the application's field of its name.
    pub headers: Vec<(String, String)>,
    /// The body; `None` leaves the application's.
    pub body: Option<Bytes>,
}

/// The answer in what [`ResponseHold`] rendered; `None` if nothing was due.
pub fn first_response(due: &[u8]) -> Option<Answer> {
    let (head, rest) = record(due)?;
    let (body, _) = record(rest)?;
    let Response { code, reason, headers, close, .. } = serde_json::from_slice(head).ok()?;
    let body = (!close).then(|| Bytes::copy_from_slice(body));
    Some(Answer { code, reason, headers, body })
}

fn record(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<8>()?;
    rest.split_at_checked(usize::try_from(u64::from_be_bytes(*length)).ok()?)
}
