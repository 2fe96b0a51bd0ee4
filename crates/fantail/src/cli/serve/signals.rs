//! Signals, and what they tell the process to do.

use std::io;

use rustix::process::Signal as Number;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

use crate::Leave;

/// Signals that would end a process that is deaf to them, and mean nothing to this one. A limit on the size of files is a full disk, which is survived.
const DEAF: [Number; 9] = [
    Number::USR2,
    Number::ALARM,
    Number::VTALARM,
    Number::PROF,
    Number::IO,
    Number::POWER,
    Number::STKFLT,
    Number::XCPU,
    Number::XFSZ,
];
/// The signals without names, which are the application's on other systems.
const REAL_TIME: std::ops::RangeInclusive<i32> = 34..=64;

/// What is done while the process goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// Read the configuration again.
    Reload,
    /// Open the log again.
    Reopen,
}

/// The signals that are listened for. From here on none of them ends the process by itself.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
    /// Those that only a process in nginx's place listens for.
    orders: Option<(Signal, Signal)>,
    /// Whether SIGTERM and SIGINT leave nobody time, as nginx's do.
    at_once: bool,
}

impl Signals {
    /// Those of a process with a configuration of our own.
    pub(super) fn own() -> io::Result<Self> {
        heard(Number::XFSZ.as_raw())?;
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            orders: None,
            at_once: false,
        })
    }

    /// Those of a process in nginx's place: what nginx does not know does not end it either.
    pub(super) fn of_nginx() -> io::Result<Self> {
        DEAF.iter().map(|number| number.as_raw()).chain(REAL_TIME).try_for_each(heard)?;
        let orders = (signal(SignalKind::hangup())?, signal(SignalKind::user_defined1())?);
        Ok(Self { orders: Some(orders), at_once: true, ..Self::own()? })
    }

    /// Does what they say until the first that ends the process, which is what it resolves with. After the second such, `last`
    /// is called and the process ends with the code that it returns.
    pub(super) fn obey(
        mut self,
        mut act: impl FnMut(Order) + Send + 'static,
        last: impl FnOnce() -> i32 + Send + 'static,
    ) -> impl Future<Output = Leave> {
        let (stop, stopped) = oneshot::channel();
        tokio::spawn(async move {
            let leave = self.next(&mut act).await;
            let _ = stop.send(leave);
            self.next(&mut act).await;
            std::process::exit(last());
        });
        // The task lives as long as the process.
        async move { stopped.await.unwrap_or(Leave::InTime) }
    }

    /// The next that ends the process.
    async fn next(&mut self, act: &mut impl FnMut(Order)) -> Leave {
        let soon = if self.at_once { Leave::AtOnce } else { Leave::InTime };
        loop {
            let order = tokio::select! {
                _ = self.terminate.recv() => return soon,
                _ = self.interrupt.recv() => return soon,
                _ = self.quit.recv() => return Leave::InTime,
                order = order(self.orders.as_mut()) => order,
            };
            act(order);
        }
    }
}

async fn order(signals: Option<&mut (Signal, Signal)>) -> Order {
    let Some((hangup, user)) = signals else { return std::future::pending().await };
    tokio::select! {
        _ = hangup.recv() => Order::Reload,
        _ = user.recv() => Order::Reopen,
    }
}

/// Lets a signal be heard, which then does nothing: a handler stays for good.
fn heard(number: i32) -> io::Result<()> {
    signal(SignalKind::from_raw(number)).map(drop)
}
