//! `[push_stream]`: what holds for all routes that speak as nginx's push stream module does, and the parts of such routes.

pub(super) mod endpoint;

use super::{
    Span,
    error::{Problem, require},
    route::{LONGEST_NAME, is_channel},
    section::section,
};

const STRICT: bool = false;
const DELETED_TEXT: &str = "Channel deleted";
const PING_TEXT: &str = " ";
const INACTIVITY: Span = Span::secs(30);
const MESSAGE_TTL: Span = Span::secs(30 * 60);

section! {
    /// What holds for all routes with `action = "push_stream"`, which speak as nginx's push stream module does; the names are those of
    /// its directives.
    pub struct PushStream {
        /// Does as the module does, to the byte, also where that loses or garbles something; otherwise what its clients
        /// understand is done better.
        strict: bool = STRICT,
        /// What subscribers are told of a deleted channel, unless the request that deletes it has a text.
        channel_deleted_message_text: String = DELETED_TEXT.to_owned(),
        /// The text of pings on `streaming` routes; it goes through the route's `message_template`.
        ping_message_text: String = PING_TEXT.to_owned(),
        /// How long a channel without messages and subscribers is kept after it was last used.
        channel_inactivity_time: Span = INACTIVITY,
        /// How long a message is stored.
        message_ttl: Span = MESSAGE_TTL,
        /// Most subscribers of one channel; left out, no limit of its own.
        max_subscribers_per_channel: Option<usize> = None,
        /// Most messages that a channel stores; the oldest goes first. Left out, no limit of its own.
        max_messages_stored_per_channel: Option<usize> = None,
        /// The longest name of a channel, in bytes; longer ones are refused with 400. Never more than 255.
        max_channel_id_length: Option<usize> = None,
        /// Most channels, without the wildcard ones; left out, no limit of its own.
        max_number_of_channels: Option<usize> = None,
        /// Most wildcard channels; left out, no limit of its own.
        max_number_of_wildcard_channels: Option<usize> = None,
        /// What the names of wildcard channels begin with: they are counted apart, and need no authorisation. Left out, there are none.
        wildcard_channel_prefix: Option<String> = None,
        /// The channel in which is said what happens to all others; left out, there is none.
        events_channel_id: Option<String> = None,
    }
}

impl PushStream {
    pub(super) fn validate(&self) -> Result<(), Problem> {
        let key = |name: &str| format!("push_stream.{name}");
        require(!self.message_ttl.is_zero(), key("message_ttl"), "cannot be zero")?;
        for (name, count) in [
            ("max_subscribers_per_channel", self.max_subscribers_per_channel),
            ("max_messages_stored_per_channel", self.max_messages_stored_per_channel),
            ("max_channel_id_length", self.max_channel_id_length),
            ("max_number_of_channels", self.max_number_of_channels),
            ("max_number_of_wildcard_channels", self.max_number_of_wildcard_channels),
        ] {
            require(count != Some(0), key(name), "cannot be zero, leave it out for no limit")?;
        }
        if let Some(prefix) = &self.wildcard_channel_prefix {
            require(
                is_channel(prefix) || prefix == "ALL",
                key("wildcard_channel_prefix"),
                format!(
                    "no channel's name begins with {prefix:?}, expected 1 to {LONGEST_NAME} bytes without control characters, \
                     \"/\" or \"*\""
                ),
            )?;
        }
        require(
            self.max_number_of_wildcard_channels.is_none() || self.wildcard_channel_prefix.is_some(),
            key("max_number_of_wildcard_channels"),
            "has no meaning without wildcard_channel_prefix",
        )?;
        if let Some(id) = &self.events_channel_id {
            require(
                is_channel(id),
                key("events_channel_id"),
                format!(
                    "{id:?} is not a channel's name, expected 1 to {LONGEST_NAME} bytes without control characters, \"/\" or \
                     \"*\", and not \"ALL\""
                ),
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn loaded(options: &str) -> Result<PushStream, String> {
        let config = Config::from_toml(&format!("[push_stream]\n{options}\n"));
        config.map(|config| config.push_stream).map_err(|error| error.to_string())
    }

    #[test]
    fn push_stream_left_out_is_as_the_modules_defaults() {
        let plain = Config::default().push_stream;
        assert_eq!(
            (plain.channel_deleted_message_text.as_str(), plain.ping_message_text.as_str()),
            ("Channel deleted", " ")
        );
        assert_eq!((plain.channel_inactivity_time, plain.message_ttl), (Span::secs(30), Span::secs(1800)));
        assert_eq!(loaded("strict = false"), Ok(plain));
    }

    #[test]
    fn push_stream_that_is_sound_loads() {
        for options in [
            "channel_inactivity_time = '0'",
            "wildcard_channel_prefix = 'broad_'\nmax_number_of_wildcard_channels = 3",
            "events_channel_id = 'events'\nchannel_deleted_message_text = ''\nping_message_text = ''",
            "max_channel_id_length = 1000\nmax_number_of_channels = 1\nmax_subscribers_per_channel = 1",
        ] {
            assert!(loaded(options).is_ok(), "{options}: {:?}", loaded(options));
        }
    }

    #[test]
    fn push_stream_that_is_unsound_is_refused_with_its_line() {
        for (options, error) in [
            ("message_ttl = '0'", "message_ttl: cannot be zero"),
            (
                "max_subscribers_per_channel = 0",
                "max_subscribers_per_channel: cannot be zero, leave it out for no limit",
            ),
            (
                "max_messages_stored_per_channel = 0",
                "max_messages_stored_per_channel: cannot be zero, leave it out for no limit",
            ),
            ("max_channel_id_length = 0", "max_channel_id_length: cannot be zero, leave it out for no limit"),
            ("max_number_of_channels = 0", "max_number_of_channels: cannot be zero, leave it out for no limit"),
            (
                "max_number_of_wildcard_channels = 0",
                "max_number_of_wildcard_channels: cannot be zero, leave it out for no limit",
            ),
            (
                "max_number_of_wildcard_channels = 3",
                "max_number_of_wildcard_channels: has no meaning without wildcard_channel_prefix",
            ),
            (
                "wildcard_channel_prefix = ''",
                "wildcard_channel_prefix: no channel's name begins with \"\", expected 1 to 255 bytes without control \
                 characters, \"/\" or \"*\"",
            ),
            (
                "events_channel_id = 'ALL'",
                "events_channel_id: \"ALL\" is not a channel's name, expected 1 to 255 bytes without control characters, \
                 \"/\" or \"*\", and not \"ALL\"",
            ),
        ] {
            assert_eq!(loaded(options), Err(format!("fantail.toml:2: push_stream.{error}")));
        }
    }
}
