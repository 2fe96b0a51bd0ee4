//! One request on a connection of its own, and its whole answer: for what is asked of a server beside the load. Blocks.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::answers::{Answer, Answers};

/// How long a server may take to send more of its answer.
const PATIENCE: Duration = Duration::from_secs(10);
const BUFFER: usize = 64 * 1024;

/// Sends a whole request, and reads its answer.
pub(crate) fn send(address: SocketAddr, request: &[u8]) -> io::Result<Answer> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(request)?;
    let (mut answers, mut buffer) = (Answers::default(), vec![0; BUFFER]);
    loop {
        let n = stream.read(&mut buffer)?;
        answers.push(&buffer[..n]);
        match answers.next(n == 0) {
            Ok(Some(answer)) => return Ok(answer),
            Ok(None) if n == 0 => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(None) => {}
            Err(why) => return Err(io::Error::new(ErrorKind::InvalidData, why)),
        }
    }
}

/// Asks for a path.
pub(crate) fn get(address: SocketAddr, path: &str) -> io::Result<Answer> {
    send(address, format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").as_bytes())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    /// Sends this to the first that comes, and closes the connection.
    fn serve(answer: &'static [u8]) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 1024];
            let n = stream.read(&mut request).unwrap();
            assert!(request[..n].starts_with(b"GET /x HTTP/1.1\r\n"));
            stream.write_all(answer).unwrap();
        });
        address
    }

    #[test]
    fn get_whole_answer_is_told_and_half_of_one_fails() {
        let answer = get(serve(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"), "/x").unwrap();
        assert_eq!((answer.status, answer.body), (200, b"ok".to_vec()));
        let half = get(serve(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok"), "/x");
        assert_eq!(half.unwrap_err().kind(), ErrorKind::UnexpectedEof);
    }
}
