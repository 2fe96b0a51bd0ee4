#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fantail_fuzz::proxy_protocol::run(bytes));
