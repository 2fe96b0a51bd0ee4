//! The routes that are in force: another configuration's take their place between two requests.

use std::sync::Arc;

use parking_lot::RwLock;

use super::App;

/// The routes as they are now.
pub struct Live(RwLock<Arc<App>>);

impl Live {
    /// These, until others take their place.
    pub fn new(app: Arc<App>) -> Self {
        Self(RwLock::new(app))
    }

    /// Those that answer a request that comes now. It is answered by them to its end.
    pub fn now(&self) -> Arc<App> {
        Arc::clone(&self.0.read())
    }

    /// Puts others in their place.
    pub fn set(&self, app: Arc<App>) {
        *self.0.write() = app;
    }
}
