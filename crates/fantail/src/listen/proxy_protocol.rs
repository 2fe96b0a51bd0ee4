//! The header of the PROXY protocol, versions 1 and 2, with which a load balancer begins each connection and says whose it is.
//! Nothing beyond it is read. <https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt};

/// How version 2 begins. No request does.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// How version 1 begins.
const WORD: &[u8] = b"PROXY ";
/// The longest line of version 1, its end included.
const LONGEST_LINE: usize = 107;
/// The longest header of version 2 that is read, in bytes behind its first 16: addresses, and extensions that are skipped.
const LONGEST_BLOCK: usize = 4096;

/// Why a connection does not begin as it should.
#[derive(Debug, Error)]
pub enum HeaderError {
    /// It begins with something else.
    #[error("the connection does not begin with a header of the PROXY protocol")]
    Missing,
    /// A line of version 1.
    #[error("the line of the PROXY protocol is malformed")]
    Line,
    /// A version that there is not, or a command.
    #[error("version and command {0:#04x} of the PROXY protocol are unknown")]
    Command(u8),
    /// A family or transport that there is not.
    #[error("family and transport {0:#04x} of the PROXY protocol are unknown")]
    Family(u8),
    /// The length of version 2 does not fit.
    #[error("a header of the PROXY protocol says {0} bytes, which is too many or too few")]
    Length(usize),
    /// It ended too early.
    #[error("the connection ended within the header of the PROXY protocol")]
    Ended(#[from] io::Error),
}

/// Reads the header; the client's address, or `None` where the balancer speaks for itself or of somebody without one.
///
/// # Errors
/// [`HeaderError`]; then the connection is of no use.
pub async fn read(from: &mut (impl AsyncRead + Unpin)) -> Result<Option<SocketAddr>, HeaderError> {
    let mut start = [0; SIGNATURE.len()];
    from.read_exact(&mut start).await?;
    if start == SIGNATURE { binary(from).await } else { line(from, &start).await }
}

/// Version 1: byte for byte, since what follows belongs to somebody else.
async fn line(from: &mut (impl AsyncRead + Unpin), start: &[u8]) -> Result<Option<SocketAddr>, HeaderError> {
    if !start.starts_with(WORD) {
        return Err(HeaderError::Missing);
    }
    let mut line = start.to_vec();
    while !line.ends_with(b"\r\n") {
        if line.len() == LONGEST_LINE {
            return Err(HeaderError::Line);
        }
        line.push(from.read_u8().await?);
    }
    let line = std::str::from_utf8(&line[WORD.len()..line.len() - 2]).map_err(|_| HeaderError::Line)?;
    let mut words = line.split(' ');
    let family = words.next();
    if family == Some("UNKNOWN") {
        return Ok(None);
    }
    let (Some(source), Some(target), Some(port), Some(to), None) =
        (words.next(), words.next(), words.next(), words.next(), words.next())
    else {
        return Err(HeaderError::Line);
    };
    // The target is of no use here, and has to be right all the same.
    let (source, _target) = match family {
        Some("TCP4") => (address_of::<Ipv4Addr>(source)?, address_of::<Ipv4Addr>(target)?),
        Some("TCP6") => (address_of::<Ipv6Addr>(source)?, address_of::<Ipv6Addr>(target)?),
        _ => return Err(HeaderError::Line),
    };
    number(to)?;
    Ok(Some(SocketAddr::new(source, number(port)?)))
}

fn address_of<A: std::str::FromStr + Into<IpAddr>>(word: &str) -> Result<IpAddr, HeaderError> {
    word.parse::<A>().map(Into::into).map_err(|_| HeaderError::Line)
}

fn number(word: &str) -> Result<u16, HeaderError> {
    // Rust takes a plus sign, which the protocol does not.
    let digits = word.bytes().all(|byte| byte.is_ascii_digit());
    word.parse().ok().filter(|_| digits).ok_or(HeaderError::Line)
}

/// Version 2, behind its signature.
async fn binary(from: &mut (impl AsyncRead + Unpin)) -> Result<Option<SocketAddr>, HeaderError> {
    let mut fixed = [0; 4];
    from.read_exact(&mut fixed).await?;
    let [command, family, high, low] = fixed;
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length > LONGEST_BLOCK {
        return Err(HeaderError::Length(length));
    }
    let mut block = vec![0; length];
    from.read_exact(&mut block).await?;
    match command {
        // LOCAL: the balancer asks for itself, whatever else it says.
        0x20 => return Ok(None),
        0x21 => {}
        _ => return Err(HeaderError::Command(command)),
    }
    let source = match family {
        // TCP over IPv4: two addresses, two ports.
        0x11 => address::<4>(&block),
        // TCP over IPv6.
        0x21 => address::<16>(&block),
        // Unspecified, datagrams, and sockets of the balancer's own host.
        0x00 | 0x12 | 0x22 | 0x31 | 0x32 => return Ok(None),
        _ => return Err(HeaderError::Family(family)),
    };
    source.map(Some).ok_or(HeaderError::Length(length))
}

/// The source, from source, target, and the ports of both.
fn address<const N: usize>(block: &[u8]) -> Option<SocketAddr>
where
    [u8; N]: Into<IpAddr>,
{
    let (source, rest) = block.split_first_chunk::<N>()?;
    let (_, ports) = rest.split_first_chunk::<N>()?;
    let (ports, _) = ports.split_first_chunk::<4>()?;
    Some(SocketAddr::new((*source).into(), u16::from_be_bytes([ports[0], ports[1]])))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What was read, and what is left.
    fn read_all(bytes: &[u8]) -> (Result<String, String>, usize) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let mut rest = bytes;
        let read = runtime.block_on(read(&mut rest));
        let text = read.map(|client| client.map_or_else(|| "own".to_owned(), |client| client.to_string()));
        (text.map_err(|error| error.to_string()), rest.len())
    }

    fn v2(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
        let length = u16::try_from(block.len()).unwrap().to_be_bytes();
        [&SIGNATURE[..], &[command, family], &length, block, b"GET"].concat()
    }

    #[test]
    fn line_is_read_to_its_end_and_no_further() {
        for (line, client) in [
            ("PROXY TCP4 203.0.113.9 10.0.0.1 4711 443\r\n", "203.0.113.9:4711"),
            ("PROXY TCP6 2001:db8::9 fd00::1 4711 443\r\n", "[2001:db8::9]:4711"),
            ("PROXY UNKNOWN\r\n", "own"),
            ("PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", "own"),
        ] {
            assert_eq!(read_all(format!("{line}GET").as_bytes()), (Ok(client.to_owned()), 3), "{line}");
        }
    }

    #[test]
    fn line_that_is_none_is_refused() {
        let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(100));
        for line in [
            "PROXY TCP4 203.0.113.9 10.0.0.1 4711\r\n",
            "PROXY TCP4 203.0.113.9 10.0.0.1 4711 443 1\r\n",
            "PROXY TCP4  203.0.113.9 10.0.0.1 4711 443\r\n",
            "PROXY TCP4 2001:db8::9 fd00::1 4711 443\r\n",
            "PROXY TCP4 203.0.113.9 10.0.0.1 +1 443\r\n",
            "PROXY TCP4 203.0.113.9 10.0.0.1 65536 443\r\n",
            "PROXY TCP5 203.0.113.9 10.0.0.1 4711 443\r\n",
            "PROXY \r\n             \r\n",
            &long,
        ] {
            assert_eq!(read_all(line.as_bytes()).0, Err(HeaderError::Line.to_string()), "{line}");
        }
        assert_eq!(read_all(b"GET / HTTP/1.1\r\n\r\n").0, Err(HeaderError::Missing.to_string()));
        let ended = HeaderError::Ended(io::ErrorKind::UnexpectedEof.into()).to_string();
        for early in ["PROXY TCP4 203.0.113.9", "PROXY", "\r\n\r\n\0\r\nQUIT\n!"] {
            assert_eq!(read_all(early.as_bytes()).0, Err(ended.clone()), "{early}");
        }
    }

    #[test]
    fn binary_is_read_to_its_end_and_no_further() {
        let four = [203, 0, 113, 9, 10, 0, 0, 1, 0x12, 0x67, 1, 187];
        let mut six = [0; 36];
        six[..2].copy_from_slice(&[0x20, 1]);
        six[15] = 9;
        six[32..34].copy_from_slice(&[0x12, 0x67]);
        let extended = [&four[..], &[4, 0, 2, 7, 7]].concat();
        for (header, client) in [
            (v2(0x21, 0x11, &four), "203.0.113.9:4711"),
            (v2(0x21, 0x11, &extended), "203.0.113.9:4711"),
            (v2(0x21, 0x21, &six), "[2001::9]:4711"),
            (v2(0x20, 0x11, &four), "own"),
            (v2(0x20, 0, &[]), "own"),
            (v2(0x21, 0, &[1, 2, 3]), "own"),
            (v2(0x21, 0x31, &[0; 216]), "own"),
        ] {
            assert_eq!(read_all(&header), (Ok(client.to_owned()), 3), "{header:?}");
        }
    }

    #[test]
    fn binary_that_is_malformed_is_refused() {
        for (header, error) in [
            (v2(0x21, 0x11, &[0; 11]), HeaderError::Length(11)),
            (v2(0x21, 0x21, &[0; 35]), HeaderError::Length(35)),
            (v2(0x21, 0x11, &[0; LONGEST_BLOCK + 1]), HeaderError::Length(LONGEST_BLOCK + 1)),
            (v2(0x11, 0x11, &[0; 12]), HeaderError::Command(0x11)),
            (v2(0x22, 0x11, &[0; 12]), HeaderError::Command(0x22)),
            (v2(0x21, 0x13, &[0; 12]), HeaderError::Family(0x13)),
        ] {
            assert_eq!(read_all(&header).0, Err(error.to_string()), "{header:?}");
        }
    }
}
