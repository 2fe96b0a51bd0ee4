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
mod tests {
    use super::*;

    const OWN: &str = "an own id that is forgotten";

    fn at(offset: u64) -> Place {
        Place { epoch: 5, offset }
    }

    fn say(flow: u16, number: u32) -> Said {
        Said { flow, number }
    }

    /// Two channels with a publisher each, `messages` by turns: flow 1 has the odd places, flow 2 the even ones. (Flow 0,
    /// of the first channel too, says nothing: its messages would have ids of their own.)
    fn books(messages: u32) -> Books {
        let mut books = Books::new(1, &[(0, 0), (0, 1), (1, 2)]);
        for _ in 1..=messages {
            for flow in [1, 2] {
                let said = books.send(flow);
                books.acknowledge(said, Some(place(said)));
            }
        }
        books
    }

    fn place(said: Said) -> Place {
        at(u64::from(said.number) * 2 + u64::from(said.flow) - 2)
    }

    fn give(view: &mut View, books: &mut Books, flow: u16, numbers: impl IntoIterator<Item = u32>) {
        for number in numbers {
            let said = say(flow, number);
            view.message(said, Some(&place(said).to_string()), books);
        }
    }

    fn found(books: &Books) -> Vec<(Kind, u64)> {
        books.violations.counts().iter().map(|(kind, count)| (*kind, *count)).collect()
    }

    fn view(start: Start, books: &Books) -> View {
        View::new("s".into(), &[0], start, books)
    }

    #[test]
    fn view_of_all_messages_in_order_is_clean() {
        let mut books = books(6);
        let mut first = View::new("s".into(), &[0, 1], Start::First, &books);
        for number in 1..=6 {
            assert!(!first.has_caught_up(&books));
            give(&mut first, &mut books, 1, [number]);
            give(&mut first, &mut books, 2, [number]);
        }
        assert!(first.has_caught_up(&books));
        first.finish(&mut books);
        let mut live = view(Start::Live, &books);
        live.started(Some(at(4)));
        give(&mut live, &mut books, 1, 3..=6);
        live.finish(&mut books);
        let mut since = View::by_now("s".into(), &[0], |_| 3, &books);
        give(&mut since, &mut books, 1, 3..=6);
        since.finish(&mut books);
        assert_eq!(found(&books), []);
        assert_eq!(books.counts.deliveries, 20);
    }

    #[test]
    fn view_message_left_out_is_lost() {
        for left_out in 1..=6 {
            let mut books = books(6);
            let mut view = view(Start::First, &books);
            give(&mut view, &mut books, 1, (1..=6).filter(|&number| number != left_out));
            view.finish(&mut books);
            assert_eq!(found(&books), [(Kind::Lost, 1)], "{left_out}");
        }
    }

    #[test]
    fn view_first_message_behind_the_start_is_due() {
        for (start, lost) in [(at(1), 2), (at(4), 1), (at(5), 0)] {
            let mut books = books(6);
            let mut view = view(Start::Live, &books);
            view.started(Some(start));
            give(&mut view, &mut books, 1, 4..=6);
            view.finish(&mut books);
            assert_eq!(books.violations.count(Kind::Lost), lost, "{start}");
            assert_eq!(books.violations.total(), lost);
        }
        let mut books = books(6);
        let mut late = View::by_now("s".into(), &[0], |_| 3, &books);
        give(&mut late, &mut books, 1, 5..=6);
        late.finish(&mut books);
        assert_eq!(found(&books), [(Kind::Lost, 1)], "the fourth was sent after it asked");
    }

    #[test]
    fn view_live_that_got_nothing_has_lost_all_behind_its_start() {
        let mut books = books(6);
        let mut view = view(Start::Live, &books);
        view.started(Some(at(8)));
        assert!(!view.has_caught_up(&books));
        view.finish(&mut books);
        assert_eq!(found(&books), [(Kind::Lost, 2)]);
    }

    #[test]
    fn view_message_before_the_start_is_out_of_order() {
        let mut books = books(3);
        let mut view = view(Start::Live, &books);
        view.started(Some(at(3)));
        give(&mut view, &mut books, 1, 2..=3);
        assert_eq!(found(&books), [(Kind::OutOfOrder, 1)]);
    }

    #[test]
    fn view_first_message_whose_forerunner_is_placed_later_is_judged_at_the_end() {
        for (stands, lost) in [(at(9), 1), (at(3), 0)] {
            let mut books = Books::new(1, &[(0, 0), (0, 1)]);
            let (early, late) = (books.send(1), books.send(1));
            let mut view = view(Start::Live, &books);
            view.started(Some(at(5)));
            view.message(late, Some(&at(10).to_string()), &mut books);
            books.acknowledge(early, Some(stands));
            books.acknowledge(late, None);
            view.finish(&mut books);
            assert_eq!(books.violations.count(Kind::Lost), lost);
        }
    }

    #[test]
    fn view_message_given_again_is_repeated() {
        let mut books = books(6);
        let mut view = view(Start::First, &books);
        give(&mut view, &mut books, 1, [1, 2, 3, 3, 4, 2, 5, 6]);
        view.finish(&mut books);
        assert_eq!(found(&books), [(Kind::Repeated, 2)]);
    }

    #[test]
    fn view_message_given_late_is_out_of_order() {
        let mut books = books(4);
        let mut view = view(Start::First, &books);
        give(&mut view, &mut books, 1, [1, 3, 2, 4]);
        view.finish(&mut books);
        assert_eq!(found(&books), [(Kind::Lost, 1), (Kind::OutOfOrder, 1)]);
    }

    #[test]
    fn view_order_holds_over_all_channels_of_a_stream() {
        let mut books = books(3);
        let mut view = View::new("s".into(), &[0, 1], Start::First, &books);
        give(&mut view, &mut books, 1, 1..=3);
        give(&mut view, &mut books, 2, 1..=3);
        view.finish(&mut books);
        assert_eq!(found(&books), [(Kind::OutOfOrder, 1)], "at 2, behind 5");
    }

    #[test]
    fn view_message_of_a_foreign_channel_or_with_a_foreign_id_is_noticed() {
        let mut books = books(1);
        let mut view = view(Start::First, &books);
        give(&mut view, &mut books, 2, [1]);
        assert_eq!(found(&books), [(Kind::Misdirected, 1)]);
        view.message(say(1, 1), Some("own-something"), &mut books);
        assert_eq!(books.violations.count(Kind::Garbled), 1);
    }

    #[test]
    fn view_gap_excuses_what_it_spans_after_damage_alone() {
        // Given 1, 2 and 5, 6; told of a gap up to the place of number 4 (or only 3).
        for (damaged, to, expected) in [
            (true, 4, vec![]),
            (true, 3, vec![(Kind::Lost, 1)]),
            (false, 4, vec![(Kind::LostWithoutCause, 2), (Kind::GapWithoutCause, 1)]),
        ] {
            let mut books = books(6);
            if damaged {
                books.damage(0);
            }
            let mut view = view(Start::First, &books);
            give(&mut view, &mut books, 1, 1..=2);
            view.gap(0, Some(&place(say(1, 2)).to_string()), place(say(1, to)), true, &mut books);
            give(&mut view, &mut books, 1, 5..=6);
            view.finish(&mut books);
            assert_eq!(found(&books), expected);
            assert_eq!(books.counts.gaps, 1);
        }
    }

    #[test]
    fn view_gap_excuses_nothing_that_was_skipped_before_it_or_elsewhere() {
        let mut before = books(6);
        before.retention = true;
        let mut view = view(Start::First, &before);
        give(&mut view, &mut before, 1, [1, 2]);
        give(&mut view, &mut before, 1, [4]);
        view.gap(0, Some(&place(say(1, 4)).to_string()), place(say(1, 5)), true, &mut before);
        give(&mut view, &mut before, 1, [6]);
        view.finish(&mut before);
        assert_eq!(found(&before), [(Kind::Lost, 1)]);
        let mut elsewhere = books(3);
        elsewhere.retention = true;
        let mut view = View::new("s".into(), &[0, 1], Start::First, &elsewhere);
        give(&mut view, &mut elsewhere, 1, [1]);
        give(&mut view, &mut elsewhere, 2, [1]);
        view.gap(1, Some(&at(2).to_string()), at(4), true, &mut elsewhere);
        give(&mut view, &mut elsewhere, 1, [3]);
        give(&mut view, &mut elsewhere, 2, [3]);
        view.finish(&mut elsewhere);
        assert_eq!(found(&elsewhere), [(Kind::Lost, 1)]);
        assert_eq!(elsewhere.counts.lost_announced, 1);
    }

    #[test]
    fn view_gaps_of_several_channels_at_one_place_each_excuse_their_own() {
        let mut books = books(4);
        books.damage(0);
        let mut view = View::new("s".into(), &[0, 1], Start::First, &books);
        give(&mut view, &mut books, 1, [1]);
        give(&mut view, &mut books, 2, [1]);
        view.gap(0, Some(&at(2).to_string()), at(6), false, &mut books);
        view.gap(1, Some(&at(2).to_string()), at(6), true, &mut books);
        give(&mut view, &mut books, 1, [4]);
        give(&mut view, &mut books, 2, [4]);
        view.finish(&mut books);
        assert_eq!((found(&books), books.counts.lost_announced), (vec![], 4));
    }

    #[test]
    fn view_gap_behind_messages_of_other_channels_excuses_its_own() {
        let mut books = books(6);
        books.retention = true;
        let mut view = View::new("s".into(), &[0, 1], Start::First, &books);
        give(&mut view, &mut books, 1, [1]);
        give(&mut view, &mut books, 2, 1..=4);
        view.gap(0, Some(&at(1).to_string()), at(9), true, &mut books);
        give(&mut view, &mut books, 2, 5..=5);
        give(&mut view, &mut books, 1, [6]);
        give(&mut view, &mut books, 2, [6]);
        view.finish(&mut books);
        assert_eq!((found(&books), books.counts.lost_announced), (vec![], 4));
    }

    #[test]
    fn view_loss_after_the_damage_has_no_cause() {
        let mut books = books(4);
        books.damage(0);
        for _ in 0..2 {
            let said = books.send(1);
            books.acknowledge(said, Some(at(u64::from(said.number) * 2 - 1)));
        }
        let mut view = view(Start::First, &books);
        give(&mut view, &mut books, 1, 1..=4);
        view.gap(0, Some(&at(7).to_string()), at(10), true, &mut books);
        give(&mut view, &mut books, 1, [6]);
        view.finish(&mut books);
        assert_eq!(found(&books), [(Kind::LostWithoutCause, 1)]);
    }

    #[test]
    fn view_forgotten_own_id_allows_repeats_behind_its_gap() {
        let mut books = books(6);
        books.retention = true;
        let mut view = view(Start::First, &books);
        give(&mut view, &mut books, 1, 1..=4);
        view.connected(OWN);
        view.started(None);
        view.gap(0, Some(OWN), at(2), true, &mut books);
        give(&mut view, &mut books, 1, 2..=6);
        view.finish(&mut books);
        assert_eq!(found(&books), []);
        assert_eq!(books.counts.repeated_announced, 1);
    }

    #[test]
    fn view_gap_of_a_known_place_allows_no_repeats() {
        let mut books = books(6);
        books.retention = true;
        let mut view = view(Start::First, &books);
        give(&mut view, &mut books, 1, 1..=4);
        view.gap(0, Some(&at(7).to_string()), at(8), true, &mut books);
        give(&mut view, &mut books, 1, 4..=6);
        assert_eq!(found(&books), [(Kind::Repeated, 1)]);
    }

    #[test]
    fn view_new_epoch_without_a_gap_is_a_loss() {
        for gap in [true, false] {
            let mut books = Books::new(1, &[(0, 0), (0, 1)]);
            books.retention = true;
            let said: Vec<Said> = (0..4).map(|_| books.send(1)).collect();
            let mut view = view(Start::First, &books);
            view.message(said[0], Some("~1.5.1"), &mut books);
            for (n, &said) in said.iter().enumerate() {
                let place = Place { epoch: if n < 3 { 5 } else { 6 }, offset: if n < 3 { n as u64 + 1 } else { 1 } };
                books.acknowledge(said, Some(place));
            }
            if gap {
                view.gap(0, Some("~1.5.1"), Place { epoch: 6, offset: 0 }, true, &mut books);
            }
            view.message(said[3], Some("~1.6.1"), &mut books);
            view.finish(&mut books);
            assert_eq!(books.violations.count(Kind::Lost), if gap { 0 } else { 2 });
            assert_eq!(books.counts.lost_announced, if gap { 2 } else { 0 });
        }
    }
}
