//! A soak: many clients do random session work, and each answer must be what a direct twin got.
//!
//! A *life* is one connection with a random [`script`]. Its script runs first on a connection straight
//! to the primary, the twin, and then through pgweir, among all the other clients; what both answer
//! must be equal, frame by frame. Whatever one client leaves on a server that another is given later
//! shows as a difference: half of what a script does is to look around.

pub mod script;

use crate::raw::{Frame, RawClient};
use crate::sql::Login;
use crate::weir::WeirBuilder;
use crate::{Cluster, HarnessError, Usage, Weir};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use script::{End, Script, Side, Step, Until};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

/// Connections straight to the primary at once.
const TWINS_MAX: usize = 24;
/// Places among the server's processes that a soak may come to use.
const PLACES: usize = 90;
/// Differences told in full.
const TOLD_MAX: usize = 5;
/// Cancel requests for one statement.
const CANCELS_MAX: usize = 3;
/// A client that gets no answer for so long is stuck.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often it is looked who keeps servers.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Classifications that pgweir may remember: little, so that this memory is full after a third of the time.
const CACHE: &str = "4MiB";
/// What the memory of the process may differ by after that, bytes: the allocator's moods.
const GROWTH_BYTES_MAX: u64 = 8 << 20;

/// What a soak is told.
#[derive(Clone, Debug)]
pub struct Options {
    /// Clients at once.
    pub clients: u32,
    /// For how long new lives begin.
    pub time: Duration,
    /// Longest pause between two steps.
    pub think: Duration,
    /// For repeatable scripts.
    pub seed: u64,
    /// Nothing but messages of the protocol in random order.
    pub only_chatter: bool,
}

/// What a soak has seen.
#[derive(Debug, Default)]
pub struct Report {
    /// Connections that lived to their end.
    pub lives: u64,
    /// Batches that were answered and compared.
    pub answers: u64,
    /// Differences, and clients that got no answer.
    pub faults: Vec<String>,
    /// Faults in all.
    pub faults_seen: u64,
    /// The longest that a client waited for an answer, and to what.
    pub longest: (Duration, String),
    /// Sessions that kept a server between transactions, by reason, on average; and those that waited.
    pub held: BTreeMap<String, f64>,
    /// Resident memory of pgweir when a third of the time was over, bytes.
    pub memory_early: u64,
    /// The same at the end.
    pub memory_late: u64,
}

impl Report {
    /// What is wrong, if anything.
    pub fn verdict(&self) -> Result<(), HarnessError> {
        if self.faults_seen > 0 {
            let told = self.faults.join("\n");
            return Err(HarnessError::failed(format!("{} faults, such as\n{told}", self.faults_seen)));
        }
        if self.memory_late > self.memory_early + GROWTH_BYTES_MAX {
            let (early, late) = (self.memory_early >> 20, self.memory_late >> 20);
            return Err(HarnessError::failed(format!("memory grew from {early} to {late} MiB")));
        }
        if self.answers == 0 {
            return Err(HarnessError::failed("nothing was compared"));
        }
        Ok(())
    }
}

/// What all clients share.
struct Stage {
    direct: Login,
    through: Login,
    twins: Mutex<usize>,
    twin_gone: Condvar,
    lives: AtomicU64,
    answers: AtomicU64,
    longest: Mutex<(Duration, String)>,
    faults: Mutex<(u64, Vec<String>)>,
}

/// Makes the tables that scripts work on.
pub fn prepare(cluster: &Cluster) -> Result<(), HarnessError> {
    cluster.app(cluster.primary()).sql(
        "CREATE TABLE IF NOT EXISTS soak_rows (client int, k int, v text, PRIMARY KEY (client, k)); \
         CREATE SEQUENCE IF NOT EXISTS soak_numbers",
    )?;
    cluster.node(cluster.primary()).superuser().sql(
        "DO $$ BEGIN CREATE ROLE helper; EXCEPTION WHEN duplicate_object THEN NULL; END $$; GRANT helper TO app",
    )?;
    cluster.app(cluster.primary()).sql(script::intent::SCHEMA)?;
    // The first temporary table in a place among the server's processes makes a schema, at which all of them read
    // their statements anew, the twins' as well: be it before.
    let mut places = (0..PLACES)
        .map(|_| RawClient::login(&cluster.app(cluster.primary())))
        .collect::<Result<Vec<_>, _>>()?;
    for place in &mut places {
        place.run("CREATE TEMP TABLE first (n int)")?;
    }
    drop(places);
    cluster.wait_caught_up()
}

/// A pgweir as a soak needs it: with few servers per node, for which clients wait patiently.
pub fn weir(cluster: &Cluster, servers: i64) -> WeirBuilder {
    Weir::builder(cluster)
        .set("pool.server_connections_max", servers)
        .set("pool.lease_wait", "60s")
        .set("pool.lease_wait_notice", "60s")
        .set("routing.cache_bytes_max", CACHE)
}

/// Runs a soak over a cluster that was [prepared](prepare).
pub fn run(cluster: &Cluster, weir: &Weir, options: &Options) -> Result<Report, HarnessError> {
    let stage = Stage {
        direct: cluster.app(cluster.primary()),
        through: weir.app(),
        twins: Mutex::new(0),
        twin_gone: Condvar::new(),
        lives: AtomicU64::new(0),
        answers: AtomicU64::new(0),
        longest: Mutex::default(),
        faults: Mutex::default(),
    };
    let began = Instant::now();
    let mut report = Report::default();
    std::thread::scope(|scope| {
        let stage = &stage;
        for client in 0..options.clients {
            std::thread::Builder::new()
                .stack_size(256 << 10)
                .spawn_scoped(scope, move || stage.client(client, options, began))
                .expect("a thread for a client");
        }
        let early = began + options.time / 3;
        let mut looks = 0.0;
        while began.elapsed() < options.time {
            std::thread::sleep(LOOK_EVERY);
            if report.memory_early == 0 && Instant::now() >= early {
                report.memory_early = Usage::of_tree(weir.pid()).resident_bytes;
            }
            // Under load an answer may be late: then this look is left out.
            let Ok(metrics) = weir.metrics() else { continue };
            looks += 1.0;
            let mut held = metrics.by_label("pgweir_pinned_sessions", "reason");
            held.insert("(waiting)".into(), metrics.sum("pgweir_clients", &[("state", "waiting")]));
            held.insert("(servers)".into(), metrics.sum("pgweir_server_connections", &[("state", "active")]));
            for (reason, count) in held {
                *report.held.entry(reason).or_default() += count;
            }
        }
        report.held.retain(|_, count| *count > 0.0);
        report.held.values_mut().for_each(|count| *count /= looks);
        report.memory_late = Usage::of_tree(weir.pid()).resident_bytes;
    });
    report.lives = stage.lives.into_inner();
    report.answers = stage.answers.into_inner();
    report.longest = stage.longest.into_inner().expect("no client panics");
    (report.faults_seen, report.faults) = stage.faults.into_inner().expect("no client panics");
    Ok(report)
}

/// Plays one script alone, as `client`, and tells what both sides answer to each step.
pub fn replay(
    cluster: &Cluster,
    weir: &Weir,
    client: u32,
    seed: u64,
    only_chatter: bool,
) -> Result<String, HarnessError> {
    let script = |side| Script::of(client, side, seed, only_chatter);
    let hear = |login: &Login, side| play(login, &script(side), &mut |_, _, _| Ok(true), Duration::ZERO);
    let direct = hear(&cluster.app(cluster.primary()), Side::Direct)?;
    let through = hear(&weir.app(), Side::Through)
        .map_err(|error| HarnessError::failed(format!("{error}; pgweir has logged\n{}", weir.log())))?;
    let mut told = String::new();
    for ((step, direct), through) in script(Side::Through).steps.iter().zip(direct).zip(through) {
        let mark = if direct == through { ' ' } else { '!' };
        let sent = step.bytes.escape_ascii();
        told.push_str(&format!("{mark} {sent}\n   direct {direct:?}\n  through {through:?}\n"));
    }
    Ok(told)
}

impl Stage {
    fn client(&self, client: u32, options: &Options, began: Instant) {
        let mut dice = StdRng::seed_from_u64(options.seed ^ u64::from(client) << 20);
        while began.elapsed() < options.time {
            let seed = dice.random();
            if let Err(fault) = self.life(client, seed, options) {
                let mut faults = self.faults.lock().expect("no client panics");
                faults.0 += 1;
                if faults.1.len() < TOLD_MAX {
                    faults.1.push(format!("client {client}, script {seed}: {fault}"));
                }
            }
            self.lives.fetch_add(1, Ordering::Relaxed);
            std::thread::sleep(options.think.mul_f64(dice.random_range(0.0..1.0)));
        }
    }

    fn life(&self, client: u32, seed: u64, options: &Options) -> Result<(), HarnessError> {
        let script = |side| Script::of(client, side, seed, options.only_chatter);
        let twin = {
            let _turn = self.turn();
            play(&self.direct, &script(Side::Direct), &mut |_, _, _| Ok(true), Duration::ZERO)
                .map_err(|error| HarnessError::failed(format!("the twin: {error}")))?
        };
        let through = script(Side::Through);
        let mut compare = |number: usize, answer: &[Frame], took: Duration| {
            self.answers.fetch_add(1, Ordering::Relaxed);
            let step = &through.steps[number];
            let mut longest = self.longest.lock().expect("no client panics");
            if took > longest.0 && !matches!(step.until, Until::Cancelled) {
                *longest = (took, step.bytes.escape_ascii().to_string());
            }
            drop(longest);
            if answer == twin[number] || is_excused(answer, &twin[number]) {
                return Ok(answer == twin[number]);
            }
            let sent: Vec<_> =
                through.steps[..=number].iter().map(|step| step.bytes.escape_ascii().to_string()).collect();
            Err(HarnessError::failed(format!(
                "answered {answer:?}\n directly {:?}\n to {}",
                twin[number],
                sent.join("\n    ")
            )))
        };
        play(&self.through, &through, &mut compare, options.think)?;
        Ok(())
    }

    /// Waits for its turn to connect to the primary itself.
    fn turn(&self) -> Turn<'_> {
        let mut twins = self.twins.lock().expect("no client panics");
        while *twins >= TWINS_MAX {
            twins = self.twin_gone.wait(twins).expect("no client panics");
        }
        *twins += 1;
        Turn(self)
    }
}

struct Turn<'a>(&'a Stage);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        *self.0.twins.lock().expect("no client panics") -= 1;
        self.0.twin_gone.notify_one();
    }
}

/// In a failed transaction a server that has not met a statement cannot be given it: pgweir says so where
/// Postgres describes the statement, or finds another mistake first. What follows may differ, too.
fn is_excused(through: &[Frame], direct: &[Frame]) -> bool {
    let fails = |frame: &Frame| frame.tag == b'E' && frame.field(b'C').as_deref() == Some("25P02");
    let mut answers = through.split(is_ready).zip(direct.split(is_ready));
    answers
        .find(|(through, direct)| through != direct)
        .is_some_and(|(through, _)| through.last().is_some_and(fails))
}

fn is_ready(frame: &Frame) -> bool {
    frame.tag == b'Z'
}

/// Whether to go on after an answer.
type Judge<'a> = &'a mut dyn FnMut(usize, &[Frame], Duration) -> Result<bool, HarnessError>;

/// Plays a script; what was answered to each step.
fn play(
    login: &Login,
    script: &Script,
    judge: Judge<'_>,
    think: Duration,
) -> Result<Vec<Vec<Frame>>, HarnessError> {
    let mut client = RawClient::login_with(login, 0x3_0000, &script.start)?;
    client.set_patience(PATIENCE)?;
    let mut answers = Vec::with_capacity(script.steps.len());
    for (number, step) in script.steps.iter().enumerate() {
        let asked = Instant::now();
        let answer = ask(&mut client, login, step).map_err(|error| {
            let (step, after) = (step.bytes.escape_ascii(), asked.elapsed());
            HarnessError::failed(format!("{error}, at {step}, after {after:.1?}"))
        })?;
        let goes_on = judge(number, &answer, asked.elapsed())?;
        answers.push(answer);
        if !goes_on {
            break;
        }
        std::thread::sleep(think.mul_f64(step.pause));
    }
    match &script.end {
        End::Farewell => client.send_frame(b'X', b"")?,
        End::Abrupt(last) => client.send(last)?,
    }
    Ok(answers)
}

fn ask(client: &mut RawClient, login: &Login, step: &Step) -> Result<Vec<Frame>, HarnessError> {
    client.send(&step.bytes)?;
    let mut frames = vec![];
    match step.until {
        Until::Ready(count) => {
            for _ in 0..count {
                frames.extend(client.until_ready()?);
            }
        }
        Until::Tag(tag) => frames = client.until(&[tag, b'E'])?,
        Until::Cancelled => {
            std::thread::sleep(Duration::from_millis(50));
            let (process, secret) = client.key.clone().unwrap_or_default();
            let mut packet = [80_877_102_i32.to_be_bytes(), process.to_be_bytes()].concat();
            packet.extend(secret);
            // One that comes before its statement hits nothing, as on a direct connection.
            for _ in 0..CANCELS_MAX {
                let mut canceller = RawClient::connect(login.port)?;
                canceller.send_headless(&packet)?;
                // Closed when the signal is out: a second one cannot overtake it and hit what follows.
                canceller.until_closed(Duration::from_secs(20))?;
                if !client.is_silent_for(Duration::from_secs(4))? {
                    break;
                }
            }
            frames = client.until_ready()?;
            // Whether its row's description was on the way already is a matter of luck.
            frames.retain(|frame| frame.tag != b'T');
        }
    }
    Ok(frames.into_iter().map(normal).collect())
}

/// Without what differs between two runs on Postgres itself: identities of tables and processes. Nor
/// with the line of Postgres's source that an error comes from: pgweir, which ends a wait for a server
/// when that is cancelled, has none.
fn normal(mut frame: Frame) -> Frame {
    if frame.tag == b'E' {
        let mut fields: Vec<_> = frame.body.split(|byte| *byte == 0).collect();
        fields.retain(|field| !matches!(field.first(), Some(b'F' | b'L' | b'R')));
        frame.body = fields.join(&0);
    }
    if frame.tag == b'A' {
        frame.body[..4].fill(0);
    }
    if frame.tag == b'T' {
        let mut at = 2;
        while let Some(end) = frame.body.get(at..).and_then(|rest| rest.iter().position(|byte| *byte == 0)) {
            let column = at + end + 1;
            frame.body[column..column + 4].fill(0);
            at = column + 18;
        }
    }
    frame
}
