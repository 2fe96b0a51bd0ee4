//! Arguments, runtime, allocator, exit code; no logic.

fn main() {}
