//! Histories made by hand: each kind of violation is found, and none where there is none.

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
