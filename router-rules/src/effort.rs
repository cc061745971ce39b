//! What looking at one text may cost, and how deep it may lead.
//!
//! An event loop serves many clients, so no text may hold it up or overflow its stack, whatever stands in
//! it and whatever the catalog holds. All that reads, walks, looks up or recurses pays from one purse per
//! text, in steps that are counted and not timed, so that the same text fares the same everywhere. Once the
//! purse is empty, or something leads too deep, the text is given up: nothing is known of it
//! ([`Reason::TooComplex`]).

use crate::reason::Reason;
use std::cell::{Cell, RefCell};

/// Steps that any text may take: enough to look into the views and functions of a large schema once, after
/// which the snapshot remembers the outcome.
const STEPS_MIN: usize = 400_000;
/// Steps for each byte of the text beside those.
const STEPS_PER_BYTE: usize = 4;
/// Steps that no text exceeds: some 15 milliseconds of a slow core.
pub(crate) const STEPS_MAX: usize = 1_400_000;

/// How deep statements, views, functions and types may lead into one another, all taken together. Each level
/// takes a few kilobytes of stack in a debug build.
pub(crate) const LEVELS_MAX: usize = 100;

/// The purse of one text.
#[derive(Debug)]
pub(crate) struct Effort {
    steps_max: usize,
    steps: Cell<usize>,
    levels: Cell<usize>,
    gave_up: Cell<bool>,
    doubt: Cell<bool>,
    /// What is being looked into, outermost first.
    under_way: RefCell<Vec<(u32, u64)>>,
    /// The outermost of these that something further in was taken to be harmless by.
    assumed: Cell<usize>,
}

impl Effort {
    /// For a text of so many bytes.
    pub fn on(bytes: usize) -> Self {
        let steps_max = STEPS_MIN.saturating_add(bytes.saturating_mul(STEPS_PER_BYTE)).min(STEPS_MAX);
        Self {
            steps_max,
            steps: Cell::new(0),
            levels: Cell::new(0),
            gave_up: Cell::new(false),
            doubt: Cell::new(false),
            under_way: RefCell::default(),
            assumed: Cell::new(usize::MAX),
        }
    }

    /// It leads to itself: then it does what the rest of it does, and that is being found out.
    pub fn leads_to_itself(&self, what: (u32, u64)) -> bool {
        let at = self.under_way.borrow().iter().position(|known| *known == what);
        if let Some(at) = at {
            self.assumed.set(self.assumed.get().min(at));
        }
        at.is_some()
    }

    /// It is being looked into from now on.
    pub fn enter(&self, what: (u32, u64)) {
        self.under_way.borrow_mut().push(what);
    }

    /// The last that was entered has been looked into. False where what was found out hangs on something that it is
    /// a part of.
    pub fn leave(&self) -> bool {
        let mut under_way = self.under_way.borrow_mut();
        under_way.pop();
        let stands_alone = self.assumed.get() >= under_way.len();
        if stands_alone {
            self.assumed.set(usize::MAX);
        }
        stands_alone
    }

    /// Takes so many steps.
    ///
    /// # Errors
    /// When that is too many: the text is given up.
    pub fn take(&self, steps: usize) -> Result<(), Reason> {
        let taken = self.steps.get().saturating_add(steps);
        self.steps.set(taken);
        if taken > self.steps_max {
            self.gave_up.set(true);
        }
        if self.gave_up.get() { Err(Reason::TooComplex) } else { Ok(()) }
    }

    /// One level deeper, until what it returns is dropped.
    ///
    /// # Errors
    /// When that is too deep: the text is given up.
    pub fn deeper(&self) -> Result<Level<'_>, Reason> {
        self.take(1)?;
        if self.levels.get() >= LEVELS_MAX {
            self.gave_up.set(true);
            return Err(Reason::TooComplex);
        }
        self.levels.set(self.levels.get() + 1);
        Ok(Level(self))
    }

    /// One level deeper into the catalog. What leads too deep there is not proved, and the text that only passes by
    /// is not given up for it.
    ///
    /// # Errors
    /// When that is too deep, or the text was given up.
    pub fn look_deeper(&self) -> Result<Level<'_>, Reason> {
        self.take(1)?;
        if self.levels.get() >= LEVELS_MAX {
            return Err(Reason::TooLarge);
        }
        self.levels.set(self.levels.get() + 1);
        Ok(Level(self))
    }

    /// It was too much: what has been found out is not all.
    pub fn gave_up(&self) -> bool {
        self.gave_up.get()
    }

    /// It came by something of which the catalog does not know any more what it is: what was found out does
    /// not count.
    pub fn meet_doubt(&self) {
        self.doubt.set(true);
    }

    /// What has been found out so far holds, and is all.
    pub fn is_certain(&self) -> bool {
        !self.gave_up.get() && !self.doubt.get()
    }

    /// Whether it met a doubt; that is forgotten.
    pub fn take_doubt(&self) -> bool {
        self.doubt.take()
    }

    /// The steps taken so far.
    pub fn steps(&self) -> usize {
        self.steps.get()
    }
}

/// One level of nesting.
#[derive(Debug)]
pub(crate) struct Level<'e>(&'e Effort);

impl Drop for Level<'_> {
    fn drop(&mut self) {
        self.0.levels.set(self.0.levels.get() - 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_given_up_when_it_takes_too_many_steps_or_leads_too_deep() {
        let effort = Effort::on(1_000);
        assert!(effort.take(STEPS_MIN).is_ok() && effort.take(1_000 * STEPS_PER_BYTE).is_ok());
        assert!(effort.take(1).is_err() && effort.gave_up());
        assert!(effort.deeper().is_err());

        let effort = Effort::on(0);
        let levels: Vec<_> = (0..LEVELS_MAX).map(|_| effort.deeper()).collect();
        assert!(levels.iter().all(Result::is_ok) && effort.deeper().is_err());
        drop(levels);
        assert!(effort.gave_up() && effort.take(1).is_err());

        let effort = Effort::on(0);
        let levels: Vec<_> = (0..LEVELS_MAX).map(|_| effort.look_deeper()).collect();
        assert!(effort.look_deeper().is_err());
        drop(levels);
        assert!(!effort.gave_up() && effort.look_deeper().is_ok());
    }

    #[test]
    fn levels_that_end_make_room_for_others() {
        let effort = Effort::on(0);
        for _ in 0..10 * LEVELS_MAX {
            assert!(effort.deeper().is_ok());
        }
        assert!(!effort.gave_up());
    }

    #[test]
    fn no_text_takes_more_than_the_most() {
        let effort = Effort::on(usize::MAX);
        assert!(effort.take(STEPS_MAX).is_ok());
        assert!(effort.take(1).is_err());
    }
}
