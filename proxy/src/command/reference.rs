//! `pgweir reference`: what may stand in a configuration.

use crate::config::reference;
use std::process::ExitCode;

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
}

/// Prints it.
pub fn run(args: &ReferenceArgs) -> ExitCode {
    let text = match args.form {
        Form::Toml => reference::toml(),
        Form::Markdown => reference::markdown(),
        Form::Schema => reference::schema(),
    };
    print!("{text}");
    ExitCode::SUCCESS
}
