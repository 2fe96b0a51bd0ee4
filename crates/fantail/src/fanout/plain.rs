//! The barest way for messages to look, for the tests of this room: it knows no dialect.

use fantail_hub::{ChannelName, Gap, Message, Position, Render};

/// Each message's data on a line; gaps are not told.
pub(super) struct Plain;

impl Render for Plain {
    fn message(&self, out: &mut Vec<u8>, _: &ChannelName, _: Position, message: &Message) {
        out.extend_from_slice(message.data().as_bytes());
        out.push(b'\n');
    }

    fn gap(&self, _: &mut Vec<u8>, _: &Gap<'_>) {}
}
