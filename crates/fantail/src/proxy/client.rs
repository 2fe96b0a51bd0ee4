//! The client's end of a connection that has left HTTP: the socket, and what comes with it.

use bytes::Bytes;
use tokio::net::TcpStream;

use crate::admission::Place;

/// Takes a connection back into HTTP, with what was read of the next request.
pub type Back = Box<dyn FnOnce(TcpStream, Place, Bytes) + Send>;

/// A client.
pub struct Client {
    /// Its socket.
    pub socket: TcpStream,
    /// What it sent behind its request.
    pub early: Bytes,
    /// Its place among the connections.
    pub place: Place,
    /// Takes the connection back after the answer's end.
    pub back: Back,
}
