//! Arguments, runtime, allocator, exit code; no logic.

use std::process::ExitCode;

use clap::Parser;
use fantail::cli::Cli;
use tokio::runtime::Builder;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

pub(crate) fn main() -> ExitCode {
    let cli = Cli::parse();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    // Threads that cannot run side by side only cost the ways of sharing work.
    let runtime = match threads {
        1 => Builder::new_current_thread().enable_all().build(),
        _ => Builder::new_multi_thread().worker_threads(threads).thread_name("fantail-http").enable_all().build(),
    };
    match runtime {
        Ok(runtime) => {
            let code = runtime.block_on(cli.run());
            // What still runs after a stop has had its time.
            runtime.shutdown_background();
            code
        }
        Err(error) => {
            eprintln!("error: cannot start the runtime: {error}");
            ExitCode::FAILURE
        }
    }
}
