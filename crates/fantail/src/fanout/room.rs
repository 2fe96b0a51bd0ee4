//! A shard's share of one channel: which of its connections listen there, and how far the walk among them has come.

use std::collections::HashMap;
use std::sync::Arc;

use fantail_hub::{Channel, Hub, Watcher};
use slab::Slab;

/// Where a connection sits: a room and a place among its members.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seat {
    pub(super) room: u32,
    pub(super) place: u32,
}

/// The seats of one connection. One is by far the most frequent number.
#[derive(Debug)]
pub(super) enum Seats {
    One(Seat),
    Many(Box<[Seat]>),
}

impl Seats {
    pub(super) fn as_slice(&self) -> &[Seat] {
        match self {
            Self::One(seat) => std::slice::from_ref(seat),
            Self::Many(seats) => seats,
        }
    }

    fn as_mut_slice(&mut self) -> &mut [Seat] {
        match self {
            Self::One(seat) => std::slice::from_mut(seat),
            Self::Many(seats) => seats,
        }
    }

    /// Takes one out.
    pub(super) fn take(&mut self, index: usize) -> Seat {
        let mut seats = self.as_slice().to_vec();
        let seat = seats.remove(index);
        *self = Self::Many(seats.into());
        seat
    }

    /// Notes that this connection's place in `room` is now another.
    pub(super) fn moved(&mut self, room: u32, place: u32) {
        let seat = self.as_mut_slice().iter_mut().find(|seat| seat.room == room);
        seat.expect("a member has a seat").place = place;
    }
}

/// One channel's members in this shard. Members before `walked` have been served in the present walk.
pub(super) struct Room {
    pub(super) channel: Arc<Channel>,
    pub(super) members: Vec<u32>,
    pub(super) walked: usize,
    /// It stands in the queue of walks.
    pub(super) walking: bool,
    /// News came while it was being walked.
    pub(super) again: bool,
}

/// All rooms of a shard.
#[derive(Default)]
pub(super) struct Rooms {
    rooms: Slab<Room>,
    /// By the channel's address, which is its identity: the room keeps it alive.
    by_channel: HashMap<usize, u32>,
}

impl Rooms {
    pub(super) fn get(&self, room: u32) -> &Room {
        &self.rooms[room as usize]
    }

    pub(super) fn get_mut(&mut self, room: u32) -> &mut Room {
        &mut self.rooms[room as usize]
    }

    /// The room that a late wake-up means, if it is still there.
    pub(super) fn find_mut(&mut self, room: usize) -> Option<&mut Room> {
        self.rooms.get_mut(room)
    }

    pub(super) fn len(&self) -> usize {
        self.rooms.len()
    }

    /// Seats connection `key` in the room of `channel` and returns where.
    pub(super) fn enter(&mut self, channel: Arc<Channel>, watcher: &Arc<dyn Watcher>, key: u32) -> Seat {
        let known = self.by_channel.get(&Arc::as_ptr(&channel).addr()).copied();
        let room = known.unwrap_or(self.rooms.vacant_key() as u32);
        channel.watch(watcher, room as usize);
        if !self.rooms.contains(room as usize) {
            self.by_channel.insert(Arc::as_ptr(&channel).addr(), room);
            let made = Room { channel, members: Vec::new(), walked: 0, walking: false, again: false };
            let at = self.rooms.insert(made);
            debug_assert_eq!(at, room as usize, "the vacant key is the next");
        }
        let members = &mut self.rooms[room as usize].members;
        members.push(key);
        Seat { room, place: members.len() as u32 - 1 }
    }

    /// Takes a connection from its seat. `moved` is told of each member whose place changes: its key and its new place.
    pub(super) fn leave(&mut self, hub: &Hub, watcher: &Arc<dyn Watcher>, seat: Seat, mut moved: impl FnMut(u32, u32)) {
        let room = &mut self.rooms[seat.room as usize];
        let mut hole = seat.place as usize;
        // The walk's border must stay a border: a member from behind it may not come to stand before it.
        if hole < room.walked {
            room.walked -= 1;
            if hole != room.walked {
                room.members[hole] = room.members[room.walked];
                moved(room.members[hole], hole as u32);
                hole = room.walked;
            }
        }
        room.members.swap_remove(hole);
        if let Some(&member) = room.members.get(hole) {
            moved(member, hole as u32);
        }
        hub.unwatch(&room.channel, watcher, seat.room as usize);
        // A room in the queue of walks goes when its turn comes.
        if room.members.is_empty() && !room.walking {
            self.remove(seat.room);
        } else if room.members.capacity() > 64 && room.members.len() < room.members.capacity() / 4 {
            room.members.shrink_to(room.members.len() * 2);
        }
    }

    /// Forgets a room without members.
    pub(super) fn remove(&mut self, room: u32) {
        let gone = self.rooms.remove(room as usize);
        self.by_channel.remove(&Arc::as_ptr(&gone.channel).addr());
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use fantail_hub::journal::MemoryJournal;
    use fantail_hub::{ChannelName, Clock, HubLimits, Limits, Retention};

    use super::*;

    struct Deaf;

    impl Watcher for Deaf {
        fn wake(&self, _: usize) {}
    }

    /// Whoever leaves, at whatever point of a walk: nobody is forgotten, nobody who was served stands behind the border.
    #[test]
    fn leave_in_the_middle_of_a_walk_keeps_the_served_before_the_border() {
        let journal = Arc::new(MemoryJournal::new(Duration::ZERO, 0));
        let retention = Retention::new(Limits::default(), []);
        let hub = Hub::new(journal, retention, HubLimits::default(), Clock::system());
        let channel = hub.open(&ChannelName::parse("a").unwrap()).unwrap();
        let watcher: Arc<dyn Watcher> = Arc::new(Deaf);
        for walked in 0..=5 {
            for leaver in 0..5 {
                let mut rooms = Rooms::default();
                let mut seats: Vec<_> =
                    (0..5).map(|key| Some(rooms.enter(Arc::clone(&channel), &watcher, key))).collect();
                let room = seats[0].unwrap().room;
                rooms.get_mut(room).walked = walked;
                let seat = seats[leaver].take().unwrap();
                rooms.leave(&hub, &watcher, seat, |key, place| {
                    seats[key as usize].as_mut().unwrap().place = place;
                });
                let after = rooms.get(room);
                let (served, waiting) = after.members.split_at(after.walked);
                assert!(served.iter().all(|&key| (key as usize) < walked), "{served:?} of {walked}");
                assert!(waiting.iter().all(|&key| key as usize >= walked), "{waiting:?} of {walked}");
                assert_eq!(after.members.len(), 4);
                for (key, seat) in seats.iter().enumerate().filter_map(|(key, seat)| Some((key, (*seat)?))) {
                    assert_eq!(after.members[seat.place as usize] as usize, key);
                }
                seats.iter().flatten().for_each(|_| {
                    let _ = channel.unwatch(&watcher, room as usize, hub.clock().now());
                });
            }
        }
    }
}
