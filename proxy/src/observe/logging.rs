//! One line per event on standard error, as text or JSON.

use crate::config::{LOG_VARIABLE, Log};
use std::io::IsTerminal;
use tracing::{Level, Metadata};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry, reload};

/// Changes what is logged.
pub struct Logging {
    filter: reload::Handle<EnvFilter, Registry>,
    fixed: bool,
}

impl Logging {
    /// Starts logging; once per process.
    ///
    /// # Errors
    /// When logging has been started before.
    pub fn start(config: &Log) -> Result<Self, tracing_subscriber::util::TryInitError> {
        let from_environment = std::env::var(LOG_VARIABLE).ok().filter(|v| !v.is_empty());
        let fixed = from_environment.is_some();
        let (filter, handle) =
            reload::Layer::new(parse(from_environment.as_deref().unwrap_or(&config.filter)));
        let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
        let registry = tracing_subscriber::registry().with(filter).with(filter_fn(may_be_told));
        if config.json {
            registry.with(lines.json().flatten_event(true)).try_init()?;
        } else {
            registry.with(lines.with_ansi(wants_colour())).try_init()?;
        }
        Ok(Self { filter: handle, fixed })
    }

    /// A reload: the levels change at once, unless the environment fixes them.
    pub fn apply(&self, config: &Log) {
        if !self.fixed {
            // An error says that logging has ended: nothing left to change.
            let _ = self.filter.reload(parse(&config.filter));
        }
    }
}

/// Colours are for terminals, and not for everybody: <https://no-color.org>.
fn wants_colour() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()) && std::io::stderr().is_terminal()
}

/// What libraries say of what passes through them is nobody's business: a parser prints SQL, an HTTP server
/// tokens, however detailed a log is asked for.
fn may_be_told(line: &Metadata<'_>) -> bool {
    let is_ours = ["pgweir", "router_rules"].iter().any(|name| {
        let rest = line.target().strip_prefix(name);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
    });
    is_ours || *line.level() <= Level::INFO
}

/// Both are checked with the configuration; what cannot be parsed all the same is left out.
fn parse(filter: &str) -> EnvFilter {
    EnvFilter::builder().with_default_directive(tracing::Level::INFO.into()).parse_lossy(filter)
}
