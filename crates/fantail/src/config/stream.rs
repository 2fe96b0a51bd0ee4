//! `[stream]`: how an event stream behaves on the wire.

use super::{
    OPEN, Size, Span,
    error::{Problem, require},
    section::{choice, section},
};

const PING: Span = Span::secs(15);
const RETRY: Span = Span::secs(3);
const RETRY_JITTER: Span = Span::secs(2);
const LIFETIME: Span = Span::ZERO;
const LIFETIME_JITTER: Span = Span::ZERO;
const STALL_LIMIT: Span = Span::secs(60);
const USER_TIMEOUT: Span = Span::secs(60);
const SEND_BUFFER: Size = Size::kib(64);
const UNSENT_LOW: Size = Size::kib(16);
const START_ID: bool = true;
const GAP: Gap = Gap::Event;
const MAX_CHANNELS: usize = 64;
const SOFT_REFUSAL: SoftRefusal = SoftRefusal::Temporary;

/// The kernel makes no smaller send buffer than about this.
const SMALLEST_SEND_BUFFER: Size = Size::kib(4);

choice! {
    /// How a subscriber is told that messages it had not seen are no longer kept.
    pub enum Gap {
        /// By an event named `fantail-gap`.
        Event = "event",
        /// By a comment, which `EventSource` does not show.
        Comment = "comment",
        /// Not at all; it is counted all the same.
        Off = "off",
    }
}

choice! {
    /// Which refusals an `EventSource` is told by a stream that ends at once, so that it comes back; any other answer silences it
    /// for good.
    pub enum SoftRefusal {
        /// None: it gets the status that others get.
        Off = "off",
        /// Those that will pass (429, 503).
        Temporary = "temporary",
        /// Those for want of a right too (401, 403): it asks again for ever, until it has one.
        All = "all",
    }
}

section! {
    /// How an event stream behaves on the wire.
    pub struct Stream {
        /// A comment is sent on a connection that was silent for this long. Below 30s is advised: many proxies close what
        /// is silent for 60s.
        ping: Span = PING,
        /// How long a browser waits before it reconnects, sent as `retry:` at the start of a stream.
        retry: Span = RETRY,
        /// A random part of this is added to `retry`, so that clients which were cut off together come back apart.
        retry_jitter: Span = RETRY_JITTER,
        /// A stream is ended after this time, so that clients spread over servers again; 0 means never.
        lifetime: Span = LIFETIME,
        /// A random part of this is added to `lifetime`.
        lifetime_jitter: Span = LIFETIME_JITTER,
        /// A subscriber whose socket took nothing for this long is dropped.
        stall_limit: Span = STALL_LIMIT,
        /// How long sent bytes may stay unacknowledged before the kernel gives the connection up (`TCP_USER_TIMEOUT`).
        user_timeout: Span = USER_TIMEOUT,
        /// The kernel's send buffer of a stream's socket (`SO_SNDBUF`), at least 4KiB: the most that a slow reader ties up.
        send_buffer: Size = SEND_BUFFER,
        /// A socket takes more only while fewer bytes than this are unsent in the kernel (`TCP_NOTSENT_LOWAT`).
        unsent_low: Size = UNSENT_LOW,
        /// Whether a stream starts with an `id:` of its own, so that a client cut off before its first event resumes too.
        start_id: bool = START_ID,
        /// How a subscriber is told that messages it had not seen are no longer kept.
        gap: Gap = GAP,
        /// Most channels that one subscription may name.
        max_channels: usize = MAX_CHANNELS,
        /// Who may subscribe on the public listener, by native routes and by routes that say nothing else: `open` for everyone, or
        /// the name of an `[access.NAME]`.
        access: String = OPEN.to_owned(),
        /// Which refusals an `EventSource` (a GET with `Accept: text/event-stream`) is told by a stream that ends at once, so that
        /// it comes back; any other answer silences it for good.
        soft_refusal: SoftRefusal = SOFT_REFUSAL,
    }
}

impl Stream {
    pub(super) fn validate(&self) -> Result<(), Problem> {
        for (key, span) in [
            ("stream.ping", self.ping),
            ("stream.stall_limit", self.stall_limit),
            ("stream.user_timeout", self.user_timeout),
        ] {
            require(!span.is_zero(), key, "must be longer than 0")?;
        }
        require(
            self.send_buffer >= SMALLEST_SEND_BUFFER,
            "stream.send_buffer",
            format!("{} is too small, expected at least {SMALLEST_SEND_BUFFER}", self.send_buffer),
        )?;
        require(self.unsent_low.bytes() > 0, "stream.unsent_low", "must be more than 0")?;
        require(self.max_channels > 0, "stream.max_channels", "must be at least 1")
    }
}
