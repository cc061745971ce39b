//! `pgweir health`: asks a running pgweir how it is, for container images without a shell.

use super::http;
use std::process::ExitCode;

/// Arguments of `pgweir health`.
#[derive(Debug, clap::Args)]
pub struct HealthArgs {
    /// What to ask: /healthz (does it live?) or /readyz (should clients be sent to it?)
    #[arg(long, default_value = "http://127.0.0.1:16432/readyz")]
    url: String,
}

/// Enough for a status line and one sentence.
const ANSWER_BYTES_MAX: u64 = 8 * 1024;

/// Exit code 0 if the answer is 200.
pub fn run(args: &HealthArgs) -> ExitCode {
    match http::get(&args.url, None, ANSWER_BYTES_MAX) {
        Ok((200, text)) => {
            println!("{text}");
            ExitCode::SUCCESS
        }
        Ok((status, text)) => {
            eprintln!("{status}: {text}");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("{}: {error}", args.url);
            ExitCode::FAILURE
        }
    }
}
