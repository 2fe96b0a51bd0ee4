//! The header of the PROXY protocol.

use std::cell::RefCell;

use fantail::listen::proxy_protocol::read;
use tokio::runtime::{Builder, Runtime};

thread_local! {
    static RUNTIME: RefCell<Runtime> = RefCell::new(Builder::new_current_thread().build().expect("a runtime"));
}

/// What is read is the beginning, however it comes.
pub fn run(bytes: &[u8]) {
    RUNTIME.with_borrow(|runtime| {
        let mut rest = bytes;
        if runtime.block_on(read(&mut rest)).is_ok() {
            assert!(bytes.ends_with(rest) && rest.len() < bytes.len());
            let mut more = [bytes, b"GET / HTTP/1.1\r\n"].concat();
            more.truncate(bytes.len() + 3);
            let mut behind = &more[..];
            assert!(runtime.block_on(read(&mut behind)).is_ok());
            assert_eq!(behind.len(), rest.len() + 3, "no more is read where there is more");
        }
    });
}
