//! Positions of the cluster in a session's settings: `SET pgweir.min_lsn`, `SHOW pgweir.lsn`.

use crate::session::Session;
use crate::session::work::Work;
use crate::wire::{Refusal, sqlstate};
use router_rules::SessionEffect;
use std::time::Duration;

/// How long a position is waited for that the primary is to tell.
pub(super) const POSITION_WAIT: Duration = Duration::from_secs(1);

impl Session {
    /// `SET pgweir.min_lsn`: a position that this cluster can never reach is refused at once.
    pub(super) async fn check_position(&self, work: &Work) -> Result<(), Refusal> {
        for effect in
            work.parts.iter().filter(|p| !p.plain).flat_map(|p| &p.statements).flat_map(|s| &s.effects)
        {
            if let SessionEffect::Set { name, value: Some(value), .. } = effect
                && name == "pgweir.min_lsn"
                && let Ok(token) = value.parse()
            {
                let checked = Box::pin(self.weir.cluster.check_min_lsn(token, POSITION_WAIT)).await;
                checked.map_err(|message| Refusal::new(sqlstate::INVALID_PARAMETER_VALUE, message))?;
            }
        }
        Ok(())
    }
}
