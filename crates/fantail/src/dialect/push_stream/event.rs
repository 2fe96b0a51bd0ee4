//! What the events channel says about the others.

/// Something that happened to a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ChannelEvent {
    /// It came into being, by a publish or a subscriber.
    Created,
    /// It was collected: after a while without messages and subscribers, or once it was deleted.
    Destroyed,
    /// Somebody listens to it, or waits for it.
    Subscribed,
    /// Somebody no longer does.
    Unsubscribed,
}

impl ChannelEvent {
    /// The message's event type.
    pub fn name(self) -> &'static str {
        match self {
            Self::Created => "channel_created",
            Self::Destroyed => "channel_destroyed",
            Self::Subscribed => "client_subscribed",
            Self::Unsubscribed => "client_unsubscribed",
        }
    }

    /// The message's text. Strictly the channel's id stands in it as it is, whatever becomes of the JSON.
    pub fn text(self, channel: &str, strict: bool) -> String {
        format!(r#"{{"type": "{}", "channel": {}}}"#, self.name(), super::answer::quoted(channel, strict))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn event_says_what_happened_to_which_channel() {
        for (event, text) in [
            (ChannelEvent::Created, r#"{"type": "channel_created", "channel": "ID"}"#),
            (ChannelEvent::Destroyed, r#"{"type": "channel_destroyed", "channel": "ID"}"#),
            (ChannelEvent::Subscribed, r#"{"type": "client_subscribed", "channel": "ID"}"#),
            (ChannelEvent::Unsubscribed, r#"{"type": "client_unsubscribed", "channel": "ID"}"#),
        ] {
            assert_eq!((event.text("ID", true), event.text("ID", false)), (text.to_owned(), text.to_owned()));
            assert!(text.contains(&format!("\"{}\"", event.name())));
        }
    }

    #[test]
    fn event_escapes_the_channel_unless_strict() {
        assert_eq!(ChannelEvent::Created.text("\"q", true), r#"{"type": "channel_created", "channel": ""q"}"#);
        assert_eq!(ChannelEvent::Created.text("\"q", false), r#"{"type": "channel_created", "channel": "\"q"}"#);
    }
}
