//! A process in nginx's place: it takes what nginx's configuration says of the process, and its signals.

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;

use super::log::{self, LogFile};
use super::pid_file::PidFile;
use super::signals::{Order, Signals};
use super::user::{self, User};
use super::{ServeArgs, daemon, limits};
use crate::cli::nginx::{Carried, log_file};
use crate::cli::sources::SourceArgs;
use crate::config::Config;
use crate::{Reloader, Server};

/// How often an address that is taken is tried, as by nginx: the process before this one may be about to leave.
const TRIES: u32 = 5;

/// Serves in the foreground or in the background, as the configuration says.
pub(super) async fn run(args: ServeArgs, config: Config, carried: Carried) -> anyhow::Result<ExitCode> {
    let notes: Vec<String> = carried.notes().into_iter().chain(about_user(&carried)).collect();
    if args.detached {
        daemon::detach()?;
    } else {
        for note in &notes {
            // Whether anyone reads it is no reason to stop.
            let _ = writeln!(std::io::stderr(), "warning: {note}");
        }
        if carried.process().daemon.unwrap_or(true) {
            return daemon::start();
        }
    }
    serve(args, config, carried, notes).await.map(|()| ExitCode::SUCCESS)
}

/// What is to be said of the user that is served as.
fn about_user(carried: &Carried) -> Option<String> {
    let file = carried.path().display();
    match (&carried.process().user, user::is_root()) {
        (Some(_), false) => Some(format!("{file}: user counts only where root starts the process, and does not here")),
        (None, true) => Some(format!("{file}: there is no user directive, so everything is served as root")),
        _ => None,
    }
}

async fn serve(args: ServeArgs, config: Config, carried: Carried, notes: Vec<String>) -> anyhow::Result<()> {
    let log = open_log(&carried)?;
    let Some(file) = &log else {
        log::log_to_stderr(&config.log)?;
        return serve_logged(args, config, carried, log).await;
    };
    log::log_to_file(&config.log, file)?;
    // To standard error they were said before.
    for note in notes {
        tracing::warn!("{note}");
    }
    let served = serve_logged(args, config, carried, log).await;
    if let Err(error) = &served {
        tracing::error!("{error:#}");
    }
    served
}

async fn serve_logged(
    args: ServeArgs,
    config: Config,
    carried: Carried,
    log: Option<Arc<LogFile>>,
) -> anyhow::Result<()> {
    let process = carried.process();
    let user = match &process.user {
        Some((name, group)) if user::is_root() => Some(User::find(name, group.as_deref())?),
        _ => None,
    };
    take_descriptors(process.descriptors);
    let signals = Signals::of_nginx().context("cannot listen for signals")?;
    let sockets = Server::bind(&config, TRIES)?;
    let pid_file = PidGuard::write(&carried)?;
    if let Some(user) = &user {
        if let Some(log) = &log {
            let path = log.path();
            log.give_to(user.number())
                .with_context(|| format!("error_log: cannot give {} to the user", path.display()))?;
        }
        user.become_it()?;
    }
    let server = Server::over(sockets, config)?;
    for address in server.public_addrs() {
        tracing::info!(%address, "serving");
    }
    if let Some(address) = server.control_addr() {
        tracing::info!(%address, "the control listener is there");
    }
    if args.detached {
        daemon::ready(log.as_ref().map(|log| log.current()).as_deref())?;
    }
    let reloader = server.reloader();
    let mut place = Place { sources: args.sources, carried, log, reloader, detached: args.detached };
    let last = pid_file.clone();
    let stop = signals.obey(
        move |order| place.act(order),
        move || {
            last.remove();
            0
        },
    );
    server.run(stop).await?;
    Ok(())
}

/// As many descriptors as nginx would have, else as many as there are.
fn take_descriptors(most: Option<u64>) {
    let Some(most) = most else { return limits::raise() };
    if let Err(error) = limits::set(most) {
        tracing::warn!("{error:#}");
        limits::raise();
    }
}

/// The pid file, if there is one; it goes with the first of these that goes.
#[derive(Clone)]
struct PidGuard(Arc<Option<PidFile>>);

impl PidGuard {
    fn write(carried: &Carried) -> anyhow::Result<Self> {
        let Some(name) = &carried.process().pid else { return Ok(Self(Arc::default())) };
        let path = carried.file(name);
        let file = PidFile::write(path.clone()).with_context(|| format!("pid: cannot write {}", path.display()))?;
        Ok(Self(Arc::new(Some(file))))
    }

    fn remove(&self) {
        if let Some(file) = &*self.0 {
            file.remove();
        }
    }
}

impl Drop for PidGuard {
    fn drop(&mut self) {
        self.remove();
    }
}

fn open_log(carried: &Carried) -> anyhow::Result<Option<Arc<LogFile>>> {
    let Some(name) = carried.process().error_log.as_deref().and_then(log_file) else { return Ok(None) };
    let path = carried.file(name);
    let file = LogFile::open(path.clone()).with_context(|| format!("error_log: cannot open {}", path.display()))?;
    Ok(Some(Arc::new(file)))
}

/// What signals change while the process goes on.
struct Place {
    sources: SourceArgs,
    /// The configuration in force.
    carried: Carried,
    log: Option<Arc<LogFile>>,
    reloader: Reloader,
    detached: bool,
}

impl Place {
    fn act(&mut self, order: Order) {
        let result = match order {
            Order::Reload => self.reload(),
            Order::Reopen => self.reopen(),
        };
        if let Err(error) = result {
            match order {
                Order::Reload => tracing::error!("the configuration stays as it was: {error:#}"),
                Order::Reopen => tracing::error!("{error:#}"),
            }
        }
    }

    /// Reads the configuration again; what is wrong with it changes nothing.
    fn reload(&mut self) -> anyhow::Result<()> {
        let (config, carried) = self.sources.read()?;
        let Some(carried) = carried else { return Ok(()) };
        let mut waiting = self.reloader.reload(&config)?;
        let (old, new) = (self.carried.process(), carried.process());
        for (name, differs) in [
            ("pid", old.pid != new.pid),
            ("user", old.user != new.user),
            ("daemon", old.daemon != new.daemon),
            ("worker_rlimit_nofile", old.descriptors != new.descriptors),
        ] {
            waiting.extend(differs.then(|| name.to_owned()));
        }
        let is_file = |process: &crate::nginx::Process| process.error_log.as_deref().and_then(log_file).is_some();
        if is_file(old) != is_file(new) {
            waiting.push("error_log".to_owned());
        }
        let notes = carried.notes();
        self.carried = carried;
        tracing::info!("the configuration was read again");
        for note in notes {
            tracing::warn!("{note}");
        }
        if !waiting.is_empty() {
            tracing::warn!("these wait for a restart: {}", waiting.join(", "));
        }
        self.reopen()
    }

    /// Opens the log again: it may have been moved, or be another one now.
    fn reopen(&self) -> anyhow::Result<()> {
        let (Some(log), Some(name)) = (&self.log, self.carried.process().error_log.as_deref().and_then(log_file))
        else {
            return Ok(());
        };
        let path = self.carried.file(name);
        log.reopen(&path).with_context(|| format!("error_log: cannot open {}", path.display()))?;
        if self.detached {
            rustix::stdio::dup2_stderr(&*log.current()).context("error_log")?;
        }
        Ok(())
    }
}
