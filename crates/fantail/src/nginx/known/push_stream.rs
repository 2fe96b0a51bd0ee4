//! The directives of the push stream module, as its version 0.6 has them, and what became of those of earlier ones.

use super::Fate::{Left, Mapped, Other};
use super::Value::{Any, Count, Flag, Seconds, Size, SomeCount, SomeSeconds, SomeTime, Words};
use super::{HTTP, IF, Known, LOCATION, MSL, known};

const MEMORY: &str = "messages of all channels together may take hub.memory, which is a quarter of the machine's \
                      unless it is set, and the oldest go first";

pub(in crate::nginx) const MODES: &[&str] = &["streaming", "polling", "long-polling", "eventsource", "websocket"];
pub(in crate::nginx) const PUBLISHERS: &[&str] = &["normal", "admin"];

pub(super) const DIRECTIVES: &[Known] = &[
    known("push_stream_shared_memory_size", HTTP, (1, 2), Any, Other(MEMORY)),
    known("push_stream_channels_statistics", LOCATION, (0, 0), Any, Mapped),
    known("push_stream_publisher", LOCATION, (0, 1), Words(PUBLISHERS), Mapped),
    known("push_stream_subscriber", LOCATION, (0, 1), Words(MODES), Mapped),
    known("push_stream_channels_path", MSL | IF, (1, 1), Any, Mapped),
    known("push_stream_store_messages", MSL | IF, (1, 1), Flag, Mapped),
    known("push_stream_channel_info_on_publish", MSL, (1, 1), Flag, Mapped),
    known("push_stream_authorized_channels_only", MSL, (1, 1), Flag, Mapped),
    known("push_stream_header_template", MSL, (1, 1), Any, Mapped),
    known("push_stream_header_template_file", MSL, (1, 1), Any, Mapped),
    known("push_stream_message_template", MSL, (1, 1), Any, Mapped),
    known("push_stream_footer_template", MSL, (1, 1), Any, Mapped),
    known("push_stream_wildcard_channel_max_qtd", MSL, (1, 1), SomeCount, Mapped),
    known("push_stream_ping_message_interval", MSL, (1, 1), SomeTime, Mapped),
    known("push_stream_subscriber_connection_ttl", MSL, (1, 1), SomeTime, Mapped),
    known("push_stream_longpolling_connection_ttl", MSL, (1, 1), SomeTime, Mapped),
    known("push_stream_timeout_with_body", HTTP, (1, 1), Flag, Mapped),
    known("push_stream_websocket_allow_publish", MSL, (1, 1), Flag, Mapped),
    known("push_stream_allow_connections_to_events_channel", MSL | IF, (1, 1), Flag, Mapped),
    known("push_stream_last_received_message_time", MSL | IF, (1, 1), Any, Mapped),
    known("push_stream_last_received_message_tag", MSL | IF, (1, 1), Any, Mapped),
    known("push_stream_last_event_id", MSL | IF, (1, 1), Any, Mapped),
    known("push_stream_user_agent", MSL, (1, 1), Any, Mapped),
    known("push_stream_padding_by_user_agent", MSL, (1, 1), Any, Mapped),
    known("push_stream_allowed_origins", MSL, (1, 1), Any, Mapped),
    known("push_stream_channel_deleted_message_text", HTTP, (1, 1), Any, Mapped),
    known("push_stream_ping_message_text", HTTP, (1, 1), Any, Mapped),
    known("push_stream_channel_inactivity_time", HTTP, (1, 1), Seconds, Mapped),
    known("push_stream_message_ttl", HTTP, (1, 1), SomeSeconds, Mapped),
    known("push_stream_max_subscribers_per_channel", HTTP, (1, 1), SomeCount, Mapped),
    known("push_stream_max_messages_stored_per_channel", HTTP, (1, 1), SomeCount, Mapped),
    known("push_stream_max_channel_id_length", HTTP, (1, 1), SomeCount, Mapped),
    known("push_stream_max_number_of_channels", HTTP, (1, 1), SomeCount, Mapped),
    known("push_stream_max_number_of_wildcard_channels", HTTP, (1, 1), SomeCount, Mapped),
    known("push_stream_wildcard_channel_prefix", HTTP, (1, 1), Any, Mapped),
    known("push_stream_events_channel_id", HTTP, (1, 1), Any, Mapped),
    // Of versions before 0.4, which real files still carry.
    known(
        "push_stream_broadcast_channel_prefix",
        MSL,
        (1, 1),
        Any,
        Left("the module calls it push_stream_wildcard_channel_prefix since 0.4"),
    ),
    known(
        "push_stream_broadcast_channel_max_qtd",
        MSL,
        (1, 1),
        Count,
        Left("the module calls it push_stream_wildcard_channel_max_qtd since 0.4"),
    ),
    known("push_stream_max_reserved_memory", HTTP, (1, 1), Size, Other(MEMORY)),
    known("push_stream_memory_cleanup_timeout", MSL, (1, 1), Any, Other("memory is given back as it falls free")),
    known(
        "push_stream_subscriber_disconnect_interval",
        MSL,
        (1, 1),
        Any,
        Other("lifetimes are kept exactly, without an interval"),
    ),
    known(
        "push_stream_subscriber_connection_timeout",
        MSL,
        (1, 1),
        Any,
        Left("the module calls it push_stream_subscriber_connection_ttl since 0.3.3"),
    ),
    known(
        "push_stream_min_message_buffer_timeout",
        MSL,
        (1, 1),
        Any,
        Left("the module calls it push_stream_message_ttl since 0.3.3"),
    ),
    known(
        "push_stream_max_message_buffer_length",
        MSL,
        (1, 1),
        Count,
        Left("the module calls it push_stream_max_messages_stored_per_channel since 0.3.3"),
    ),
    known("push_stream_content_type", MSL, (1, 1), Any, Left("the module takes default_type in its place since 0.3.5")),
    known(
        "push_stream_keepalive",
        MSL,
        (1, 1),
        Flag,
        Other("publishers' connections are kept open whenever HTTP allows it"),
    ),
    known(
        "push_stream_eventsource_support",
        MSL,
        (1, 1),
        Flag,
        Left("the module has push_stream_subscriber eventsource in its place since 0.4"),
    ),
];
