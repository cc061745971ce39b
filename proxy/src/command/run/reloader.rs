//! A changed configuration, put in force as a whole or not at all.

use super::supervisor;
use crate::config::files::is_pipe;
use crate::config::reload::{Change, changes};
use crate::config::{Config, Mistake, Place};
use crate::listen::doors::{Bound, Doors};
use crate::net::tls::Acceptor;
use crate::observe::logging::Logging;
use crate::order::Reloaded;
use crate::weir::Weir;
use std::path::PathBuf;
use std::sync::Arc;

/// What a reload works on.
pub(super) struct Reloader<'l> {
    pub weir: Arc<Weir>,
    pub doors: Doors,
    pub path: PathBuf,
    pub logging: &'l Logging,
}

/// All of the new configuration that can fail, done and not in force yet.
struct Prepared {
    config: Config,
    acceptor: Option<Arc<Acceptor>>,
    bound: Bound,
}

impl Reloader<'_> {
    /// Reads the configuration again. With mistakes the old one stays; log, metric and answer say so.
    pub fn reload(&mut self) -> Reloaded {
        supervisor::reloading();
        let reloaded = self.prepare().map(|prepared| self.put_in_force(prepared));
        supervisor::ready(&self.weir);
        let (metrics, events) = (&self.weir.metrics, &self.weir.cluster.events);
        match &reloaded {
            Ok(changes) if changes.is_empty() => {
                metrics.reloaded("unchanged");
                tracing::info!("reload: nothing has changed");
            }
            Ok(changes) => {
                metrics.reloaded("applied");
                changes.iter().for_each(|change| tracing::info!(%change, "reload"));
                events.push("reload", "", summary(changes));
            }
            Err(mistakes) => {
                metrics.reloaded("refused");
                mistakes.iter().for_each(
                    |mistake| tracing::error!(%mistake, "reload refused, the old configuration stays"),
                );
                events.push(
                    "reload_refused",
                    "",
                    format!("{} mistakes; the old configuration stays", mistakes.len()),
                );
            }
        }
        reloaded
    }

    fn prepare(&mut self) -> Result<Prepared, Vec<Mistake>> {
        let mistake = |message: String| {
            let place = Place { file: self.path.display().to_string(), line: 1, column: 1 };
            Mistake { place, message }
        };
        if is_pipe(&self.path) {
            return Err(vec![mistake("is a pipe: what it said can be read only once".into())]);
        }
        let (config, warnings) = Config::load(&self.path)?;
        warnings.iter().for_each(|warning| tracing::warn!(%warning, "configuration"));
        let unusable = crate::command::loads::unusable(&config);
        if !unusable.is_empty() {
            return Err(unusable.into_iter().map(mistake).collect());
        }
        let acceptor = Acceptor::of(config.listen.tls.as_ref());
        let acceptor = acceptor.map_err(|e| vec![mistake(format!("listen.tls: {e}"))])?;
        let bound = self.doors.bind(&config);
        let bound = bound.map_err(|messages| messages.into_iter().map(mistake).collect::<Vec<_>>())?;
        Ok(Prepared { config, acceptor: acceptor.map(Arc::new), bound })
    }

    fn put_in_force(&mut self, prepared: Prepared) -> Vec<Change> {
        let Prepared { config, acceptor, bound } = prepared;
        let weir = &self.weir;
        let changes = changes(&weir.config.load(), &config);
        // Certificates may have changed where no key has.
        weir.acceptor.store(acceptor);
        if let Err(error) = weir.connector.apply(&config.cluster.tls) {
            tracing::error!(%error, "cluster.tls could not be read a second time: the old settings stay");
        }
        if changes.is_empty() {
            return changes;
        }
        let config = Arc::new(config);
        weir.config.store(config.clone());
        self.logging.apply(&config.log);
        weir.traces.apply(config.traces.as_ref());
        weir.cluster.apply(&config);
        weir.directory.apply(&config);
        weir.pools.apply(&config);
        weir.welcomes.clear();
        self.doors.open(bound, &config);
        changes
    }
}

/// Keys for the list of events; values are in the log.
fn summary(changes: &[Change]) -> String {
    const SHOWN: usize = 5;
    let mut keys: Vec<_> = changes.iter().take(SHOWN).map(|c| c.key.clone()).collect();
    if changes.len() > SHOWN {
        keys.push(format!("{} more", changes.len() - SHOWN));
    }
    keys.join(", ")
}
