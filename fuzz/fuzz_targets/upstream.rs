#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fantail_fuzz::upstream::run(bytes));
