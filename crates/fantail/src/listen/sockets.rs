//! The sockets of all listeners, bound before anything else is made: whoever may bind them may then become somebody else.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::thread::sleep;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

use crate::config::Config;

/// Connections that the kernel completes before they are accepted.
const BACKLOG: i32 = 4096;
/// How long to wait before an address that is taken is tried again.
const AGAIN: Duration = Duration::from_millis(500);

/// The sockets of a server.
#[derive(Debug)]
pub struct Sockets {
    /// Those of the public listener, in the order of `listen.public`; at least one.
    pub public: Vec<TcpListener>,
    /// That of the control listener, if there is one.
    pub control: Option<TcpListener>,
}

/// An address that cannot be listened on.
#[derive(Debug)]
pub struct Refused {
    /// What was asked for.
    pub address: SocketAddr,
    /// The setting that asked for it.
    pub setting: &'static str,
    /// What the system said.
    pub source: io::Error,
}

impl Sockets {
    /// Opens them. An address that is taken is tried as often as `tries` says, half a second apart: whoever had it may be about
    /// to leave.
    ///
    /// # Errors
    /// If an address is taken or not ours.
    pub fn bind(config: &Config, tries: u32) -> Result<Self, Refused> {
        let all = config.listen.public.all();
        let public = all.iter().map(|address| {
            let twin = all
                .iter()
                .any(|other| other.is_ipv4() && other.ip().is_unspecified() && other.port() == address.port());
            patiently(*address, twin, "listen.public", tries)
        });
        Ok(Self {
            public: public.collect::<Result<_, _>>()?,
            control: match config.control.listen.socket() {
                Some(address) => Some(patiently(address, false, "control.listen", tries)?),
                None => None,
            },
        })
    }
}

fn patiently(address: SocketAddr, twin: bool, setting: &'static str, tries: u32) -> Result<TcpListener, Refused> {
    let mut left = tries;
    loop {
        match bind(address, twin) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && left > 1 => {
                left -= 1;
                tracing::warn!(%address, setting, tries = left, "the address is taken, trying again");
                sleep(AGAIN);
            }
            bound => return bound.map_err(|source| Refused { address, setting, source }),
        }
    }
}

/// Opens a listening socket. One for all of IPv6 is for all of IPv4 too, unless that has a `twin` of its own.
fn bind(address: SocketAddr, twin: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() && address.ip().is_unspecified() && twin {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_of_both_families_stand_beside_each_other() {
        let free = bind("[::]:0".parse().unwrap(), false).unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let text = format!("listen.public = ['0.0.0.0:{port}', '[::]:{port}']\ncontrol.listen = 'off'\n");
        let config = Config::from_toml(&text).unwrap();
        let sockets = Sockets::bind(&config, 1).unwrap();
        assert_eq!(sockets.public.len(), 2);
        assert!(sockets.control.is_none());
        let refused = Sockets::bind(&config, 1).unwrap_err();
        assert_eq!((refused.address.port(), refused.setting), (port, "listen.public"));
        assert_eq!(refused.source.kind(), io::ErrorKind::AddrInUse);
    }
}
