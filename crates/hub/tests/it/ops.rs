//! What can happen to a hub, as values that proptest can make and shrink.

use std::time::Duration;

use fantail_hub::{Framing, HubLimits, Limits};
use proptest::prelude::*;

/// How many channels there are.
pub(crate) const CHANNELS: usize = 4;
/// How many subscribers there are.
pub(crate) const SUBSCRIBERS: usize = 5;

/// The hub of one case.
#[derive(Debug, Clone)]
pub(crate) struct Setting {
    pub(crate) limits: Limits,
    /// Of the last channel, by its prefix.
    pub(crate) strict: Limits,
    pub(crate) hub: HubLimits,
}

/// What a message says.
#[derive(Debug, Clone)]
pub(crate) enum Body {
    Empty,
    Small(u8),
    /// Few characters in many breaks of every kind.
    Breaks(u8),
    /// Between half and twice of what makes a message large.
    Large(u16),
    /// More than a batch holds.
    Huge,
}

/// Which id a publisher gives.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Own {
    None,
    /// One that nobody gave before.
    New,
    /// One of a few, so that it is given again.
    Again(u8),
}

/// Where a client wants to begin.
#[derive(Debug, Clone)]
pub(crate) enum How {
    /// Where it was: with the last id that it committed, if it has one.
    Again,
    /// The same with other channels than before.
    AgainOn(u8),
    Live,
    Last(u8),
    /// This many milliseconds ago.
    Since(u16),
    Oldest,
    /// With a place that was, so many messages ago.
    Past(u8),
    /// With a place that will be.
    Future(u8),
    /// With a place in some other epoch.
    Foreign(u8),
    /// With an id that was perhaps given more than once, and in more than one channel.
    Given(u8),
    /// With an id that nobody gave.
    Unknown(u8),
    /// With bytes that are no text.
    Garbage,
}

/// Who serves a subscriber.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Served {
    Shard,
    Alone,
}

/// What a new client is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Client {
    /// Bits of the channels; 0 is made 1.
    pub(crate) channels: u8,
    pub(crate) served: Served,
    pub(crate) framing: Framing,
    pub(crate) quiet: bool,
}

/// What a socket takes before it is full.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Room {
    Bytes(u16),
    All,
}

#[derive(Debug, Clone)]
pub(crate) enum Op {
    Publish {
        channel: usize,
        body: Body,
        own: Own,
        event: bool,
        ends: bool,
    },
    /// Several at once, to all channels in turn.
    Burst(u8),
    Keyed {
        channel: usize,
        key: u8,
        body: u8,
    },
    End {
        channel: usize,
        body: Body,
    },
    /// Milliseconds go by, and the hub is looked after.
    Pass(u16),
    /// Somebody new takes this place.
    Arrive {
        at: usize,
        client: Client,
        how: How,
    },
    Send {
        at: usize,
        room: Room,
    },
    /// Some of what was sent arrives.
    Deliver {
        at: usize,
        bytes: u16,
    },
    /// The connection breaks after so many more bytes have arrived.
    Cut {
        at: usize,
        bytes: u16,
    },
    Return {
        at: usize,
        how: How,
    },
    Restart,
    /// Everybody gets everything.
    Settle,
}

pub(crate) fn setting() -> impl Strategy<Value = Setting> {
    let limits = || {
        (
            prop_oneof![Just(1), Just(2), Just(4), Just(60), Just(1000)],
            prop_oneof![1 => Just(400), 1 => Just(3_000), 4 => Just(1 << 20)],
            prop_oneof![Just(1), Just(5), Just(3600)],
        )
            .prop_map(|(messages, bytes, age)| Limits {
                messages,
                bytes,
                age: Duration::from_secs(age),
                stored: true,
            })
    };
    let memory = prop_oneof![2 => Just(1_500), 2 => Just(12_000), 6 => Just(1 << 30)];
    let floors = prop_oneof![1 => Just(0), 1 => Just(1), 4 => Just(1000)];
    let idle = prop_oneof![Just(0), Just(2), Just(30)];
    (limits(), limits(), memory, floors, idle).prop_map(|(limits, strict, memory, floors, idle)| {
        let channel_idle = Duration::from_secs(idle);
        Setting { limits, strict, hub: HubLimits { memory, floors, channel_idle, ..HubLimits::default() } }
    })
}

pub(crate) fn ops() -> impl Strategy<Value = Vec<Op>> {
    prop::collection::vec(op(), 1..120)
}

fn op() -> impl Strategy<Value = Op> {
    let channel = 0..CHANNELS;
    let at = 0..SUBSCRIBERS;
    let bytes = prop_oneof![Just(0), 1..300_u16, any::<u16>()];
    prop_oneof![
        12 => (channel.clone(), body(), own(), any::<bool>(), prop::bool::weighted(0.1))
            .prop_map(|(channel, body, own, event, ends)| Op::Publish { channel, body, own, event, ends }),
        2 => (1..=255_u8).prop_map(Op::Burst),
        2 => (channel.clone(), 0..3_u8, 0..2_u8).prop_map(|(channel, key, body)| Op::Keyed { channel, key, body }),
        1 => (channel, body()).prop_map(|(channel, body)| Op::End { channel, body }),
        2 => prop_oneof![0..3_000_u16, 0..60_000_u16].prop_map(Op::Pass),
        5 => (at.clone(), client(), how()).prop_map(|(at, client, how)| Op::Arrive { at, client, how }),
        8 => (at.clone(), room()).prop_map(|(at, room)| Op::Send { at, room }),
        5 => (at.clone(), bytes.clone()).prop_map(|(at, bytes)| Op::Deliver { at, bytes }),
        4 => (at.clone(), bytes).prop_map(|(at, bytes)| Op::Cut { at, bytes }),
        6 => (at, how()).prop_map(|(at, how)| Op::Return { at, how }),
        1 => prop::bool::weighted(0.3).prop_map(|yes| if yes { Op::Restart } else { Op::Settle }),
    ]
}

fn body() -> impl Strategy<Value = Body> {
    prop_oneof![
        2 => Just(Body::Empty),
        10 => any::<u8>().prop_map(Body::Small),
        3 => any::<u8>().prop_map(Body::Breaks),
        2 => (2048..8192_u16).prop_map(Body::Large),
        1 => Just(Body::Huge),
    ]
}

fn own() -> impl Strategy<Value = Own> {
    prop_oneof![6 => Just(Own::None), 4 => Just(Own::New), 3 => (0..2_u8).prop_map(Own::Again)]
}

fn how() -> impl Strategy<Value = How> {
    prop_oneof![
        24 => Just(How::Again),
        2 => any::<u8>().prop_map(How::AgainOn),
        2 => Just(How::Live),
        2 => (0..6_u8).prop_map(How::Last),
        2 => (0..8_000_u16).prop_map(How::Since),
        3 => Just(How::Oldest),
        2 => any::<u8>().prop_map(How::Past),
        1 => any::<u8>().prop_map(How::Future),
        1 => any::<u8>().prop_map(How::Foreign),
        4 => (0..2_u8).prop_map(How::Given),
        1 => any::<u8>().prop_map(How::Unknown),
        1 => Just(How::Garbage),
    ]
}

fn client() -> impl Strategy<Value = Client> {
    let served = prop_oneof![3 => Just(Served::Shard), 1 => Just(Served::Alone)];
    let framing = prop_oneof![Just(Framing::Raw), Just(Framing::Chunked)];
    (any::<u8>(), served, framing, prop::bool::weighted(0.2)).prop_map(|(channels, served, framing, quiet)| Client {
        channels,
        served,
        framing,
        quiet,
    })
}

fn room() -> impl Strategy<Value = Room> {
    prop_oneof![1 => (0..400_u16).prop_map(Room::Bytes), 1 => any::<u16>().prop_map(Room::Bytes), 2 => Just(Room::All)]
}
