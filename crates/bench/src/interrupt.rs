//! Ctrl-C and SIGTERM as a flag that every long loop looks at, so that what was started is ended, and what was written is removed,
//! on the way out. The second signal ends the process at once.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{Context, ensure};
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};

/// The exit code after a second signal, as a shell reports an interrupted program.
const INTERRUPTED: i32 = 130;

static RAISED: AtomicBool = AtomicBool::new(false);

/// From here on signals only raise the flag.
pub(crate) fn listen() -> anyhow::Result<()> {
    let runtime = Builder::new_current_thread().enable_io().build().context("cannot listen for signals")?;
    let (mut interrupt, mut terminate) = {
        let _inside = runtime.enter();
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
    };
    thread::spawn(move || {
        runtime.block_on(async {
            loop {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
                if RAISED.swap(true, Ordering::Relaxed) {
                    std::process::exit(INTERRUPTED);
                }
                eprintln!("fantail-bench: stopping; once more to stop at once, and leave files behind");
            }
        });
    });
    Ok(())
}

/// Fails once a signal has come.
pub(crate) fn check() -> anyhow::Result<()> {
    ensure!(!RAISED.load(Ordering::Relaxed), "interrupted");
    Ok(())
}
