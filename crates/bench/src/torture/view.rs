//! What one subscriber was given, held against the books: the verdict on order, repeats and loss. Knows nothing of sockets;
//! small, since there is one for each subscriber (eight bytes a flow that it listens to, and what was out of the ordinary).

use std::collections::VecDeque;
use std::fmt;
use std::ops::Range;

use super::books::Books;
use super::place::Place;
use super::saying::Said;
use super::violation::Kind;

/// What is remembered to be told beside a violation.
const RECENT: usize = 8;

/// From where on a subscriber is entitled to messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// Not known before the stream has said where it starts.
    Live,
    /// From the first that was ever published.
    First,
    /// Behind the place at which its stream started.
    After(Place),
    /// At the latest from these numbers on, for each flow in the order of the view's seats.
    By(Vec<u32>),
}

/// A flow, as this subscriber has seen it.
#[derive(Clone, Copy, Debug)]
struct Seat {
    flow: u16,
    /// The next that is due; 0 before the first.
    next: u32,
    /// The server no longer knew where the subscriber was, and began again with the oldest that it keeps.
    rewound: bool,
}

/// A gap that was told: what lies between is announced as lost.
#[derive(Clone, Copy, Debug)]
struct Cover {
    channel: u16,
    /// Everything up to here had been given; `None` if that cannot be said.
    from: Option<Place>,
    to: Place,
}

impl Cover {
    fn covers(&self, place: Place) -> bool {
        match self.from {
            Some(from) if from.epoch == self.to.epoch => place.is_upto(self.to) && !place.is_upto(from),
            _ => place.epoch != self.to.epoch || place.is_upto(self.to),
        }
    }
}

/// Something that a subscriber met.
#[derive(Clone, Debug)]
enum Met {
    Connected(String),
    Started(Option<Place>),
    Message(Said, Option<Place>),
    Gap(u16, Option<String>, Place),
}

impl fmt::Display for Met {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connected(asked) => write!(f, "asked for {asked}"),
            Self::Started(Some(place)) => write!(f, "started at {place}"),
            Self::Started(None) => f.write_str("started without an id"),
            Self::Message(said, Some(place)) => write!(f, "{said} at {place}"),
            Self::Message(said, None) => write!(f, "{said}"),
            Self::Gap(channel, asked, next) => write!(f, "gap in channel {channel} (asked {asked:?}, next {next})"),
        }
    }
}

/// One subscriber's view.
#[derive(Debug)]
pub(super) struct View {
    name: String,
    start: Start,
    seats: Vec<Seat>,
    /// The last place in the stream's order, over all channels.
    reached: Option<Place>,
    /// The same of each channel: up to there it is said what became of its messages.
    settled: Vec<(u16, Option<Place>)>,
    covers: Vec<Cover>,
    /// Numbers that were passed over, to tell a late message from a repeated one.
    skipped: Vec<(u16, Range<u32>)>,
    /// The numbers before the first ones that came, of which it is not known yet whether they stand behind the start.
    unjudged: Vec<(Said, Place)>,
    /// On this connection the server has begun again.
    rewound: bool,
    recent: VecDeque<Met>,
}

impl View {
    pub(super) fn new(name: String, channels: &[u16], start: Start, books: &Books) -> Self {
        let mut flows: Vec<u16> = channels.iter().flat_map(|&channel| books.flows_of(channel)).copied().collect();
        flows.sort_unstable();
        Self {
            name,
            start,
            seats: flows.into_iter().map(|flow| Seat { flow, next: 0, rewound: false }).collect(),
            reached: None,
            settled: channels.iter().map(|&channel| (channel, None)).collect(),
            covers: Vec::new(),
            skipped: Vec::new(),
            unjudged: Vec::new(),
            rewound: false,
            recent: VecDeque::new(),
        }
    }

    /// A view that is entitled, at the latest, to what is sent from now on.
    pub(super) fn by_now(name: String, channels: &[u16], sent: impl Fn(u16) -> u32, books: &Books) -> Self {
        let mut view = Self::new(name, channels, Start::Live, books);
        view.start = Start::By(view.seats.iter().map(|seat| sent(seat.flow) + 1).collect());
        view
    }

    /// It asks for a stream.
    pub(super) fn connected(&mut self, asked: &str) {
        self.rewound = false;
        self.met(Met::Connected(asked.to_owned()));
    }

    /// The stream has said where it starts.
    pub(super) fn started(&mut self, id: Option<Place>) {
        self.met(Met::Started(id));
        if let (Some(place), Start::Live) = (id, &self.start) {
            self.start = Start::After(place);
        }
        self.reached = self.reached.or(id);
        self.settled.iter_mut().for_each(|(_, place)| *place = place.or(id));
    }

    /// It was told that messages are lost. Of gaps that stand at one place the last alone has an id: then nothing that lies
    /// before it is still to come.
    pub(super) fn gap(&mut self, channel: u16, asked: Option<&str>, next: Place, has_id: bool, books: &mut Books) {
        self.met(Met::Gap(channel, asked.map(str::to_owned), next));
        books.counts.gaps += 1;
        if !books.may_lose() {
            books
                .violations
                .add(Kind::GapWithoutCause, || self.tell("was told of a gap, but nothing can have been lost"));
        }
        // A place of this epoch is never forgotten; a publisher's own id is, once its message is gone.
        let forgotten = asked.and_then(Place::parse).is_none_or(|place| place.epoch != next.epoch);
        if forgotten && !self.rewound {
            self.rewound = true;
            self.reached = None;
            self.seats.iter_mut().for_each(|seat| seat.rewound = true);
            self.settled.iter_mut().for_each(|(_, place)| *place = None);
        }
        let from = self.settle(channel, next);
        self.covers.push(Cover { channel, from, to: next });
        if has_id && !self.reached.is_some_and(|reached| next.is_upto(reached)) {
            self.reached = Some(next);
        }
    }

    /// It was given a message, with the id that came with it.
    pub(super) fn message(&mut self, said: Said, id: Option<&str>, books: &mut Books) {
        books.counts.deliveries += 1;
        let told = id.and_then(Place::parse);
        if let Some(place) = told {
            books.stands(said, place, || self.tell("was given it"));
        }
        let own = books.sayings.own_id(said);
        if told.is_none() && id != own.as_deref() || told.is_some() && own.is_some() {
            books.violations.add(Kind::Garbled, || self.tell(&format!("was given {said} with the id {id:?}")));
        }
        let place = told.or_else(|| books.place(said));
        self.met(Met::Message(said, place));
        let Ok(index) = self.seats.binary_search_by_key(&said.flow, |seat| seat.flow) else {
            books.violations.add(Kind::Misdirected, || self.tell(&format!("was given {said} of a foreign channel")));
            return;
        };
        let Seat { next, rewound, .. } = self.seats[index];
        if next == 0 {
            self.first(index, said, books);
        } else if said.number > next {
            self.passed_over(said.flow, next..said.number, books);
        } else if said.number < next && rewound {
            books.counts.repeated_announced += 1;
        } else if said.number < next {
            let late = self.skipped.iter().any(|(flow, range)| *flow == said.flow && range.contains(&said.number));
            let (kind, what) = if late { (Kind::OutOfOrder, "late") } else { (Kind::Repeated, "again") };
            books.violations.add(kind, || self.tell(&format!("was given {said} {what}, {next} was due")));
            return;
        }
        self.seats[index] = Seat { flow: said.flow, next: said.number + 1, rewound: false };
        let Some(place) = place else { return };
        self.settle(books.flow(said).channel, place);
        if let Some(reached) = self.reached.filter(|reached| place.is_upto(*reached)) {
            books
                .violations
                .add(Kind::OutOfOrder, || self.tell(&format!("was given {said} at {place} behind {reached}")));
        }
        self.reached = Some(place);
    }

    /// Whether everything that was acknowledged has come.
    pub(super) fn has_caught_up(&self, books: &Books) -> bool {
        self.seats.iter().enumerate().all(|(index, seat)| {
            let last = books.acknowledged(seat.flow);
            let due = Said { flow: seat.flow, number: last };
            match &self.start {
                _ if last == 0 => true,
                _ if seat.next > 0 => seat.next > last && !seat.rewound,
                Start::Live | Start::First => false,
                Start::After(start) => books.place(due).is_some_and(|place| place.is_upto(*start)),
                Start::By(latest) => last < latest[index],
            }
        })
    }

    /// The run is over: what has not come will not come.
    pub(super) fn finish(mut self, books: &mut Books) {
        for index in 0..self.seats.len() {
            let Seat { flow, next, .. } = self.seats[index];
            let last = books.acknowledged(flow);
            if next > 0 {
                self.passed_over(flow, next..last + 1, books);
            } else if last > 0 {
                self.first(index, Said { flow, number: last + 1 }, books);
            }
        }
        for (said, start) in std::mem::take(&mut self.unjudged) {
            match books.place(said) {
                Some(place) if place.is_upto(start) => {}
                Some(_) => self.passed_over(said.flow, said.number..said.number + 1, books),
                None => books.counts.unjudged += 1,
            }
        }
    }

    /// It is said what became of a channel's messages up to here; up to where it was before.
    fn settle(&mut self, channel: u16, upto: Place) -> Option<Place> {
        let (_, settled) = self.settled.iter_mut().find(|(of, _)| *of == channel)?;
        settled.replace(upto)
    }

    /// The first message of a flow has come: judges what should have come before it.
    fn first(&mut self, index: usize, said: Said, books: &mut Books) {
        // Whoever begins with the first message that is kept is not told of those before it.
        let kept = |from: u32| {
            let lost = |number: &u32| books.may_have_lost(Said { flow: said.flow, number: *number });
            from + (from..said.number).take_while(lost).count() as u32
        };
        let from = match &self.start {
            Start::Live => said.number,
            Start::First => kept(1),
            Start::By(latest) => kept(latest[index].min(said.number)),
            Start::After(start) => {
                let start = *start;
                let mut from = said.number;
                while from > 1 {
                    let before = Said { flow: said.flow, number: from - 1 };
                    match books.place(before) {
                        Some(place) if place.is_upto(start) => break,
                        Some(_) => from -= 1,
                        None => {
                            self.unjudged.push((before, start));
                            break;
                        }
                    }
                }
                from
            }
        };
        self.passed_over(said.flow, from..said.number, books);
    }

    /// These have not come before one that follows them.
    fn passed_over(&mut self, flow: u16, range: Range<u32>, books: &mut Books) {
        if range.is_empty() {
            return;
        }
        let channel = books.flows[usize::from(flow)].channel;
        let (mut lost, mut without_cause) = (Vec::new(), Vec::new());
        for number in range.clone() {
            let said = Said { flow, number };
            let place = books.place(said);
            let mut covers = self.covers.iter().filter(|cover| cover.channel == channel);
            let announced = covers.any(|cover| place.is_none_or(|place| cover.covers(place)));
            match (announced, books.may_have_lost(said)) {
                (false, _) => lost.push((said, place)),
                (true, false) => without_cause.push((said, place)),
                (true, true) => books.counts.lost_announced += 1,
            }
        }
        let missing = |list: &[(Said, Option<Place>)]| {
            let (said, place) = list[0];
            let place = place.map_or_else(|| "an unknown place".to_owned(), |place| place.to_string());
            format!("{said} at {place} (and {} that follow it)", list.len() - 1)
        };
        if !lost.is_empty() {
            let detail = || self.tell(&format!("was never given {}", missing(&lost)));
            books.violations.add_many(Kind::Lost, lost.len() as u64, detail);
        }
        if !without_cause.is_empty() {
            let what = || format!("was told that {} is lost, and nothing can have lost it", missing(&without_cause));
            books.violations.add_many(Kind::LostWithoutCause, without_cause.len() as u64, || self.tell(&what()));
        }
        self.skipped.push((flow, range));
    }

    fn met(&mut self, met: Met) {
        if matches!((&met, self.recent.back()), (Met::Connected(_), Some(Met::Connected(_)))) {
            self.recent.pop_back();
        }
        if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(met);
    }

    /// A sentence about this subscriber, with what it met last.
    pub(super) fn tell(&self, what: &str) -> String {
        let recent: Vec<String> = self.recent.iter().map(ToString::to_string).collect();
        format!("{} {what}; last: {}", self.name, recent.join(", "))
    }
}

#[cfg(test)]
mod tests;
