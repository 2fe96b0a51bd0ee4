//! How many descriptors there are for clients and for servers together, so that neither takes what is kept for the control
//! listener.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::Semaphore;

use crate::metrics::Number;

/// The descriptors of connections.
#[derive(Debug)]
pub struct Budget {
    most: usize,
    /// A place for each client that there may be, and how many these are.
    places: Arc<Semaphore>,
    clients: usize,
}

impl Budget {
    /// At most `most` for all; `places` are those of clients, `clients` many.
    pub fn new(most: usize, places: Arc<Semaphore>, clients: usize) -> Self {
        Self { most, places, clients }
    }

    /// Whether there is one left, with so many connections to servers. A few may be given twice at the same moment: what is
    /// kept for others covers them.
    pub fn has_room(&self, servers: &Number) -> bool {
        let clients = self.clients - self.places.available_permits().min(self.clients);
        let servers = usize::try_from(servers.load(Ordering::Relaxed)).unwrap_or(usize::MAX);
        clients.saturating_add(servers) < self.most
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budget_is_for_clients_and_servers_together() {
        let places = Arc::new(Semaphore::new(10));
        let budget = Budget::new(12, Arc::clone(&places), 10);
        let servers = Number::new(11);
        assert!(budget.has_room(&servers));
        let _client = places.try_acquire().unwrap();
        assert!(!budget.has_room(&servers));
        servers.store(10, Ordering::Relaxed);
        assert!(budget.has_room(&servers));
    }
}
