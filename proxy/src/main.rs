//! The program.

use mimalloc::MiMalloc;
use pgweir::STACK_BYTES;
use std::process::ExitCode;
use std::thread::JoinHandle;

/// Sessions allocate on one event loop and free on another; glibc's arenas grow under that.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    // What the system gives the first thread is for the shell that started us to say.
    let thread = std::thread::Builder::new().name("pgweir".into()).stack_size(STACK_BYTES);
    match thread.spawn(pgweir::command::main).map(JoinHandle::join) {
        Ok(Ok(code)) => code,
        // The panic has been reported.
        Ok(Err(_)) => ExitCode::from(101),
        Err(error) => {
            eprintln!("pgweir: its main thread cannot be started: {error}");
            ExitCode::FAILURE
        }
    }
}
