//! The plans that a server's process has kept for functions, and under which settings it made them.
//!
//! What a function runs is planned when it runs for the first time, and `timestamptz '2024-01-01'` in it is a
//! moment from then on: that of the time zone of then. On a direct connection that is the client's own; on a
//! server that is shared it may be another's. So a server that goes from one to the other throws its plans away.
//!
//! <https://www.postgresql.org/docs/current/sql-discard.html>

/// Under which settings plans were made, by [`router_rules::session::Settings::plans`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Planned {
    /// There are none.
    #[default]
    Nothing,
    /// All of them under these.
    Under(u64),
    /// Some under these and some under those.
    Mixed,
}

/// Throws them away; those of prepared statements, too, which are made again by who runs them.
pub const DISCARD: &str = "DISCARD PLANS";

impl Planned {
    /// Who runs functions under `plans`, or where that is not certain, under several, may meet what was planned
    /// under others.
    pub fn is_strange_to(self, plans: Option<u64>) -> bool {
        match (self, plans) {
            (Self::Nothing, _) => false,
            (Self::Under(before), Some(plans)) => before != plans,
            _ => true,
        }
    }

    /// Something that may run functions runs under `plans`, or, where that is not certain, under several.
    pub fn ran(&mut self, plans: Option<u64>) {
        *self = match (*self, plans) {
            (Self::Nothing, Some(plans)) => Self::Under(plans),
            (Self::Under(before), Some(plans)) if before == plans => return,
            _ => Self::Mixed,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plans_are_ones_own_only_where_all_were_made_under_the_same_settings() {
        let mut planned = Planned::default();
        assert!(!planned.is_strange_to(Some(1)));
        planned.ran(Some(1));
        planned.ran(Some(1));
        assert!(!planned.is_strange_to(Some(1)) && planned.is_strange_to(Some(2)));
        planned.ran(Some(2));
        assert!(planned.is_strange_to(Some(1)) && planned.is_strange_to(Some(2)));
        let mut planned = Planned::default();
        planned.ran(None);
        assert!(planned.is_strange_to(Some(0)) && planned.is_strange_to(None));
    }
}
