//! The program.

use std::process::ExitCode;

fn main() -> ExitCode {
    pgweir::command::main()
}
