//! Proxied streams that come and go by the thousand, ended at any moment from either side: nothing of them stays.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use socket2::SockRef;

use crate::client::Client;
use crate::relay::{EVENTS, LAST, chunk};
use crate::server::{PATIENCE, Process, eventually};

const CYCLES: usize = 20_000;
const AT_ONCE: usize = 8;
/// Far fewer than cycles: a place that is not given back is missed.
const PLACES: usize = 200;
/// What the allocator may keep by chance, in bytes.
const CHANCE: u64 = 16 << 20;

/// Who ends a cycle, and when. The path tells the upstream.
const PLANS: u8 = 8;

/// Reads to the end, whatever it is.
fn drain(mut socket: &TcpStream) {
    let mut room = [0; 4096];
    while matches!(socket.read(&mut room), Ok(1..)) {}
}

fn answer(mut socket: TcpStream) {
    socket.set_read_timeout(Some(PATIENCE)).ok();
    let mut head = Vec::new();
    let mut room = [0; 2048];
    while !head.windows(4).any(|bytes| bytes == b"\r\n\r\n") {
        match socket.read(&mut room) {
            Ok(got @ 1..) => head.extend_from_slice(&room[..got]),
            _ => return,
        }
    }
    // GET /N
    let plan = head[5] - b'0';
    let event = chunk("data: a\n\n");
    let said = match plan {
        0 | 7 => Vec::new(),
        1 | 5 | 6 => [EVENTS.as_bytes(), &event].concat(),
        2 => [EVENTS.as_bytes(), &event, LAST.as_bytes()].concat(),
        4 => [EVENTS.as_bytes(), &event, b"5\r\nda"].concat(),
        _ => return,
    };
    if socket.write_all(&said).is_err() || plan == 4 {
        return;
    }
    drain(&socket);
}

fn cycle(public: SocketAddr) {
    let plan = fastrand::u8(0..PLANS);
    let socket = TcpStream::connect(public).expect("a connection");
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    write!(&socket, "GET /{plan} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").expect("a server that reads");
    let reset = || SockRef::from(&socket).set_linger(Some(Duration::ZERO)).expect("a socket");
    match plan {
        // Before the head, perhaps before the upstream has even been called.
        0 => {}
        7 => {
            std::thread::sleep(Duration::from_micros(fastrand::u64(0..1_000)));
            reset();
        }
        1 | 5 | 6 => {
            let mut room = [0; 4096];
            assert!((&socket).read(&mut room).expect("a head") > 0);
            match plan {
                5 => reset(),
                6 => {
                    socket.shutdown(std::net::Shutdown::Write).expect("a connection");
                    drain(&socket);
                }
                _ => {}
            }
        }
        _ => drain(&socket),
    }
}

fn cycles(public: SocketAddr, count: usize) {
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| (0..count / AT_ONCE).for_each(|_| cycle(public)));
        }
    });
}

fn descriptors(server: &Process) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", server.pid())).expect("a process of our own").count()
}

fn resident(server: &Process) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).expect("a process of our own");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a size");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
}

fn metric(server: &Process, name: &str) -> u64 {
    let text = Client::connect(server.control).get("/metrics").text();
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("fantail_{name} "))).expect("a figure");
    line.parse().expect("a number")
}

fn busy(server: &Process) -> u64 {
    let stats = Client::connect(server.control).get("/stats").json();
    stats["upstreams"]["app"][0]["busy"].as_u64().unwrap_or_else(|| panic!("no busy server in {stats}"))
}

fn until_quiet(server: &Process) {
    eventually("no stream, connection or exchange is left", || {
        // The one that asks is a connection too.
        metric(server, "proxy_streams") == 0 && metric(server, "connections") <= 1 && busy(server) == 0
    });
}

#[test]
fn cycles_of_streams_leave_nothing_behind() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let upstream = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        while let Ok((socket, _)) = listener.accept() {
            std::thread::spawn(|| answer(socket));
        }
    });
    let server = Process::start(&format!(
        "[listen]\nconnections = {PLACES}\n[log]\nlevel = 'error'\n[upstream.app]\nservers = ['http://{upstream}']\nkeep = 0\n\
         [[route]]\npath = '/{{path...}}'\naction = 'proxy'\nupstream = 'app'\n"
    ));
    // The threads, and what they keep for themselves.
    cycles(server.public, CYCLES / 10);
    until_quiet(&server);
    let before = (descriptors(&server), resident(&server));
    cycles(server.public, CYCLES);
    until_quiet(&server);
    eventually("every socket is closed", || descriptors(&server) <= before.0);
    let grown = resident(&server).saturating_sub(before.1);
    println!("{CYCLES} cycles: {} descriptors, {grown} bytes more than before", descriptors(&server));
    assert!(grown < CHANCE, "{grown} bytes more");
    assert_eq!(metric(&server, "refused_connections_total"), 0, "every place was given back");
    assert!(metric(&server, "proxy_streams_begun_total") > CYCLES as u64 / 4);
}
