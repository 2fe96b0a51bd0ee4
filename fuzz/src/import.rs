//! Configurations of nginx.

use std::cell::RefCell;
use std::fs::File;
use std::io::Write;
use std::os::fd::AsRawFd;

use fantail::nginx::import;
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};

thread_local! {
    static FILE: RefCell<File> = RefCell::new(memfd_create("nginx.conf", MemfdFlags::CLOEXEC).expect("a file").into());
}

/// One file that includes no other: what lies on this machine is none of its business.
pub fn run(bytes: &[u8]) {
    if bytes.windows(7).any(|word| word == b"include") {
        return;
    }
    FILE.with_borrow_mut(|file| {
        ftruncate(&*file, 0).expect("a file");
        std::io::Seek::rewind(file).expect("a file");
        file.write_all(bytes).expect("room");
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        match import(path.as_ref(), None) {
            Ok(import) => {
                // A whole configuration comes of it, or at least one that names what is missing.
                let _ = fantail::config::Config::from_toml(&import.toml);
                let _ = import.report.to_string();
            }
            Err(error) => drop(error.to_string()),
        }
    });
}
