//! The program.

use mimalloc::MiMalloc;
use std::process::ExitCode;

/// Sessions allocate on one event loop and free on another; glibc's arenas grow under that.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    pgweir::command::main()
}
