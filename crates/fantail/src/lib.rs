//! Fantail: one program at the edge where `EventSource` connections stop.
//!
//! This file is the only place that constructs the parts and wires them together.

pub mod admission;
pub mod auth;
pub mod cli;
pub mod config;
pub mod dialect;
pub mod fanout;
#[cfg(feature = "faults")]
pub mod faults;
pub mod http;
pub mod journal;
pub mod listen;
pub mod metrics;
pub mod nginx;
pub mod proxy;
mod reload;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use fantail_hub::journal::MemoryJournal;
use fantail_hub::{Clock, Hub, HubLimits, Journal, Limits, Retention};
use thiserror::Error;
use tokio::runtime::{self, Runtime};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use config::{Config, Door};
use dialect::grip;
use fanout::{Farewell, Shards};
use http::App;
pub use http::access::AccessError;
pub use http::explain::{ExplainError, explain};
use http::live::Live;
use http::push_stream::{Census, Site};
use journal::disk::{DiskJournal, Durability, OpenError, Settings};
pub use listen::Sockets;
use metrics::Metrics;
use proxy::{Budget, Proxy, Stopping};
pub use reload::{ReloadError, Reloader};

/// Descriptors that are kept for other things than connections.
const RESERVED_DESCRIPTORS: usize = 256;
/// Of these, for connections to the control listener.
const CONTROL_CONNECTIONS: usize = 192;
/// How long the stop waits for publishes that are under way before it turns to the streams.
const LAST_PUBLISHES: Duration = Duration::from_millis(500);
/// How long a stop takes that is not to wait for anybody.
const AT_ONCE: Duration = Duration::from_secs(1);
/// Connections where the system sets no limit on descriptors.
const UNLIMITED: usize = 1_000_000;
/// How often what is due by age or idleness is done.
const MAINTENANCE: Duration = Duration::from_millis(500);

/// A server that holds its sockets and has not begun to serve.
pub struct Server {
    sockets: Sockets,
    live: Arc<Live>,
    metrics: Arc<Metrics>,
    /// What push-stream routes share, if there are any.
    site: Option<Arc<Site>>,
    hub: Arc<Hub>,
    /// The journal, if it is on disk.
    disk: Option<Arc<DiskJournal>>,
    config: Arc<Config>,
    /// One for each connection to the public listener that there may be.
    places: Arc<Semaphore>,
    /// Turns true when the server stops.
    stopping: watch::Sender<bool>,
}

/// Why a server could not be made.
#[derive(Debug, Error)]
pub enum StartError {
    /// A listener's address is taken, or not ours.
    #[error("cannot listen on {address} ({setting})")]
    Listen {
        /// What was asked for.
        address: SocketAddr,
        /// Where it was asked for.
        setting: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The data directory cannot be used.
    #[error(transparent)]
    Journal(#[from] OpenError),
    /// A key cannot be used.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// The system gave no thread or no poller.
    #[error("cannot start the shards")]
    Shards(#[source] io::Error),
}

impl Server {
    /// Takes the sockets, opens the journal and starts the shards.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn new(config: Config) -> Result<Self, StartError> {
        let sockets = Self::bind(&config, 1)?;
        Self::over(sockets, config)
    }

    /// Takes the sockets alone, so that the rest can be made by somebody who might not take them. An address that is taken is
    /// tried as often as `tries` says, half a second apart.
    ///
    /// # Errors
    /// [`StartError::Listen`].
    pub fn bind(config: &Config, tries: u32) -> Result<Sockets, StartError> {
        Sockets::bind(config, tries).map_err(|listen::Refused { address, setting, source }| StartError::Listen {
            address,
            setting,
            source,
        })
    }

    /// Opens the journal and starts the shards, over the sockets of the same configuration.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn over(sockets: Sockets, config: Config) -> Result<Self, StartError> {
        let clock = Arc::new(Clock::system());
        let retention = retention(&config);
        let disk = disk(&config, &retention, &clock)?;
        let journal: Arc<dyn Journal> = match &disk {
            Some(disk) => Arc::clone(disk) as _,
            None => Arc::new(MemoryJournal::new(config.idempotency.window.get(), config.idempotency.keys)),
        };
        let hub = Hub::new(journal, retention, limits(&config), clock);
        let census = speaks_push_stream(&config).then(|| Arc::new(Census::new(&config.push_stream)));
        let hub = Arc::new(match &census {
            Some(census) => hub.observed_by(Arc::clone(census) as _),
            None => hub,
        });
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let shards = if config.listen.shards == 0 { cores } else { config.listen.shards };
        let metrics = Arc::new(Metrics::new(shards));
        let shards = Arc::new(Shards::start(&hub, &metrics).map_err(StartError::Shards)?);
        let (stopping, told) = watch::channel(false);
        let places = Arc::new(Semaphore::new(connections(&config)));
        let proxy = upstreams(&config, &metrics, &places, told);
        let site = census.map(|census| Site::start(config.push_stream.clone(), census, &hub, stopping.subscribe()));
        let shared = Arc::clone(&metrics);
        let app = App::new(&config, Arc::clone(&hub), disk.clone(), shards, proxy, shared, site.as_ref())?;
        let live = Arc::new(Live::new(Arc::new(app)));
        Ok(Self { sockets, live, metrics, site, hub, disk, config: Arc::new(config), places, stopping })
    }

    /// Where the public listener is: its first address.
    pub fn public_addr(&self) -> SocketAddr {
        self.public_addrs().first().copied().unwrap_or(self.config.listen.public.first())
    }

    /// All addresses of the public listener.
    pub fn public_addrs(&self) -> Vec<SocketAddr> {
        let bound = self.sockets.public.iter().zip(self.config.listen.public.all());
        bound.map(|(socket, asked)| socket.local_addr().unwrap_or(*asked)).collect()
    }

    /// Where the control listener is, if there is one.
    pub fn control_addr(&self) -> Option<SocketAddr> {
        self.sockets.control.as_ref()?.local_addr().ok()
    }

    /// The routes, for those who embed the server and feed streams of their own.
    pub fn app(&self) -> Arc<App> {
        self.live.now()
    }

    /// What puts another configuration in force while the server runs.
    pub fn reloader(&self) -> Reloader {
        Reloader {
            live: Arc::clone(&self.live),
            started: Arc::clone(&self.config),
            metrics: Arc::clone(&self.metrics),
            places: Arc::clone(&self.places),
            stopping: self.stopping.subscribe(),
            site: self.site.clone(),
        }
    }

    /// What the journal is and promises, for people.
    pub fn journal(&self) -> String {
        self.hub.journal().describe()
    }

    /// Serves until `stop` is done, then stops: no new connections, publishes finish, every stream is told to come back.
    ///
    /// # Errors
    /// If a listener cannot be served.
    pub async fn run<L: Into<Leave>>(self, stop: impl Future<Output = L>) -> io::Result<()> {
        let Self { sockets, live, metrics, hub, disk, config, places: public_places, stopping, .. } = self;
        let control_places = Arc::new(Semaphore::new(CONTROL_CONNECTIONS));
        let places =
            [(Arc::clone(&public_places), connections(&config)), (Arc::clone(&control_places), CONTROL_CONNECTIONS)];
        let shared = Arc::new(listen::Shared {
            live: Arc::clone(&live),
            metrics,
            public_places,
            control_places,
            admission: Arc::clone(live.now().admission()),
            answer_rate: config.limits.answer_rate.bytes() as u64,
            user_timeout: config.stream.user_timeout.get(),
            stopping: stopping.subscribe(),
            settings: config.listen.clone(),
        });
        let publishers = ControlRuntime::start()?;
        let mut listeners = JoinSet::new();
        for (number, socket) in sockets.public.into_iter().enumerate() {
            listeners.spawn(listen::accept(socket, Door::Public, number, Arc::clone(&shared)));
        }
        if let Some(socket) = sockets.control {
            listeners.spawn_on(listen::accept(socket, Door::Control, 0, shared), publishers.handle());
        }
        let upkeep = Upkeep::start(hub, Arc::clone(&live))?;
        let (leave, result) = tokio::select! {
            leave = stop => (leave.into(), Ok(())),
            ended = ended(listeners) => (Leave::InTime, ended),
        };
        tracing::info!("stopping");
        let app = live.now();
        app.stop();
        // Nobody is left to tell if the listeners are gone.
        let _ = stopping.send(true);
        let stop = &config.stop;
        let deadline = match leave {
            Leave::InTime => stop.deadline.get(),
            Leave::AtOnce => stop.deadline.get().min(AT_ONCE),
        };
        let frame = stop.frame.get().min(deadline);
        // Whoever is cut at the last moment is to notice.
        let farewell = Farewell { window: stop.window.get(), frame, rest: deadline.saturating_sub(frame) };
        let gone = async {
            // What is acknowledged in this moment still goes to those who listen.
            let _ = tokio::time::timeout(LAST_PUBLISHES, app.publishes_done()).await;
            app.shards().stop(farewell).await;
            // Every connection gives its place back when it goes.
            for (places, all) in &places {
                let _ = places.acquire_many(u32::try_from(*all).unwrap_or(u32::MAX)).await;
            }
        };
        if tokio::time::timeout(deadline, gone).await.is_err() {
            let left: usize = places.iter().map(|(places, all)| all - places.available_permits()).sum();
            tracing::warn!(connections = left, "the deadline came before they had gone (stop.deadline)");
        }
        drop(upkeep);
        if let Some(disk) = disk {
            // What is still asked of it afterwards is refused. It waits for the disk, which is no work for this thread.
            let _ = tokio::task::spawn_blocking(move || disk.close()).await;
        }
        result
    }
}

/// How a server leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leave {
    /// What is under way has as long as `stop.deadline` says.
    InTime,
    /// What is under way has a second, or `stop.deadline` if that is shorter.
    AtOnce,
}

impl From<()> for Leave {
    fn from((): ()) -> Self {
        Self::InTime
    }
}

/// Waits for the listeners to end, or for the first that fails.
async fn ended(mut listeners: JoinSet<io::Result<()>>) -> io::Result<()> {
    while let Some(task) = listeners.join_next().await {
        task.map_err(io::Error::other)??;
    }
    Ok(())
}

/// The threads of the control listener, apart from the public one's: when everybody comes back at once, publishes do not
/// stand in the same queue.
struct ControlRuntime(Option<Runtime>);

impl ControlRuntime {
    fn start() -> io::Result<Self> {
        let runtime = runtime::Builder::new_multi_thread().thread_name("fantail-control").enable_all().build()?;
        Ok(Self(Some(runtime)))
    }

    fn handle(&self) -> &runtime::Handle {
        self.0.as_ref().expect("it is taken when this is dropped").handle()
    }
}

impl Drop for ControlRuntime {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            // Whoever drops this may stand in a runtime, where waiting is not allowed.
            runtime.shutdown_background();
        }
    }
}

/// The thread that does what is due by age or idleness. Not a task: a million channels may be due in the same second.
struct Upkeep {
    thread: Option<thread::JoinHandle<()>>,
    over: Arc<AtomicBool>,
}

impl Upkeep {
    fn start(hub: Arc<Hub>, live: Arc<Live>) -> io::Result<Self> {
        let over = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&over);
        let thread = thread::Builder::new().name("fantail-upkeep".to_owned()).spawn(move || {
            while !told.load(Ordering::Relaxed) {
                hub.maintain();
                let app = live.now();
                app.proxy().tidy();
                app.admission().tidy();
                thread::park_timeout(MAINTENANCE);
            }
        })?;
        Ok(Self { thread: Some(thread), over })
    }
}

impl Drop for Upkeep {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // It has nothing to say that anybody could still use.
            let _ = thread.join();
        }
    }
}

/// The journal on disk, if that is where messages are to be kept.
pub(crate) fn disk(
    config: &Config,
    retention: &Retention,
    clock: &Arc<Clock>,
) -> Result<Option<Arc<DiskJournal>>, StartError> {
    let Some(directory) = config.journal.url.directory() else { return Ok(None) };
    let settings = Settings {
        directory: directory.to_owned(),
        durability: match config.journal.durability {
            config::Durability::Os => Durability::Os,
            config::Durability::Fsync => Durability::Fsync,
        },
        segment: config.journal.segment.bytes() as u64,
        window: config.idempotency.window.get(),
        keys: config.idempotency.keys,
        floors: config.hub.floors,
    };
    let disk = DiskJournal::open(settings, retention.clone(), Arc::clone(clock))?;
    let (figures, next) = (disk.figures(), disk.counter().0 + 1);
    tracing::info!(
        directory = %directory.display(),
        segments = figures.segments,
        bytes = figures.bytes,
        next,
        holes = figures.holes,
        "the journal is open"
    );
    Ok(Some(Arc::new(disk)))
}

/// The upstreams of a configuration, whose connections count beside the clients' that have `places`.
pub(crate) fn upstreams(
    config: &Config,
    metrics: &Arc<Metrics>,
    places: &Arc<Semaphore>,
    told: watch::Receiver<bool>,
) -> Proxy {
    let clients = connections(config);
    let budget = Budget::new(descriptors().max(clients), Arc::clone(places), clients);
    Proxy::new(config, metrics, budget, Stopping { told, window: config.stop.window.get() })
}

/// Whether there are push-stream routes: then their settings hold for all channels, which are the same on all routes.
fn speaks_push_stream(config: &Config) -> bool {
    config.route.iter().any(|route| route.action == config::Action::PushStream)
}

/// What is kept of which channels.
pub(crate) fn retention(config: &Config) -> Retention {
    let theirs = Some(&config.push_stream).filter(|_| speaks_push_stream(config));
    let most = theirs.and_then(|theirs| theirs.max_messages_stored_per_channel);
    let default = Limits {
        messages: most.unwrap_or(config.hub.messages),
        age: theirs.map_or(config.hub.age, |theirs| theirs.message_ttl).get(),
        bytes: config.hub.bytes.bytes(),
        stored: true,
    };
    let prefixes = config.retention.iter().map(|rule| {
        let limits = Limits {
            messages: rule.messages.unwrap_or(default.messages),
            age: rule.age.map_or(default.age, config::Span::get),
            bytes: rule.bytes.map_or(default.bytes, config::Size::bytes),
            stored: rule.store && !rule.prefix.starts_with(grip::PREFIX),
        };
        (rule.prefix.clone(), limits)
    });
    // Whoever is held on a GRIP channel asks the application anew after a restart.
    let held = (grip::PREFIX.to_owned(), Limits { stored: false, ..default });
    Retention::new(default, prefixes.chain([http::relayed::record::retention(default), held]))
}

fn limits(config: &Config) -> HubLimits {
    let theirs = Some(&config.push_stream).filter(|_| speaks_push_stream(config));
    HubLimits {
        memory: config.hub.memory.bytes(),
        message: config.hub.message.bytes(),
        channels: config.hub.channels,
        channel_idle: theirs.map_or(config.hub.channel_idle, |theirs| theirs.channel_inactivity_time).get(),
        floors: config.hub.floors,
        tail: config.hub.tail.bytes(),
    }
}

/// How many connections there may be: what is configured, else what the descriptors allow.
fn connections(config: &Config) -> usize {
    if config.listen.connections != 0 {
        return config.listen.connections.min(Semaphore::MAX_PERMITS);
    }
    descriptors()
}

/// How many descriptors there are for connections of clients, and to servers for them.
fn descriptors() -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let limit = limit.map_or(UNLIMITED, |limit| usize::try_from(limit).unwrap_or(UNLIMITED));
    limit.saturating_sub(RESERVED_DESCRIPTORS).max(1)
}
