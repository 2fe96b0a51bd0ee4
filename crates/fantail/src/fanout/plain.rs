//! The barest way for messages to look, for the tests of this room: it knows no dialect.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fantail_hub::{ChannelName, Gap, Message, Position, Profile, Render};

use super::{AtStop, Style};

/// Each message's data on a line; gaps are not told, and the word "close" closes.
struct Plain;

impl Render for Plain {
    fn message(&self, out: &mut Vec<u8>, _: &ChannelName, _: Position, _: u64, message: &Message) {
        if message.kind().ends() {
            return;
        }
        out.extend_from_slice(message.data().as_bytes());
        out.push(b'\n');
    }

    fn gap(&self, _: &mut Vec<u8>, _: &Gap<'_>) {}

    fn closes(&self, _: &ChannelName, message: &Message) -> bool {
        message.data().ends_with("close")
    }
}

/// A style in which nothing happens by itself.
pub(super) fn style() -> Style {
    Style {
        profile: Arc::new(Profile::new(Plain)),
        ping: Duration::ZERO,
        gap_has_id: true,
        ping_text: Bytes::new(),
        footer: Bytes::new(),
        at_stop: AtStop::ComesBack,
        lifetime: None,
        stall_limit: Duration::ZERO,
        send_buffer: 65_536,
        unsent_low: 16_384,
    }
}
