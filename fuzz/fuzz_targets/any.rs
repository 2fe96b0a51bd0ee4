//! The target that `FANTAIL_FUZZ` names.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fantail_fuzz::named(bytes));
