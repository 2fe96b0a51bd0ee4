//! Sockets and descriptors: enough of both for tens of thousands of subscribers from one process.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use anyhow::{Context, ensure};
use mio::net::TcpStream;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::{Domain, Protocol, Socket, Type};

/// Connections from one client address; well below the 28,000 ports that a Linux host hands out by default.
const PER_ADDRESS: usize = 4_000;
/// Client addresses on loopback, 127.0.0.2 and up. Many, since ports of ended connections rest for a minute.
const ADDRESSES: usize = 120;
/// Descriptors that are not subscribers.
const SPARE: usize = 64;

/// Raises the soft descriptor limit to the hard one, and checks that it is enough.
pub(crate) fn allow_descriptors(subscribers: usize) -> anyhow::Result<()> {
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).context("cannot raise the descriptor limit")?;
    let limit = maximum.map_or(usize::MAX, |limit| limit as usize);
    ensure!(subscribers + SPARE <= limit, "{subscribers} subscribers need more descriptors than the limit of {limit}");
    Ok(())
}

/// Starts to connect, without waiting, from an address that the `n`th connection of this process uses.
pub(crate) fn connect(address: SocketAddr, n: usize) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    if address.ip() == IpAddr::V4(Ipv4Addr::LOCALHOST) {
        let last = (2 + (n / PER_ADDRESS) % ADDRESSES) as u8;
        socket.bind(&SocketAddr::from((Ipv4Addr::new(127, 0, 0, last), 0)).into())?;
    }
    socket.set_tcp_nodelay(true)?;
    match socket.connect(&address.into()) {
        Err(error) if error.raw_os_error() != Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => Err(error),
        _ => Ok(TcpStream::from_std(socket.into())),
    }
}

/// Listens without waiting, with room for many that come at once.
pub(crate) fn listen(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(4096)?;
    Ok(socket.into())
}
