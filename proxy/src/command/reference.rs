//! `pgweir reference`: what may stand in a configuration, and the role that goes with it.

use super::CommandLine;
use crate::config::reference;
use clap::CommandFactory;
use clap_complete::Shell;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The role's rights, as an operator may read them.
pub const ROLE_SQL: &str = include_str!("../../../deploy/config/pgweir-role.sql");

/// Arguments of `pgweir reference`.
#[derive(Debug, clap::Args)]
pub struct ReferenceArgs {
    /// In which form
    #[arg(long, value_enum, default_value_t = Form::Toml)]
    form: Form,
    /// Where manual pages go
    #[arg(long, value_name = "DIRECTORY", default_value = ".")]
    out: PathBuf,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Form {
    /// The commented file with every default
    Toml,
    /// The page of the documentation
    Markdown,
    /// A JSON schema, for editors
    Schema,
    /// The SQL that makes pgweir's role, for psql
    Role,
    /// Manual pages, one per subcommand, into the directory --out
    Man,
    /// Completions for bash
    Bash,
    /// Completions for zsh
    Zsh,
    /// Completions for fish
    Fish,
}

/// Prints it.
pub fn run(args: &ReferenceArgs) -> ExitCode {
    let text = match args.form {
        Form::Toml => reference::toml(),
        Form::Markdown => reference::markdown(),
        Form::Schema => reference::schema(),
        Form::Role => ROLE_SQL.to_owned(),
        Form::Man => return pages(&args.out),
        Form::Bash => return completions(Shell::Bash),
        Form::Zsh => return completions(Shell::Zsh),
        Form::Fish => return completions(Shell::Fish),
    };
    print!("{text}");
    ExitCode::SUCCESS
}

/// Writes `pgweir.1`, `pgweir-run.1`, …
fn pages(directory: &Path) -> ExitCode {
    match clap_mangen::generate_to(CommandLine::command(), directory) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}: {error}", directory.display());
            ExitCode::FAILURE
        }
    }
}

fn completions(shell: Shell) -> ExitCode {
    clap_complete::generate(shell, &mut CommandLine::command(), "pgweir", &mut std::io::stdout());
    ExitCode::SUCCESS
}
