//! `[hub]` and `[[retention]]`: how much is kept, and how many.

use super::{
    Memory, Size, Span,
    error::{Problem, require},
    section::section,
};

const MEMORY: Memory = Memory::Percent(25);
const MESSAGE: Size = Size::mib(1);
const CHANNELS: usize = 2_000_000;
const SUBSCRIPTIONS: usize = 2_000_000;
const CHANNEL_IDLE: Span = Span::secs(30);
const FLOORS: usize = 1_000_000;
const MESSAGES: usize = 1_000;
const AGE: Span = Span::secs(3_600);
const BYTES: Size = Size::mib(4);
const TAIL: Size = Size::mib(1);

section! {
    /// How much is kept, and how many.
    pub struct Hub {
        /// Most memory for messages of all channels together; over it, the oldest message of the channel with the most bytes
        /// goes first. Where the journal has it, nothing is lost by that.
        memory: Memory = MEMORY,
        /// Largest message; a larger one is refused with 413.
        message: Size = MESSAGE,
        /// Most channels that are in memory at a time.
        channels: usize = CHANNELS,
        /// Most subscriptions that exist at a time.
        subscriptions: usize = SUBSCRIPTIONS,
        /// How long a channel without subscribers, and without messages other than those on disk, stays in memory.
        channel_idle: Span = CHANNEL_IDLE,
        /// Collected channels of which it is remembered how far they came, so that resuming clients are told of gaps exactly.
        floors: usize = FLOORS,
        /// Messages kept per channel.
        messages: usize = MESSAGES,
        /// How long a message is kept.
        age: Span = AGE,
        /// Bytes of messages kept per channel.
        bytes: Size = BYTES,
        /// Most bytes of messages that a channel keeps in memory for its subscribers, where the journal keeps them all; whoever is
        /// further behind is served from there.
        tail: Size = TAIL,
    }
}

section! {
    /// What is kept of the channels whose names begin with a prefix; the longest prefix wins, and what it leaves out is
    /// taken from `[hub]`.
    pub struct Retention {
        /// The beginning of the channels' names, such as `user.`; required.
        prefix: String = String::new(),
        /// Messages kept per channel.
        messages: Option<usize> = None,
        /// How long a message is kept.
        age: Option<Span> = None,
        /// Bytes of messages kept per channel.
        bytes: Option<Size> = None,
        /// Whether the journal keeps them. `false` keeps such channels in memory alone, where what is worth nothing after a
        /// restart is to cost no disk: their history is bounded by `hub.memory` and gone with the process.
        store: bool = true,
    }
}

impl Hub {
    pub(super) fn validate(&self) -> Result<(), Problem> {
        for (key, count) in [
            ("hub.message", self.message.bytes()),
            ("hub.channels", self.channels),
            ("hub.subscriptions", self.subscriptions),
            ("hub.floors", self.floors),
        ] {
            require(count > 0, key, "must be more than 0")?;
        }
        if let Memory::Size(memory) = self.memory {
            require(
                memory >= self.message,
                "hub.memory",
                format!("{memory} is too small, expected room for one message (hub.message = {})", self.message),
            )?;
        }
        require(self.tail.bytes() > 0, "hub.tail", "must be more than 0")?;
        limits("hub", Some(self.messages), Some(self.age), Some(self.bytes))
    }
}

impl Retention {
    pub(super) fn validate_all(all: &[Self]) -> Result<(), Problem> {
        for (index, retention) in all.iter().enumerate() {
            let key = format!("retention[{index}]");
            require(
                !retention.prefix.is_empty(),
                format!("{key}.prefix"),
                "is required, the beginning of channel names; what holds for all channels stands in [hub]",
            )?;
            require(
                !all[..index].iter().any(|earlier| earlier.prefix == retention.prefix),
                format!("{key}.prefix"),
                format!("\"{}\" has been given before", retention.prefix),
            )?;
            limits(&key, retention.messages, retention.age, retention.bytes)?;
        }
        Ok(())
    }
}

/// The tail is what live delivery reads from, so that none of its limits can be nothing.
fn limits(section: &str, messages: Option<usize>, age: Option<Span>, bytes: Option<Size>) -> Result<(), Problem> {
    require(messages != Some(0), format!("{section}.messages"), "must be at least 1")?;
    require(age != Some(Span::ZERO), format!("{section}.age"), "must be longer than 0")?;
    require(bytes != Some(Size::new(0)), format!("{section}.bytes"), "must be more than 0")
}
