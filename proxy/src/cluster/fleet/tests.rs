//! Rules of a fleet, and a simulated one whose members come, go, are cut off and are slow.

use super::*;

const MS: u64 = 1_000_000;
const NOW: Moment = Moment(1_000_000 * MS);

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn sibling(number: u32, claims: bool) -> Sibling {
    Sibling { number, claims, ..Sibling::default() }
}

#[test]
fn a_read_needs_its_own_moment_unless_this_one_is_alone() {
    let fleet = Fleet::default();
    assert_eq!(fleet.needed_for(NOW), NOW, "nobody has looked");
    fleet.rely(NOW, NOW.plus(ms(1)));
    let heard = NOW.plus(ms(1));
    assert_eq!(fleet.needed_for(NOW.plus(ms(5))), heard, "what came before is not forgotten");
    assert_eq!(
        fleet.needed_for(NOW.plus(FLEET_LEASE)),
        NOW.plus(FLEET_LEASE),
        "a look does not count for ever"
    );
    fleet.rely(NOW.plus(ms(500)), NOW.plus(ms(501)));
    assert_eq!(fleet.needed_for(NOW.plus(FLEET_LEASE)), heard, "without a gap nobody came in between");
    let late = NOW.plus(FLEET_LEASE * 3);
    fleet.rely(late, late.plus(ms(1)));
    assert_eq!(fleet.needed_for(late), late.plus(ms(1)), "in a gap somebody may have");
    fleet.doubt();
    assert_eq!(fleet.needed_for(late), late);
}

#[test]
fn without_a_primary_only_one_that_was_alone_goes_on() {
    let fleet = Fleet::default();
    fleet.cut_off();
    let later = NOW.plus(FLEET_LEASE * 10);
    assert_eq!(fleet.needed_for(later), later);
    fleet.rely(NOW, NOW);
    fleet.cut_off();
    assert_eq!(fleet.needed_for(later), NOW);
    fleet.doubt();
    fleet.cut_off();
    assert_eq!(fleet.needed_for(later), later);
}

#[test]
fn aloneness_is_claimed_before_it_is_relied_on_and_given_up_before_the_claim() {
    let after = |is_alone, claims, met| Step::after(is_alone, claims, met, NOW);
    assert_eq!(after(true, false, Moment::NEVER), Step::Claim);
    assert_eq!(after(true, true, Moment::NEVER), Step::Rely);
    assert_eq!(after(false, true, NOW), Step::Renounce);
    assert_eq!(after(false, false, NOW), Step::Share);
    assert_eq!(after(true, false, NOW.minus(ms(9_000))), Step::Share, "it may come back");
    assert_eq!(after(true, false, NOW.minus(FLEET_CALM)), Step::Claim);
}

fn seen(others: &[Sibling], watchers: &[u32]) -> Seen {
    Seen { others: others.to_vec(), watchers: watchers.to_vec() }
}

/// A node that was started then and has been a primary since.
fn started(ago: u64) -> Option<Settled> {
    Some(Settled { primary: ms(ago), up: ms(ago + 50) })
}

/// A replica of old that was promoted then.
fn promoted(ago: u64) -> Option<Settled> {
    Some(Settled { primary: ms(ago), up: Duration::from_secs(3600) })
}

#[test]
fn one_that_comes_waits_until_each_that_claimed_has_seen_it() {
    let settled = started(3_600_000);
    let newcomer = |others: &[Sibling]| Newcomer::new(&seen(others, &[]), settled, Moment::NEVER, NOW);
    assert!(newcomer(&[]).is_known(&seen(&[], &[]), NOW));
    assert!(newcomer(&[sibling(7, false)]).is_known(&seen(&[sibling(7, false)], &[]), NOW));
    let second = newcomer(&[sibling(7, true)]);
    assert!(!second.is_known(&seen(&[sibling(7, true)], &[]), NOW.plus(ms(1_999))));
    assert!(second.is_known(&seen(&[sibling(7, false)], &[]), NOW.plus(ms(1))), "it has been seen");
    assert!(!second.is_known(&seen(&[], &[]), NOW.plus(ms(1_999))), "a lost connection is no sign of it");
    let late = NOW.plus(FLEET_LEASE);
    assert!(second.is_known(&seen(&[sibling(7, true)], &[]), late), "its looks count no more");
}

#[test]
fn a_primary_that_has_just_become_one_may_not_show_all() {
    let nobody = seen(&[], &[]);
    let young = |last| Newcomer::new(&nobody, started(500), last, NOW);
    let waits = young(Moment::NEVER);
    assert!(!waits.is_known(&nobody, NOW.plus(ms(1_499))) && waits.is_known(&nobody, NOW.plus(ms(1_500))));
    assert!(young(NOW.minus(ms(4_999))).is_known(&nobody, NOW), "nobody has claimed anything meanwhile");
    assert!(!young(NOW.minus(FLEET_REMEMBERS)).is_known(&nobody, NOW));
    let hidden = Newcomer::new(&nobody, None, Moment::NEVER, NOW);
    assert!(
        !hidden.is_known(&nobody, NOW.plus(ms(1_999))) && hidden.is_known(&nobody, NOW.plus(FLEET_LEASE))
    );
}

#[test]
fn a_replica_that_was_promoted_shows_who_has_to_come_yet() {
    let newcomer = |at_first: &Seen| Newcomer::new(at_first, promoted(100), Moment::NEVER, NOW);
    let nobody = seen(&[], &[]);
    let alone = newcomer(&nobody);
    assert!(!alone.is_known(&nobody, NOW.plus(ms(299))), "one may be about to come back");
    assert!(alone.is_known(&nobody, NOW.plus(ms(300))));
    let watched = seen(&[], &[7]);
    let one_of_two = newcomer(&watched);
    assert!(!one_of_two.is_known(&watched, NOW.plus(ms(1_999))), "that one may rely on being alone");
    assert!(!one_of_two.is_known(&seen(&[sibling(7, true)], &[7]), NOW.plus(ms(1_999))));
    assert!(one_of_two.is_known(&seen(&[sibling(7, false)], &[7]), NOW.plus(ms(300))));
    assert!(one_of_two.is_known(&watched, NOW.plus(FLEET_LEASE)), "none of its looks counts any more");
    let settled = Newcomer::new(&watched, promoted(5_000), Moment::NEVER, NOW);
    assert!(settled.is_known(&watched, NOW), "whoever has not registered by then does not serve");
}

/// What the primary's lock table holds of one process.
#[derive(Clone, Copy)]
struct Locks {
    number: u32,
    claims: bool,
}

/// What a process has asked the primary, and what came of it.
enum Asked {
    Register,
    Look { began: Moment, claimed: bool },
    Claim,
    Renounce,
}

/// A simulated pgweir: the rules of this module, driven as [`registration`] drives them.
struct Process {
    number: u32,
    fleet: Fleet,
    newcomer: Option<Newcomer>,
    serves: bool,
    claims: bool,
    asked: Asked,
    /// When the primary does it; when the answer is back.
    does_at: u64,
    back_at: u64,
    saw: Option<Vec<Sibling>>,
}

/// Virtual time in milliseconds, for a fleet whose members come and go.
struct World {
    dice: rand::rngs::StdRng,
    now: u64,
    locks: Vec<Locks>,
    processes: Vec<Process>,
    /// Who acknowledged something, and when.
    acknowledged: Vec<(u32, u64)>,
    reads_alone: u32,
}

impl World {
    fn moment(&self) -> Moment {
        Moment((1_000_000 + self.now) * MS)
    }

    /// Most answers are quick; some take very long.
    fn ask(&mut self, i: usize, asked: Asked, pause: u64) {
        use rand::Rng;
        let slow = if self.dice.random_bool(0.03) { 3_000 } else { 4 };
        let process = &mut self.processes[i];
        process.asked = asked;
        process.does_at = self.now + pause + self.dice.random_range(0..slow);
        process.back_at = process.does_at + self.dice.random_range(0..slow);
        process.saw = None;
    }

    fn begin(&mut self) {
        let number = new_number();
        self.processes.push(Process {
            number,
            fleet: Fleet::default(),
            newcomer: None,
            serves: false,
            claims: false,
            asked: Asked::Register,
            does_at: 0,
            back_at: 0,
            saw: None,
        });
        self.ask(self.processes.len() - 1, Asked::Register, 0);
    }

    fn tick(&mut self) {
        self.now += 1;
        for i in 0..self.processes.len() {
            if self.processes[i].saw.is_none() && self.processes[i].does_at <= self.now {
                self.done_by_primary(i);
            }
            if self.processes[i].saw.is_some() && self.processes[i].back_at <= self.now {
                self.answered(i);
            }
        }
    }

    fn done_by_primary(&mut self, i: usize) {
        let number = self.processes[i].number;
        match self.processes[i].asked {
            Asked::Register => self.locks.push(Locks { number, claims: false }),
            Asked::Look { .. } => {}
            Asked::Claim | Asked::Renounce => {
                let claims = matches!(self.processes[i].asked, Asked::Claim);
                self.locks.iter_mut().filter(|l| l.number == number).for_each(|l| l.claims = claims);
            }
        }
        let others = self.locks.iter().filter(|l| l.number != number);
        self.processes[i].saw = Some(others.map(|l| sibling(l.number, l.claims)).collect());
    }

    fn look(&mut self, i: usize, claimed: bool, pause: u64) {
        // The look begins when it is sent.
        let began = Moment((1_000_000 + self.now + pause) * MS);
        self.ask(i, Asked::Look { began, claimed }, pause);
    }

    fn answered(&mut self, i: usize) {
        let now = self.moment();
        let saw = self.processes[i].saw.take().unwrap_or_default();
        let process = &mut self.processes[i];
        match process.asked {
            Asked::Register => self.look(i, false, 0),
            Asked::Look { began, claimed } => {
                if !process.serves {
                    let saw = seen(&saw, &[]);
                    let newcomer = process
                        .newcomer
                        .get_or_insert_with(|| Newcomer::new(&saw, started(3_600_000), Moment::NEVER, now));
                    if !newcomer.is_known(&saw, now) {
                        return self.look(i, false, 20);
                    }
                    process.serves = true;
                    process.fleet.heard.raise(now);
                }
                if !saw.is_empty() {
                    process.fleet.met.raise(now);
                }
                let step = Step::after(saw.is_empty(), process.claims, process.fleet.met.get(), now);
                match step {
                    Step::Rely => {
                        process.fleet.rely(began, now);
                        self.look(i, true, 500);
                    }
                    Step::Claim => self.ask(i, Asked::Claim, 0),
                    Step::Renounce => {
                        process.fleet.doubt();
                        self.ask(i, Asked::Renounce, 0);
                    }
                    Step::Share => {
                        assert!(!claimed);
                        process.fleet.doubt();
                        self.look(i, false, 500);
                    }
                }
            }
            Asked::Claim => {
                process.claims = true;
                self.look(i, true, 0);
            }
            Asked::Renounce => {
                process.claims = false;
                self.look(i, false, 0);
            }
        }
    }

    fn read(&mut self, i: usize) {
        let (arrived, reader) = (self.moment(), &self.processes[i]);
        let needed = reader.fleet.needed_for(arrived);
        self.reads_alone += u32::from(needed != arrived);
        for (writer, at) in &self.acknowledged {
            let at = Moment((1_000_000 + at) * MS);
            let is_own = *writer == reader.number;
            assert!(
                is_own || at >= arrived || needed > at,
                "{at:?} missed by a read at {arrived:?}: {needed:?}"
            );
        }
    }

    /// Any of them dies, and its locks with it.
    fn end_one(&mut self) {
        use rand::Rng;
        let gone = self.processes.swap_remove(self.dice.random_range(0..self.processes.len()));
        self.locks.retain(|l| l.number != gone.number);
    }

    /// One that serves.
    fn anybody(&mut self) -> Option<usize> {
        use rand::Rng;
        let i = self.dice.random_range(0..self.processes.len().max(1));
        self.processes.get(i).is_some_and(|process| process.serves).then_some(i)
    }
}

#[test]
fn whoever_comes_and_goes_no_read_misses_what_another_has_acknowledged() {
    use rand::{Rng, SeedableRng};
    let mut reads_alone = 0;
    for seed in 0..60 {
        let dice = rand::rngs::StdRng::seed_from_u64(seed);
        let (locks, processes, acknowledged) = Default::default();
        let mut world = World { dice, now: 0, locks, processes, acknowledged, reads_alone: 0 };
        for _ in 0..40_000 {
            world.tick();
            let many = world.processes.len();
            if many == 0 || many < 3 && world.dice.random_bool(0.000_2) {
                world.begin();
            }
            if many > 1 && world.dice.random_bool(0.000_3) {
                world.end_one();
            }
            if world.dice.random_bool(0.1)
                && let Some(i) = world.anybody()
            {
                let written = (world.processes[i].number, world.now);
                world.acknowledged.push(written);
                // What is older is known to all, or was missed already.
                if world.acknowledged.len() > 200 {
                    world.acknowledged.drain(..100);
                }
            }
            if world.dice.random_bool(0.1)
                && let Some(i) = world.anybody()
            {
                world.read(i);
            }
        }
        reads_alone += world.reads_alone;
    }
    assert!(reads_alone > 10_000, "{reads_alone}: being alone was never relied on");
}
