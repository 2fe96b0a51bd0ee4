//! What was published and what became of it, for the whole run: which messages were acknowledged, where each stands, and
//! what has happened that may lose some. 16 bytes a message, since a run has millions.

use std::collections::HashMap;

use serde::Serialize;

use super::place::Place;
use super::saying::{Garbled, Said, Sayings};
use super::violation::{Kind, Violations};

/// Places that are kept together.
const PAGE: u64 = 512;
/// Bits of a packed place that hold its offset; those above hold the epoch's number.
const OFFSET_BITS: u32 = 52;

/// What one publisher says to one channel.
#[derive(Debug)]
pub(super) struct Flow {
    pub(super) channel: u16,
    pub(super) publisher: u16,
    /// Where each message that was sent stands, as far as that is known; packed, 0 if not known.
    places: Vec<u64>,
    /// The messages up to this one were acknowledged.
    acknowledged: u32,
}

/// Something that may lose messages which were acknowledged before it.
#[derive(Debug)]
struct Damage {
    /// Nothing below this offset can have been hit.
    base: u64,
    /// The last message of each flow that had been acknowledged.
    acknowledged: Vec<u32>,
}

/// Sums for the report.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct Counts {
    pub(super) acknowledged: u64,
    /// Publishes that were sent again.
    pub(super) retries: u64,
    /// Publishes that were known already when they were sent again.
    pub(super) duplicates: u64,
    /// Publishes refused for want of space.
    pub(super) refused_full: u64,
    /// Publishes and subscriptions refused for now.
    pub(super) refused_busy: u64,
    pub(super) deliveries: u64,
    /// Connections of subscribers.
    pub(super) connections: u64,
    pub(super) gaps: u64,
    /// Messages that a subscriber missed and was told of, after something that may lose them.
    pub(super) lost_announced: u64,
    /// Messages that came again because the server no longer knew where the subscriber had been.
    pub(super) repeated_announced: u64,
    /// First messages of a subscriber of which it could not be said whether others should have come before.
    pub(super) unjudged: u64,
}

/// The books.
#[derive(Debug)]
pub(super) struct Books {
    pub(super) sayings: Sayings,
    pub(super) flows: Vec<Flow>,
    /// The flows of each channel.
    by_channel: Vec<Vec<u16>>,
    epochs: Vec<u64>,
    /// Whose each place is: pages by packed place.
    taken: HashMap<u64, Box<[Option<Said>; PAGE as usize]>>,
    /// Messages may be lost by age and number, at any time.
    pub(super) retention: bool,
    damages: Vec<Damage>,
    pub(super) counts: Counts,
    pub(super) violations: Violations,
}

impl Books {
    /// Empty books. Each pair is a flow: channel and publisher.
    pub(super) fn new(seed: u64, flows: &[(u16, u16)]) -> Self {
        let channels = flows.iter().map(|&(channel, _)| usize::from(channel) + 1).max().unwrap_or(0);
        let mut by_channel = vec![Vec::new(); channels];
        for (flow, &(channel, _)) in flows.iter().enumerate() {
            by_channel[usize::from(channel)].push(flow as u16);
        }
        let flow = |&(channel, publisher)| Flow { channel, publisher, places: Vec::new(), acknowledged: 0 };
        Self {
            sayings: Sayings::new(seed),
            flows: flows.iter().map(flow).collect(),
            by_channel,
            epochs: Vec::new(),
            taken: HashMap::new(),
            retention: false,
            damages: Vec::new(),
            counts: Counts::default(),
            violations: Violations::default(),
        }
    }

    pub(super) fn channels(&self) -> usize {
        self.by_channel.len()
    }

    pub(super) fn flows_of(&self, channel: u16) -> &[u16] {
        &self.by_channel[usize::from(channel)]
    }

    pub(super) fn flow(&self, said: Said) -> &Flow {
        &self.flows[usize::from(said.flow)]
    }

    /// The last message that was sent, from 1; 0 if none was.
    pub(super) fn sent(&self, flow: u16) -> u32 {
        self.flows[usize::from(flow)].places.len() as u32
    }

    /// The last message that was acknowledged.
    pub(super) fn acknowledged(&self, flow: u16) -> u32 {
        self.flows[usize::from(flow)].acknowledged
    }

    /// Takes the next message of a flow: it is about to be sent.
    pub(super) fn send(&mut self, flow: u16) -> Said {
        let places = &mut self.flows[usize::from(flow)].places;
        places.push(0);
        Said { flow, number: places.len() as u32 }
    }

    /// The server has said that it holds this message, and perhaps where.
    pub(super) fn acknowledge(&mut self, said: Said, place: Option<Place>) {
        let flow = &mut self.flows[usize::from(said.flow)];
        debug_assert_eq!(flow.acknowledged + 1, said.number, "a flow is acknowledged in order");
        flow.acknowledged = said.number;
        self.counts.acknowledged += 1;
        if let Some(place) = place {
            self.stands(said, place, || "the publisher was answered".into());
        }
    }

    /// Where a message stands, if anyone has learnt it.
    pub(super) fn place(&self, said: Said) -> Option<Place> {
        let packed = *self.flow(said).places.get(said.number.checked_sub(1)? as usize)?;
        let epoch = *self.epochs.get((packed >> OFFSET_BITS).checked_sub(1)? as usize)?;
        Some(Place { epoch, offset: packed & ((1 << OFFSET_BITS) - 1) })
    }

    /// Reads what a subscriber was given; what is not ours to the byte is a violation.
    pub(super) fn read(&mut self, data: &[u8], who: impl FnOnce() -> String) -> Option<Said> {
        let garbled = match self.sayings.read(data) {
            Ok(said) => {
                let known =
                    self.flows.get(usize::from(said.flow)).is_some_and(|f| said.number as usize <= f.places.len());
                if known {
                    return Some(said);
                }
                format!("{said}, which was never sent")
            }
            Err(Garbled::Changed(said)) => format!("{said} with other bytes ({} of them)", data.len()),
            Err(Garbled::Foreign) => {
                format!("no message of this run: {:?}", String::from_utf8_lossy(&data[..data.len().min(60)]))
            }
        };
        self.violations.add(Kind::Garbled, || format!("{} was given {garbled}", who()));
        None
    }

    /// Notes where a message stands; it may have one place only, and share it with none.
    pub(super) fn stands(&mut self, said: Said, place: Place, who: impl FnOnce() -> String) {
        let known = self.place(said);
        if known == Some(place) {
            return;
        }
        if let Some(known) = known {
            self.violations
                .add(Kind::PublishedTwice, || format!("{said} stands at {known} and at {place} ({})", who()));
            return;
        }
        let Some(packed) = self.pack(place) else { return };
        let page = self.taken.entry(packed / PAGE).or_insert_with(|| Box::new([None; PAGE as usize]));
        let holder = &mut page[(packed % PAGE) as usize];
        if let Some(holder) = *holder {
            self.violations
                .add(Kind::OffsetReused, || format!("{place} is that of {holder} and of {said} ({})", who()));
            return;
        }
        *holder = Some(said);
        self.flows[usize::from(said.flow)].places[said.number as usize - 1] = packed;
    }

    fn pack(&mut self, place: Place) -> Option<u64> {
        let epoch = self.epochs.iter().position(|&epoch| epoch == place.epoch).unwrap_or_else(|| {
            self.epochs.push(place.epoch);
            self.epochs.len() - 1
        }) as u64;
        let fits = place.offset >> OFFSET_BITS == 0 && epoch + 1 < 1 << (64 - OFFSET_BITS);
        fits.then(|| (epoch + 1) << OFFSET_BITS | place.offset)
    }

    /// Something was done to the last file: what was acknowledged until now and stands at or behind `base` may be lost.
    pub(super) fn damage(&mut self, base: u64) {
        let acknowledged = self.flows.iter().map(|flow| flow.acknowledged).collect();
        self.damages.push(Damage { base, acknowledged });
    }

    /// Anything has happened that may lose messages.
    pub(super) fn may_lose(&self) -> bool {
        self.retention || !self.damages.is_empty()
    }

    /// Something has happened that may have lost this message.
    pub(super) fn may_have_lost(&self, said: Said) -> bool {
        let place = self.place(said);
        let hit = |damage: &Damage| {
            said.number <= damage.acknowledged[usize::from(said.flow)]
                && place.is_none_or(|place| place.offset >= damage.base)
        };
        self.retention || self.damages.iter().any(hit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn who() -> String {
        "somebody".into()
    }

    fn at(offset: u64) -> Place {
        Place { epoch: 9, offset }
    }

    fn books(messages: u32) -> Books {
        let mut books = Books::new(1, &[(0, 0), (0, 1)]);
        for _ in 0..messages {
            let said = books.send(0);
            books.acknowledge(said, Some(at(u64::from(said.number) * 2)));
        }
        books
    }

    #[test]
    fn books_know_places_of_what_was_acknowledged() {
        let books = books(3);
        assert_eq!(books.place(Said { flow: 0, number: 2 }), Some(at(4)));
        assert_eq!(books.place(Said { flow: 0, number: 4 }), None);
        assert_eq!(books.place(Said { flow: 1, number: 1 }), None);
        assert_eq!((books.sent(0), books.acknowledged(0), books.violations.total()), (3, 3, 0));
    }

    #[test]
    fn books_message_at_two_places_was_published_twice() {
        let mut books = books(3);
        books.stands(Said { flow: 0, number: 2 }, at(4), who);
        assert_eq!(books.violations.total(), 0);
        books.stands(Said { flow: 0, number: 2 }, at(9), who);
        assert_eq!(books.violations.count(Kind::PublishedTwice), 1);
    }

    #[test]
    fn books_place_of_two_messages_was_reused() {
        let mut books = books(3);
        let said = books.send(1);
        books.stands(said, Place { epoch: 8, offset: 4 }, who);
        assert_eq!(books.violations.total(), 0, "another epoch is another order");
        let said = books.send(1);
        books.stands(said, at(4), who);
        assert_eq!(books.violations.count(Kind::OffsetReused), 1);
    }

    #[test]
    fn books_message_never_sent_or_changed_is_garbled() {
        let mut books = books(2);
        let mut text = Vec::new();
        books.sayings.text(Said { flow: 0, number: 2 }, &mut text);
        assert!(books.read(&text, who).is_some());
        text.push(b'x');
        assert!(books.read(&text, who).is_none());
        let mut text = Vec::new();
        books.sayings.text(Said { flow: 0, number: 3 }, &mut text);
        assert!(books.read(&text, who).is_none());
        assert_eq!(books.violations.count(Kind::Garbled), 2);
    }

    #[test]
    fn books_damage_excuses_only_what_it_can_have_hit() {
        let mut books = books(5);
        assert!(!books.may_lose());
        books.damage(7);
        let later = books.send(0);
        books.acknowledge(later, Some(at(20)));
        let excused = (1..=6).map(|number| books.may_have_lost(Said { flow: 0, number })).collect::<Vec<_>>();
        assert_eq!(excused, [false, false, false, true, true, false]);
    }
}
