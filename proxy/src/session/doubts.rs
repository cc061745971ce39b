//! What ran while the catalog was not known: judged once it is.
//!
//! Right after the schema has changed, or while the catalog cannot be read, nobody can say what a statement
//! leaves behind in its session. The session keeps its server, and the text, until a catalog has been read
//! that tells. What was added to the schema in between is in it; what takes something away before it was
//! read leaves the matter open for good.
//!
//! In the same way a text is kept that names what the catalog does not show: somebody may have made it a moment ago
//! who did not come this way. Once the catalog has been asked again it shows that, or there was nothing.

use crate::node::moment::Moment;
use crate::session::Session;
use crate::session::memory::Memory;
use crate::session::work::Work;
use crate::wire::backend::Status;
use bytes::Bytes;
use router_rules::PinReason;
use std::time::{Duration, Instant};

/// Between two looks of an idle client for the catalog.
pub const DOUBTED_FOR: Duration = Duration::from_millis(200);

/// So often a statement waits for the catalog that a rule would refuse without one: a quarter of a second each.
const CATALOG_WAITS: u32 = 8;

/// Texts that are kept; a session that ran more keeps its server.
const TEXTS_MAX: usize = 256;
/// And their bytes.
const TEXTS_BYTES_MAX: usize = 256 * 1024;

/// A session that has waited for catalogs so long within [`PATIENCE_WINDOW`], since it changes the schema all
/// the time, waits no more: its statements go to the primary, and it keeps its server meanwhile.
const PATIENCE: Duration = Duration::from_secs(2);
/// See there: a migration takes a tenth longer at most.
const PATIENCE_WINDOW: Duration = Duration::from_secs(20);

/// How long a session has waited for catalogs lately.
#[derive(Debug, Default)]
pub(crate) struct Patience {
    since: Option<Instant>,
    spent: Duration,
}

impl Patience {
    /// It waits no more for now.
    pub(crate) fn is_over(&mut self, now: Instant) -> bool {
        let since = *self.since.get_or_insert(now);
        if now.duration_since(since) >= PATIENCE_WINDOW {
            *self = Self { since: Some(now), spent: Duration::ZERO };
        }
        self.spent >= PATIENCE
    }

    /// It has waited.
    pub(crate) fn spend(&mut self, waited: Duration) {
        self.spent += waited;
    }
}

/// The texts in doubt.
#[derive(Debug, Default)]
pub struct Doubts {
    texts: Vec<Bytes>,
    bytes: usize,
}

/// The texts that name what the catalog does not show.
#[derive(Debug, Default)]
pub struct Strangers {
    texts: Doubts,
    /// The last of them has been answered: all that it may have met was there by then.
    answered: Option<Moment>,
}

impl Doubts {
    /// One more; false when that is too much.
    fn add(&mut self, text: &[u8]) -> bool {
        if self.texts.iter().any(|known| known == text) {
            return true;
        }
        self.bytes += text.len();
        if self.texts.len() >= TEXTS_MAX || self.bytes > TEXTS_BYTES_MAX {
            return false;
        }
        // It may be kept for long: what was read with it must not.
        self.texts.push(Bytes::copy_from_slice(text));
        true
    }
}

impl Session {
    /// While its catalog is being read, a statement that a rule would refuse for what it might work on waits
    /// for a moment. True when there is a catalog that there was not before.
    pub(super) async fn catalog_comes_for_rule(&mut self) -> bool {
        let is_known = self.memory.scope.catalog.as_ref().is_some_and(|catalog| catalog.doubts().is_empty());
        if is_known || self.memory.state.altered.changes_meanings() {
            return false;
        }
        for _ in 0..CATALOG_WAITS {
            if self.weir.cluster.catalog_comes(&self.client.who.database).await {
                return true;
            }
        }
        false
    }

    /// It keeps its server until the catalog tells, and could let it go.
    pub(super) fn is_held_by_doubts(&self) -> bool {
        let pins = &self.memory.state.pins;
        (pins.has(PinReason::NoCatalog) || pins.has(PinReason::UnknownNames))
            && self.memory.status == Status::Idle
            && self.exchange.ledger.is_settled()
            && !self.exchange.is_open()
    }

    /// With a catalog, what ran without one is looked at again.
    pub(super) fn settle_doubts(&mut self) {
        if self.memory.state.pins.is_empty() || !self.is_held_by_doubts() {
            return;
        }
        self.refresh_scope();
        if self.memory.scope.catalog.is_none() {
            return;
        }
        if self.memory.state.pins.has(PinReason::UnknownNames) {
            self.settle_strangers();
        }
        if !self.memory.state.pins.has(PinReason::NoCatalog) {
            return;
        }
        let doubts = std::mem::take(&mut self.memory.doubts);
        self.memory.state.pins.remove(PinReason::NoCatalog);
        for text in &doubts.texts {
            for pin in self.weir.classifier.left_behind(text, &self.memory.scope) {
                self.memory.take_over(pin, text);
            }
        }
    }

    /// What named things unknown is looked at again, once the catalog has been asked since.
    fn settle_strangers(&mut self) {
        let answered = *self.memory.strangers.answered.get_or_insert_with(|| self.weir.cluster.now());
        if self.weir.cluster.catalog_proved(&self.client.who.database) <= answered {
            return;
        }
        let has_succeeded = self.memory.state.pins.names_are_known();
        for text in &std::mem::take(&mut self.memory.strangers).texts.texts {
            for pin in self.weir.classifier.left_behind(text, &self.memory.scope) {
                match pin {
                    // There is nothing of that name: it has failed, or that has gone again.
                    PinReason::UnknownNames if !has_succeeded => {}
                    PinReason::UnknownNames => self.memory.state.pin(PinReason::MayHaveChanged),
                    pin => self.memory.take_over(pin, text),
                }
            }
        }
    }
}

impl Memory {
    /// A text that ran earlier has turned out to leave this behind.
    fn take_over(&mut self, pin: PinReason, text: &[u8]) {
        match pin {
            // The catalog in sight does not tell yet.
            PinReason::NoCatalog => {
                self.state.pin(pin);
                self.doubts.add(text);
            }
            PinReason::SequenceState => self.state.pins.sequences = true,
            // That was clear from the text alone.
            PinReason::ServerProcess => {}
            pin => self.state.pin(pin),
        }
    }

    /// Those of before count no more, once nothing keeps the server for them.
    pub(super) fn forget_strangers(&mut self) {
        if !self.state.pins.has(PinReason::UnknownNames) {
            self.strangers = Strangers::default();
        }
    }

    /// The work is on its way to the server.
    pub(super) fn note_doubts(&mut self, work: &Work) {
        for (part, text) in work.parts.iter().zip(&work.texts) {
            let replaces = part.statements.iter().any(|statement| statement.replaces);
            let doubted = part.statements.iter().any(|statement| statement.is_doubtful());
            let hidden = replaces && !self.doubts.texts.is_empty();
            if hidden || (doubted && !self.doubts.add(text)) {
                self.state.pin(PinReason::Unfollowable);
            }
            let strange = part.statements.iter().any(|statement| statement.meets_strangers());
            if strange {
                self.strangers.answered = None;
            }
            if (replaces && !self.strangers.texts.texts.is_empty())
                || (strange && !self.strangers.texts.add(text))
            {
                self.state.pin(PinReason::MayHaveChanged);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_ends_and_comes_back() {
        let (mut patience, start) = (Patience::default(), Instant::now());
        assert!(!patience.is_over(start));
        patience.spend(PATIENCE);
        assert!(patience.is_over(start + PATIENCE));
        assert!(!patience.is_over(start + PATIENCE_WINDOW));
        patience.spend(PATIENCE / 2);
        assert!(!patience.is_over(start + PATIENCE_WINDOW + PATIENCE));
    }
}
