//! Batches that were gathered lately: connections of one channel at equal cursors send the very same bytes.

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use fantail_hub::gather::{Pages, View};
use fantail_hub::{Batch, Channel, Framing, Gathered, Gatherer, Hub, Offset};

use super::Style;
use super::conn::Conn;
use super::room::{Rooms, Seat};

/// Batches remembered while there is work.
const BATCHES: usize = 8;

/// What was gathered lately.
#[derive(Default)]
pub(super) struct Batches {
    /// By channel, not by room: a room's number is used again for another channel. While a channel and a style are held here
    /// their addresses are not used again, which matters where a style is one subscriber's alone.
    recent: VecDeque<Lately>,
}

/// A batch, and what it was gathered for.
type Lately = (Arc<Channel>, Arc<Style>, Framing, Rc<Batch>);

/// What a connection is due.
pub(super) enum Due {
    Nothing,
    Batch(Rc<Batch>),
    /// See [`Gathered::Behind`].
    Behind,
}

impl From<Gathered> for Due {
    fn from(gathered: Gathered) -> Self {
        match gathered {
            Gathered::Nothing => Self::Nothing,
            Gathered::Due(batch) => Self::Batch(Rc::new(batch)),
            Gathered::Behind => Self::Behind,
        }
    }
}

impl Batches {
    pub(super) fn clear(&mut self) {
        self.recent.clear();
    }

    /// What a connection is due, with the help of pages that were read for it.
    pub(super) fn due(&mut self, hub: &Hub, rooms: &Rooms, conn: &Conn, pages: &Pages, gatherer: &mut Gatherer) -> Due {
        let seats = conn.seats.as_slice();
        let channel = |seat: &Seat| -> &Channel { &rooms.get(seat.room).channel };
        let next = conn.progress.cursor().next();
        // Loaded before any channel is looked at, see `Channel::reaches`.
        let view = match seats {
            [_] => View { until: Offset::MAX, ..hub.view() },
            _ => hub.view(),
        };
        let mut for_all = || {
            let all = seats.iter().map(channel).enumerate();
            gatherer.gather(view, &all, pages, &conn.progress, &conn.style.profile, conn.framing).into()
        };
        if !conn.progress.is_plain() || !pages.is_empty() {
            return for_all();
        }
        let room = if let [seat] = seats {
            seat.room
        } else {
            let mut with_news = seats.iter().filter(|seat| channel(seat).reaches(next));
            let Some(first) = with_news.next() else { return Due::Nothing };
            if with_news.next().is_some() {
                return for_all();
            }
            first.room
        };
        let source = &rooms.get(room).channel;
        if !source.reaches(next) {
            return Due::Nothing;
        }
        let cursor = conn.progress.cursor();
        let style = &conn.style;
        let shared = self.recent.iter().find(|(from, of, framing, batch)| {
            Arc::ptr_eq(from, source) && Arc::ptr_eq(of, style) && *framing == conn.framing && batch.suits(cursor)
        });
        if let Some((.., batch)) = shared
            && batch.next().seen() <= Some(view.until)
            && (batch.full || !source.reaches(batch.next().next()))
        {
            return Due::Batch(Rc::clone(batch));
        }
        let one = std::iter::once((0, &**source));
        let due = gatherer.gather(view, &one, &[], &conn.progress, &conn.style.profile, conn.framing).into();
        if let Due::Batch(batch) = &due {
            if self.recent.len() == BATCHES {
                self.recent.pop_back();
            }
            self.recent.push_front((Arc::clone(source), Arc::clone(style), conn.framing, Rc::clone(batch)));
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::time::Duration;

    use fantail_hub::hub::Publish;
    use fantail_hub::journal::MemoryJournal;
    use fantail_hub::{ChannelName, Clock, HubLimits, Limits, NewMessage, Retention, StartAt, Traits, Watcher};

    use super::*;
    use crate::fanout::conn::Doing;
    use crate::fanout::plain;
    use crate::fanout::room::Seats;

    struct Deaf;

    impl Watcher for Deaf {
        fn wake(&self, _: usize) {}
    }

    struct Test {
        hub: Hub,
        rooms: Rooms,
        watcher: Arc<dyn Watcher>,
        style: Arc<Style>,
        listener: TcpListener,
    }

    impl Test {
        fn new() -> Self {
            let journal = Arc::new(MemoryJournal::new(Duration::ZERO, 0));
            let retention = Retention::new(Limits::default(), []);
            let style = plain::style();
            Self {
                hub: Hub::new(journal, retention, HubLimits::default(), Clock::system()),
                rooms: Rooms::default(),
                watcher: Arc::new(Deaf),
                style: Arc::new(style),
                listener: TcpListener::bind("127.0.0.1:0").unwrap(),
            }
        }

        async fn publish(&self, channel: &str, data: &str) {
            let said = NewMessage { data, event: None, id: None };
            let channel = &ChannelName::parse(channel).unwrap();
            self.hub
                .publish(Publish { channel, said, key: None, ends: false, traits: Traits::default() })
                .await
                .unwrap();
        }

        /// A live subscriber of one channel.
        async fn subscribe(&mut self, channel: &str, key: u32) -> Conn {
            let names = [ChannelName::parse(channel).unwrap()];
            let mut plan = self.hub.plan(&names, StartAt::Live).await.unwrap();
            let seat = self.rooms.enter(plan.channels.remove(0), &self.watcher, key);
            let socket = TcpStream::connect(self.listener.local_addr().unwrap()).unwrap();
            let peer = socket.local_addr().unwrap();
            let places = Arc::new(tokio::sync::Semaphore::new(1));
            Conn {
                socket: mio::net::TcpStream::from_std(socket),
                framing: Framing::Raw,
                doing: Doing::Streaming,
                style: Arc::clone(&self.style),
                progress: plan.progress,
                seats: Seats::One(seat),
                unsent: None,
                number: u64::from(key),
                peer,
                identity: None,
                presence: None,
                permit: places.try_acquire_owned().unwrap().into(),
                last_write: 0,
                deadline: 0,
                due: 0,
                queued: false,
                closing: false,
                reading: false,
            }
        }

        fn leave(&mut self, conn: &Conn) {
            let [seat] = conn.seats.as_slice() else { unreachable!("one channel each") };
            self.rooms.leave(&self.hub, &self.watcher, *seat, |_, _| {});
        }
    }

    fn due(due: Due) -> Rc<Batch> {
        let Due::Batch(batch) = due else { panic!("something is due, and in memory") };
        batch
    }

    #[tokio::test]
    async fn due_in_a_room_that_was_another_channels_is_its_own() {
        let mut test = Test::new();
        let (mut batches, mut gatherer) = (Batches::default(), Gatherer::default());
        let first = test.subscribe("a", 0).await;
        let second = test.subscribe("b", 1).await;
        test.publish("a", "for a").await;
        test.publish("b", "for b").await;
        test.publish("a", "for a").await;
        let batch = due(batches.due(&test.hub, &test.rooms, &first, &[], &mut gatherer));
        assert_eq!(batch.messages, 2);

        // Both leave; the next subscriber of b comes to sit where those of a sat.
        test.leave(&second);
        test.leave(&first);
        let mut third = test.subscribe("b", 2).await;
        third.progress = second.progress;
        assert_eq!(third.seats.as_slice(), first.seats.as_slice(), "the room is used again");
        let batch = due(batches.due(&test.hub, &test.rooms, &third, &[], &mut gatherer));
        let said = String::from_utf8_lossy(&batch.bytes);
        assert!(said.contains("for b") && !said.contains("for a"), "{said}");
    }

    #[tokio::test]
    async fn due_at_equal_cursors_is_shared() {
        let mut test = Test::new();
        let (mut batches, mut gatherer) = (Batches::default(), Gatherer::default());
        let conns = [test.subscribe("a", 0).await, test.subscribe("a", 1).await];
        test.publish("a", "x").await;
        let [one, other] =
            conns.each_ref().map(|conn| due(batches.due(&test.hub, &test.rooms, conn, &[], &mut gatherer)));
        assert!(Rc::ptr_eq(&one, &other));
    }
}
