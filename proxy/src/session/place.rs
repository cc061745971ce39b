//! What the messages ahead in a batch make of a session, for those behind them.
//!
//! A batch is looked at before any of it runs. A Parse behind a SET, a DDL or a COMMIT in the same batch means
//! what it means *there*: so the effects of what is executed ahead of it are followed here, as if all went
//! well. If it does not, Postgres skips the rest of the batch, and the Parse with it.

use crate::session::memory::Memory;
use router_rules::session::context;
use router_rules::session::{Settings, Track};
use router_rules::statement::Kind;
use router_rules::{Classified, PinReason, SessionEffect};

/// A session as it will be at some place of a batch.
#[derive(Debug, Clone)]
pub struct Place {
    settings: Track,
    /// A Parse there may see what the same Parse of another session would not.
    sees_its_own: bool,
}

impl Place {
    /// The place at which the session is now.
    pub fn of(memory: &Memory) -> Self {
        Self { settings: memory.state.settings.clone(), sees_its_own: memory.state.sees_its_own() }
    }

    /// Whether a text leaves anything for those behind it to see.
    pub fn is_moved_by(text: &Classified) -> bool {
        !text.plain || text.statements.iter().any(|statement| statement.kind == Kind::Ddl)
    }

    /// The place behind this text.
    pub fn pass(&mut self, text: &Classified) {
        for statement in &text.statements {
            self.sees_its_own |= statement.kind == Kind::Ddl;
            for effect in &statement.effects {
                self.settings.on_effect(effect);
                self.sees_its_own |= match effect {
                    SessionEffect::SetToParameter { name, .. } => context::matters(name),
                    SessionEffect::Pin(PinReason::Unfollowable | PinReason::TemporaryTable) => true,
                    _ => false,
                };
            }
            if let Some(step) = &statement.transaction {
                self.settings.on_step(step);
            }
        }
    }

    /// The settings in force there.
    pub fn in_force(&self) -> &Settings {
        self.settings.in_force()
    }

    /// A Parse there may see what the same Parse of another session would not.
    pub fn sees_its_own(&self) -> bool {
        self.sees_its_own
    }
}
