//! What a connection holds for as long as it lasts: its place among all, and what it counts for where it came from. Dropping it
//! gives everything back.

use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;

use super::book::Account;

/// A connection that counts for its address and network.
#[derive(Debug, Default)]
pub struct Visit(pub(super) Option<Arc<Account>>);

impl Drop for Visit {
    fn drop(&mut self) {
        if let Some(account) = &self.0 {
            account.connections.leave();
            if let Some(network) = &account.network {
                network.connections.leave();
            }
        }
    }
}

/// A stream that counts for its address, its network and who listens.
#[derive(Debug, Default)]
pub struct Seat {
    pub(super) address: Option<Arc<Account>>,
    pub(super) identity: Option<Arc<Account>>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let Some(account) = &self.address {
            account.streams.leave();
            if let Some(network) = &account.network {
                network.streams.leave();
            }
        }
        if let Some(identity) = &self.identity {
            identity.streams.leave();
        }
    }
}

/// A connection's place.
#[derive(Debug)]
pub struct Place {
    seat: Seat,
    _visit: Visit,
    /// Given back last: whoever waits for all places finds nothing counted any more.
    _permit: OwnedSemaphorePermit,
}

impl Place {
    /// A place among all, for a visit that was admitted.
    pub fn new(permit: OwnedSemaphorePermit, visit: Visit) -> Self {
        Self { seat: Seat::default(), _visit: visit, _permit: permit }
    }

    /// From here on the connection is a stream.
    pub fn sit(&mut self, seat: Seat) {
        self.seat = seat;
    }

    /// It is one no longer.
    pub fn rise(&mut self) {
        self.seat = Seat::default();
    }
}

impl From<OwnedSemaphorePermit> for Place {
    fn from(permit: OwnedSemaphorePermit) -> Self {
        Self::new(permit, Visit::default())
    }
}
