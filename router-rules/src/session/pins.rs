//! What keeps a session on its server, one row per reason.

use crate::reason::PinReason;
use crate::statement::SessionEffect;

/// How a pin ends, and what it means meanwhile.
#[derive(Debug, PartialEq, Eq)]
pub struct Pin {
    /// Why.
    pub reason: PinReason,
    /// SQL, a boolean: asked of the server, it says whether the pin still has its cause.
    pub question: Option<&'static str>,
    /// DISCARD ALL does away with its cause.
    pub discarded: bool,
    /// A server can be cleaned of its cause, and go to others.
    pub cleaned: bool,
    /// Nothing is known to be there: others who wait for a server may have it, once it has said so.
    pub soft: bool,
    /// With it, a Parse may see what the same Parse of another session would not.
    pub hides: bool,
}

impl Pin {
    /// What most pins are: DISCARD ALL ends them, a server can be cleaned of them, nothing tells.
    const fn of(reason: PinReason) -> Self {
        Self { reason, question: None, discarded: true, cleaned: true, soft: false, hides: false }
    }

    const fn asked(reason: PinReason, question: &'static str) -> Self {
        Self { question: Some(question), ..Self::of(reason) }
    }

    /// The row of a reason.
    pub fn row(reason: PinReason) -> &'static Pin {
        &PINS[reason as usize]
    }

    /// Those of which the server can say whether they still have their cause.
    pub fn askable() -> impl Iterator<Item = (&'static Pin, &'static str)> {
        PINS.iter().filter_map(|pin| Some((pin, pin.question?)))
    }
}

/// In the order of [`PinReason`].
static PINS: [Pin; 14] = [
    Pin {
        hides: true,
        ..Pin::asked(
            PinReason::TemporaryTable,
            "EXISTS(SELECT FROM pg_catalog.pg_class WHERE relnamespace = pg_catalog.pg_my_temp_schema()) \
             OR EXISTS(SELECT FROM pg_catalog.pg_proc WHERE pronamespace = pg_catalog.pg_my_temp_schema()) \
             OR EXISTS(SELECT FROM pg_catalog.pg_type WHERE typnamespace = pg_catalog.pg_my_temp_schema())",
        )
    },
    Pin::asked(PinReason::Listen, "EXISTS(SELECT FROM pg_catalog.pg_listening_channels())"),
    Pin::asked(
        PinReason::AdvisoryLock,
        "EXISTS(SELECT FROM pg_catalog.pg_locks WHERE locktype = 'advisory' AND pid = pg_catalog.pg_backend_pid())",
    ),
    Pin::asked(PinReason::HoldCursor, "EXISTS(SELECT FROM pg_catalog.pg_cursors WHERE is_holdable)"),
    Pin::of(PinReason::NoCatalog),
    Pin::asked(
        PinReason::SqlPrepare,
        "EXISTS(SELECT FROM pg_catalog.pg_prepared_statements WHERE name OPERATOR(pg_catalog.!~) '^pgweir_[0-9a-f]+$' \
         AND name OPERATOR(pg_catalog.<>) '')",
    ),
    Pin { cleaned: false, ..Pin::of(PinReason::Load) },
    Pin::of(PinReason::SequenceState),
    Pin { soft: true, ..Pin::of(PinReason::ServerProcess) },
    Pin { cleaned: false, hides: true, ..Pin::of(PinReason::Unfollowable) },
    Pin { soft: true, ..Pin::of(PinReason::MayHaveChanged) },
    Pin { soft: true, ..Pin::of(PinReason::UnknownNames) },
    Pin { discarded: false, ..Pin::of(PinReason::Replication) },
    Pin { discarded: false, ..Pin::of(PinReason::SessionMode) },
];

/// The pins of one session.
#[derive(Debug, Default)]
pub struct Pins {
    reasons: Vec<PinReason>,
    /// It has named a sequence, and may ask what that gave it: the server is kept, and reads go elsewhere.
    pub sequences: bool,
    /// Something happened that may have ended what a pin is for.
    pub may_have_ended: bool,
    /// Something happened that may have changed what it listens to.
    pub may_listen: bool,
    /// Of what may have changed the session.
    changes: Changes,
}

/// What is known of that which may have changed the session.
#[derive(Debug, Default)]
struct Changes {
    /// It began with the transaction under way.
    under_way: bool,
    /// Its transaction was undone, and settings with it: what is left the server can tell.
    undone: bool,
    /// Something has succeeded that named what is not in the catalog.
    succeeded: bool,
}

impl Pins {
    /// Nothing keeps the session on its server.
    pub fn is_empty(&self) -> bool {
        self.reasons.is_empty()
    }

    /// One more.
    pub fn add(&mut self, reason: PinReason) {
        if !self.has(reason) {
            self.reasons.push(reason);
        }
    }

    /// This one has ended.
    pub fn remove(&mut self, reason: PinReason) {
        self.reasons.retain(|pin| *pin != reason);
    }

    /// All have ended.
    pub fn clear(&mut self) {
        self.reasons.clear();
    }

    /// This is one of them.
    pub fn has(&self, reason: PinReason) -> bool {
        self.reasons.contains(&reason)
    }

    /// The oldest, which operators are shown.
    pub fn first(&self) -> Option<PinReason> {
        self.reasons.first().copied()
    }

    /// There is this one, and no other.
    pub fn is_only(&self, reason: PinReason) -> bool {
        self.reasons == [reason]
    }

    /// There are some, and none but these.
    pub fn are_only(&self, reasons: &[PinReason]) -> bool {
        !self.is_empty() && self.reasons.iter().all(|pin| reasons.contains(pin))
    }

    /// There are some, and of none it is known that its cause is there.
    pub fn are_soft(&self) -> bool {
        !self.is_empty() && self.rows().all(|pin| pin.soft)
    }

    /// A server can be cleaned of all their causes.
    pub fn can_be_cleaned(&self) -> bool {
        self.rows().all(|pin| pin.cleaned)
    }

    /// A Parse may see what the same Parse of another session would not.
    pub fn hide(&self) -> bool {
        self.rows().any(|pin| pin.hides)
    }

    /// A statement is about to be sent that has this effect: what it pins, it pins even if it fails half-way.
    /// `in_doubt`: whether it has is not known yet, and the server is kept until it is.
    pub fn on_sent(&mut self, effect: &SessionEffect, in_doubt: bool) {
        match effect {
            SessionEffect::Pin(PinReason::SequenceState) => self.sequences |= !in_doubt,
            SessionEffect::Pin(reason) => {
                self.may_listen |= *reason == PinReason::Listen;
                // What an earlier transaction may have changed is not undone with this one.
                self.changes.under_way |= is_change(*reason) && !self.may_have_changed();
                self.add(*reason);
            }
            // UNLISTEN among others.
            SessionEffect::MayUnpin => self.may_listen = true,
            _ => {}
        }
    }

    /// A statement with this effect succeeded.
    pub fn on_effect(&mut self, effect: &SessionEffect) {
        match effect {
            SessionEffect::DiscardAll => {
                self.sequences = false;
                self.reasons.retain(|reason| !Pin::row(*reason).discarded);
            }
            SessionEffect::DeallocateAll
            | SessionEffect::Deallocate(_)
            | SessionEffect::DiscardSome
            | SessionEffect::MayUnpin => self.may_have_ended = true,
            SessionEffect::Pin(PinReason::UnknownNames) => self.changes.succeeded = true,
            _ => {}
        }
    }

    /// The transaction under way counts.
    pub fn on_commit(&mut self) {
        self.changes.under_way = false;
    }

    /// The transaction under way was undone, all that it did to the session with it, but for what is no
    /// transaction's.
    pub fn on_undone(&mut self) {
        self.changes.undone |= std::mem::take(&mut self.changes.under_way);
    }

    /// The catalog has been read anew, and tells of all that was named. True where something of that has succeeded.
    pub fn names_are_known(&mut self) -> bool {
        self.remove(PinReason::UnknownNames);
        std::mem::take(&mut self.changes.succeeded)
    }

    /// Something may have changed the session, and nobody knows what.
    pub fn may_have_changed(&self) -> bool {
        self.reasons.iter().any(|reason| is_change(*reason))
    }

    /// Nothing has, or that has been taken over.
    pub fn has_not_changed(&mut self) {
        self.reasons.retain(|reason| !is_change(*reason));
        self.changes = Changes::default();
    }

    /// The server has answered the questions of [`Pin::askable`], in their order.
    pub fn judge(&mut self, told: &[bool]) {
        for ((pin, _), is_there) in Pin::askable().zip(told) {
            if *is_there {
                self.add(pin.reason);
            } else {
                self.remove(pin.reason);
            }
        }
        if self.changes.undone {
            self.has_not_changed();
        }
    }

    fn rows(&self) -> impl Iterator<Item = &'static Pin> {
        self.reasons.iter().map(|reason| Pin::row(*reason))
    }
}

/// It may have changed the session, and nobody knows how.
fn is_change(reason: PinReason) -> bool {
    matches!(reason, PinReason::MayHaveChanged | PinReason::UnknownNames)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_began_with_a_transaction_is_undone_with_it() {
        use PinReason::{MayHaveChanged, UnknownNames};
        let sent = |pins: &mut Pins, reason| pins.on_sent(&SessionEffect::Pin(reason), false);
        let nothing = vec![false; Pin::askable().count()];
        let mut fresh = Pins::default();
        sent(&mut fresh, UnknownNames);
        sent(&mut fresh, MayHaveChanged);
        fresh.on_undone();
        fresh.judge(&nothing);
        assert!(fresh.is_empty());
        let mut earlier = Pins::default();
        sent(&mut earlier, MayHaveChanged);
        earlier.on_commit();
        sent(&mut earlier, UnknownNames);
        earlier.on_undone();
        earlier.judge(&nothing);
        assert!(earlier.has(MayHaveChanged));
    }

    fn pins(reasons: &[PinReason]) -> Pins {
        let mut pins = Pins::default();
        reasons.iter().for_each(|reason| pins.add(*reason));
        pins
    }

    #[test]
    fn each_reason_has_its_row() {
        for reason in PinReason::ALL {
            assert_eq!(Pin::row(*reason).reason, *reason);
        }
        assert_eq!(PINS.len(), PinReason::ALL.len());
    }

    #[test]
    fn discard_all_ends_what_the_session_has_made_and_not_what_it_is() {
        let mut pins = pins(PinReason::ALL);
        pins.on_effect(&SessionEffect::DiscardAll);
        assert!(pins.are_only(&[PinReason::Replication, PinReason::SessionMode]));
    }

    #[test]
    fn a_pin_is_soft_only_where_all_are() {
        assert!(!pins(&[]).are_soft());
        assert!(pins(&[PinReason::ServerProcess, PinReason::MayHaveChanged]).are_soft());
        assert!(!pins(&[PinReason::ServerProcess, PinReason::Listen]).are_soft());
    }

    #[test]
    fn a_sequence_pins_nothing_and_is_remembered_once_it_is_certain() {
        let (mut pins, names_one) = (Pins::default(), SessionEffect::Pin(PinReason::SequenceState));
        pins.on_sent(&names_one, true);
        assert!(!pins.sequences);
        pins.on_sent(&names_one, false);
        assert!(pins.sequences && pins.is_empty());
    }

    #[test]
    fn what_the_server_says_is_there_pins_and_what_it_does_not_ends() {
        let mut pins = pins(&[PinReason::Listen, PinReason::Unfollowable]);
        pins.judge(&[true, false, false, false, false]);
        assert!(pins.are_only(&[PinReason::TemporaryTable, PinReason::Unfollowable]));
        assert_eq!(Pin::askable().count(), 5);
    }

    #[test]
    fn a_server_is_not_cleaned_of_what_it_has_loaded() {
        assert!(pins(&[PinReason::Listen, PinReason::TemporaryTable]).can_be_cleaned());
        assert!(!pins(&[PinReason::Listen, PinReason::Load]).can_be_cleaned());
    }
}
