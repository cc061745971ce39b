//! `pgweir reference`: what may stand in a configuration, and the role that goes with it.

use crate::config::reference;
use std::process::ExitCode;

/// The role's rights, as an operator may read them.
pub const ROLE_SQL: &str = include_str!("../../../deploy/config/pgweir-role.sql");

/// Arguments of `pgweir reference`.
#[derive(Debug, clap::Args)]
pub struct ReferenceArgs {
    /// In which form
    #[arg(long, value_enum, default_value_t = Form::Toml)]
    form: Form,
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
}

/// Prints it.
pub fn run(args: &ReferenceArgs) -> ExitCode {
    let text = match args.form {
        Form::Toml => reference::toml(),
        Form::Markdown => reference::markdown(),
        Form::Schema => reference::schema(),
        Form::Role => ROLE_SQL.to_owned(),
    };
    print!("{text}");
    ExitCode::SUCCESS
}
