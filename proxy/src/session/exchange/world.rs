//! A small world around the [exchange](super): a client, a server, and pipes that hold little.
//!
//! The client writes its whole script and reads as it likes: at once, at times, or not before everything is
//! written. The server answers in order and does nothing more while its answers wait to be taken. Reads
//! and writes come in pieces of any length, and the server may be lost while the request may still run
//! elsewhere. Whatever happens, the client must get what it would have got directly, and where a client that
//! is connected directly is never stuck, this one must not be either.

use super::*;
use crate::limits::AHEAD_BYTES_MAX;
use crate::session::ledger::Owed;
use crate::session::receive::{self, Kind, Request, frames};
use crate::wire::frame::HEADER_BYTES;
use crate::wire::frontend::{self, tag as message};
use bytes::{Buf, BytesMut};
use proptest::prelude::*;
use router_rules::Target;

/// What a pipe between two of them holds: less than the proxy may keep, as on a machine with little memory.
const PIPE_BYTES: usize = 48 * 1024;

/// A conversation takes no more: by then something goes round in circles.
const STEPS_MAX: usize = 1_000_000;

/// What a server gathers before it waits for it to be taken.
const SERVER_BYTES: usize = 8 * 1024;

/// One request of the client.
#[derive(Debug, Clone)]
enum Ask {
    /// A Query whose row is this long.
    Query(usize),
    /// Parse, Bind, Execute of as many rows, each this long, and how it ends.
    Batch { rows: u8, length: usize, fails: bool, ends: bool },
}

/// When the client reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reads {
    Always,
    WhenAllIsWritten,
    Sometimes,
}

/// What decides how much may flow: the exchange, or something to be found wanting.
#[derive(Clone, Copy)]
struct Rules {
    shown: fn(&Exchange, usize) -> usize,
    takes_from_server: fn(&Exchange, usize) -> bool,
    bounds_what_is_held: bool,
}

const RULES: Rules = Rules {
    shown: |exchange, output| exchange.held.shown(output),
    takes_from_server: Exchange::takes_from_server,
    bounds_what_is_held: true,
};

fn script(asks: &[Ask]) -> BytesMut {
    let mut out = BytesMut::new();
    for ask in asks {
        match ask {
            Ask::Query(length) => frontend::put_query(&mut out, length.to_string().as_bytes()),
            Ask::Batch { rows, length, fails, ends } => {
                let portal = if *fails { "fails".to_owned() } else { format!("{rows} {length}") };
                frontend::put_parse(&mut out, b"", b"x", &[0, 0]);
                frontend::put_bind(&mut out, portal.as_bytes(), b"", &[0, 0, 0, 0, 0, 0]);
                frame::put(&mut out, message::EXECUTE, |out| {
                    out.extend_from_slice(portal.as_bytes());
                    out.extend_from_slice(&[0; 5]);
                });
                frontend::put_empty(&mut out, if *ends { message::SYNC } else { message::FLUSH });
            }
        }
    }
    frontend::put_empty(&mut out, message::SYNC);
    out
}

/// Postgres, as far as flow is concerned. Rows are numbered, so that each is another.
#[derive(Default)]
struct Server {
    input: BytesMut,
    output: BytesMut,
    skips: bool,
    rows: u32,
}

impl Server {
    /// Answers one message if one is there and most of the answers before it have been taken.
    fn step(&mut self) -> bool {
        let Ok(Some((kind, total))) = frame::header(&self.input, MESSAGE_BYTES_MAX) else { return false };
        if self.output.len() >= SERVER_BYTES || self.input.len() < total {
            return false;
        }
        let whole = self.input.split_to(total);
        let body = &whole[HEADER_BYTES..];
        if self.skips && kind != message::SYNC {
            return true;
        }
        let out = &mut self.output;
        match kind {
            message::QUERY => {
                frame::put(out, tag::ROW_DESCRIPTION, |_| {});
                let length =
                    frontend::query(body).and_then(|sql| std::str::from_utf8(sql).ok()?.parse().ok());
                put_row(out, &mut self.rows, length.unwrap_or(0));
                frame::put(out, tag::COMMAND_COMPLETE, |out| out.extend_from_slice(b"SELECT\0"));
                frame::put(out, tag::READY_FOR_QUERY, |out| out.extend_from_slice(b"I"));
            }
            message::PARSE => frame::put(out, tag::PARSE_COMPLETE, |_| {}),
            message::BIND => frame::put(out, tag::BIND_COMPLETE, |_| {}),
            message::EXECUTE => {
                let portal =
                    String::from_utf8_lossy(frontend::execute(body).unwrap_or_default()).into_owned();
                match portal.split_once(' ') {
                    Some((rows, length)) => {
                        for _ in 0..rows.parse::<u8>().unwrap_or(0) {
                            put_row(out, &mut self.rows, length.parse().unwrap_or(0));
                        }
                        frame::put(out, tag::COMMAND_COMPLETE, |out| out.extend_from_slice(b"SELECT\0"));
                    }
                    None => {
                        frame::put(out, tag::ERROR, |out| out.extend_from_slice(b"C22012\0\0"));
                        self.skips = true;
                    }
                }
            }
            message::SYNC => {
                self.skips = false;
                frame::put(out, tag::READY_FOR_QUERY, |out| out.extend_from_slice(b"I"));
            }
            _ => {}
        }
        true
    }
}

fn put_row(out: &mut BytesMut, number: &mut u32, length: usize) {
    *number += 1;
    frame::put(out, tag::DATA_ROW, |out| {
        out.extend_from_slice(&number.to_be_bytes());
        out.resize(out.len() + length, b'x');
    });
}

/// Moves what fits into the other end, at most `most` bytes. True when something moved.
fn flow(from: &mut BytesMut, to: &mut BytesMut, most: usize) -> bool {
    let count = from.len().min(most).min(PIPE_BYTES.saturating_sub(to.len()));
    to.extend_from_slice(&from[..count]);
    from.advance(count);
    count > 0
}

/// The proxy's side: buffers and the request under way, moved as a session moves them.
struct Proxy {
    rules: Rules,
    exchange: Exchange,
    input: BytesMut,
    output: BytesMut,
    to_server: BytesMut,
    from_server: BytesMut,
    on: Target,
    request: Option<Request>,
}

impl Proxy {
    /// Sends a request: what it is owed, and what is kept back of it.
    fn send(&mut self, request: &Request) {
        let whole = !matches!(request.kind, Kind::Batch(end) if end.goes_on());
        let alone = !self.exchange.is_open();
        let resumes =
            self.exchange.is_open() && self.exchange.ledger.is_settled() && self.on == Target::Replica;
        let from = self.output.len();
        let holds =
            whole && (alone && self.on == Target::Replica || resumes || alone && request.kind != Kind::Query);
        self.exchange.held = if holds { Held::Request { from } } else { Held::No };
        for (kind, _) in frames(&request.frames) {
            match kind {
                message::QUERY => self.exchange.ledger.push(Owed::Query { of: None, next: 0 }),
                message::PARSE => {
                    self.exchange.ledger.push(Owed::Parse { ours: false, undo: Default::default() });
                }
                message::BIND => self.exchange.ledger.push(Owed::Bind),
                message::EXECUTE => self.exchange.ledger.push(Owed::Execute(None)),
                message::SYNC => self.exchange.ledger.push(Owed::Sync { ours: false }),
                _ => {}
            }
        }
        if let Kind::Batch(end) = request.kind {
            self.exchange.set_open(end != receive::End::Sync);
        }
        self.to_server.extend_from_slice(&request.frames);
    }

    fn take(&mut self) {
        let mut passage = self.exchange.resume(self.from_server.len());
        while let Some(told) = self.exchange.next(&self.from_server, &mut passage).expect("in step") {
            let body = &self.from_server[passage.run() + HEADER_BYTES..passage.run() + told.total];
            let reply = self.exchange.settle(told, body).expect("in step");
            if told.kind == tag::ERROR {
                self.exchange.held.show();
            }
            match reply.fate {
                Fate::Pass => passage.pass(told.total),
                Fate::Swallow => passage.replace(told.total, b"", &mut self.from_server, &mut self.output),
            }
        }
        passage.end(&mut self.from_server, &mut self.output);
        self.exchange.held.end_of_read();
    }

    /// The next request, or the end of the one under way. True when something happened.
    fn turn(&mut self) -> bool {
        if self.request.is_some() {
            if self.exchange.is_answered() {
                self.exchange.held = Held::No;
                self.request = None;
                return true;
            }
            return false;
        }
        self.request = receive::next_request(&mut self.input).expect("frames");
        if let Some(request) = self.request.clone() {
            self.send(&request);
        }
        self.request.is_some()
    }

    /// The server is gone, and the request runs on another one.
    fn lose(&mut self, server: &mut Server, pipes: [&mut BytesMut; 2]) {
        let Some(request) = self.request.clone() else { return };
        if self.on == Target::Primary || !self.exchange.held.is_held() || self.exchange.is_open() {
            return;
        }
        self.output.truncate(self.exchange.held.from().unwrap_or(usize::MAX));
        self.exchange.lose_server();
        for buffer in [&mut self.to_server, &mut self.from_server].into_iter().chain(pipes) {
            buffer.clear();
        }
        *server = Server { rows: server.rows, ..Server::default() };
        self.send(&request);
    }
}

/// What the client gets, or how it is stuck.
fn play(
    asks: &[Ask],
    reads: Reads,
    on: Target,
    pieces: &[usize],
    losses: bool,
    rules: Rules,
) -> Result<BytesMut, String> {
    let mut script = script(asks);
    let (mut there, mut back) = (BytesMut::new(), BytesMut::new());
    let (mut server_there, mut server_back) = (BytesMut::new(), BytesMut::new());
    let mut server = Server::default();
    let mut proxy = Proxy {
        rules,
        exchange: Exchange::default(),
        input: BytesMut::new(),
        output: BytesMut::new(),
        to_server: BytesMut::new(),
        from_server: BytesMut::new(),
        on,
        request: None,
    };
    let mut got = BytesMut::new();
    let mut pieces = pieces.iter().copied().cycle();
    let wanted = directly(asks).len();
    let mut step = 0usize;
    loop {
        step += 1;
        let piece = pieces.next().unwrap_or(1);
        let mut moved = flow(&mut script, &mut there, piece);
        let reads_now = match reads {
            Reads::Always => true,
            Reads::WhenAllIsWritten => script.is_empty(),
            Reads::Sometimes => script.is_empty() || piece % 3 == 0,
        };
        if reads_now && !back.is_empty() {
            got.extend_from_slice(&back.split());
            moved = true;
        }
        moved |= proxy.step([&mut there, &mut back], [&mut server_there, &mut server_back], piece);
        // Now and then, and not for ever.
        if losses && piece % 7 == 0 && step < 100 {
            proxy.lose(&mut server, [&mut server_there, &mut server_back]);
        }
        moved |= flow(&mut server_there, &mut server.input, piece);
        while server.step() {
            moved = true;
        }
        moved |= flow(&mut server.output, &mut server_back, piece);
        if got.len() >= wanted && script.is_empty() && !moved {
            return Ok(got);
        }
        if step > STEPS_MAX {
            return Err(format!("still under way after {step} steps, with {} of {wanted} bytes", got.len()));
        }
        if !moved && (reads != Reads::Sometimes || piece % 3 == 0) {
            return Err(format!("stuck after {step} steps with {} of {wanted} bytes", got.len()));
        }
    }
}

impl Proxy {
    /// One wait of a session: all that can move does. `client` and `server`: pipes from and to.
    fn step(&mut self, client: [&mut BytesMut; 2], server: [&mut BytesMut; 2], piece: usize) -> bool {
        let [from_client, to_client] = client;
        let [to_server, from_server] = server;
        let mut moved = flow(&mut self.to_server, to_server, piece);
        let before = self.output.len();
        if self.rules.bounds_what_is_held {
            self.exchange.held.bound(before);
        }
        let shown = (self.rules.shown)(&self.exchange, before);
        moved |= flow(&mut self.output, to_client, piece.min(shown));
        self.exchange.held.on_written(before - self.output.len());
        if (self.rules.takes_from_server)(&self.exchange, self.output.len())
            && flow(from_server, &mut self.from_server, piece)
        {
            self.take();
            moved = true;
        }
        if self.exchange.takes_from_client(self.input.len(), AHEAD_BYTES_MAX, Some(self.to_server.len())) {
            moved |= flow(from_client, &mut self.input, piece);
        }
        // A session that has its answer looks for the next request before it waits.
        while self.turn() {
            moved = true;
        }
        moved
    }
}

/// What a client gets that is alone with the server, and whose pipes hold everything.
fn directly(asks: &[Ask]) -> BytesMut {
    let mut server = Server { input: script(asks), ..Server::default() };
    let mut got = BytesMut::new();
    while server.step() {
        got.extend_from_slice(&server.output.split());
    }
    got
}

/// A client that is connected directly is never stuck: it gets all while the pipes hold what they hold.
fn goes_on_directly(asks: &[Ask], reads: Reads) -> bool {
    let mut script = script(asks);
    let (mut there, mut back) = (BytesMut::new(), BytesMut::new());
    let mut server = Server::default();
    loop {
        let mut moved = flow(&mut script, &mut there, usize::MAX);
        if (reads != Reads::WhenAllIsWritten || script.is_empty()) && !back.is_empty() {
            back.clear();
            moved = true;
        }
        moved |= flow(&mut there, &mut server.input, usize::MAX) | server.step();
        moved |= flow(&mut server.output, &mut back, usize::MAX);
        if !moved {
            return script.is_empty() && there.is_empty() && server.output.is_empty();
        }
    }
}

fn ask() -> impl Strategy<Value = Ask> {
    let length = || prop_oneof![4 => 0..200usize, 3 => 200..9_000usize, 1 => 9_000..120_000usize];
    prop_oneof![
        length().prop_map(Ask::Query),
        (0..4u8, length(), prop::bool::weighted(0.1), prop::bool::weighted(0.8))
            .prop_map(|(rows, length, fails, ends)| Ask::Batch { rows, length, fails, ends }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_lost_doubled_or_stuck_whatever_the_client_reads_and_however_answers_are_cut(
        asks in prop::collection::vec(ask(), 1..40),
        reads in prop_oneof![Just(Reads::Always), Just(Reads::WhenAllIsWritten), Just(Reads::Sometimes)],
        on in prop_oneof![Just(Target::Primary), Just(Target::Replica)],
        pieces in prop::collection::vec(1..20_000usize, 1..30),
        losses in any::<bool>(),
    ) {
        prop_assume!(goes_on_directly(&asks, reads));
        // A piece that lets everything move comes round.
        let pieces: Vec<_> = pieces.into_iter().chain([3 * 4_001]).collect();
        match play(&asks, reads, on, &pieces, losses, RULES) {
            Ok(got) => prop_assert!(numberless(&got) == numberless(&directly(&asks)), "other answers"),
            Err(stuck) => prop_assert!(false, "{stuck}"),
        }
    }
}

/// The answers with the rows' numbers checked to grow by one at least (a row that was never seen may have
/// been given twice) and taken out.
fn numberless(bytes: &[u8]) -> Vec<u8> {
    let mut rest = bytes.to_vec();
    let (mut at, mut last) = (0, 0);
    while let Ok(Some((kind, total))) = frame::header(&rest[at..], MESSAGE_BYTES_MAX) {
        if kind == tag::DATA_ROW {
            let number = &mut rest[at + HEADER_BYTES..at + HEADER_BYTES + 4];
            let this = u32::from_be_bytes([number[0], number[1], number[2], number[3]]);
            assert!(this > last, "row {this} after row {last}");
            last = this;
            number.fill(0);
        }
        at += total;
    }
    rest
}

/// Forty answers of eight kilobytes, read when all is sent: what once hung for ever.
fn forty() -> Vec<Ask> {
    vec![Ask::Batch { rows: 1, length: 8_000, fails: false, ends: true }; 40]
}

#[test]
fn forty_answers_that_are_kept_back_one_by_one_arrive() {
    for (on, reads) in [(Target::Primary, Reads::WhenAllIsWritten), (Target::Replica, Reads::Always)] {
        let got = play(&forty(), reads, on, &[20_000], false, RULES);
        assert!(got.is_ok_and(|got| got == directly(&forty())), "{on}");
    }
}

/// The model finds what it is there to find.
#[test]
fn keeping_back_what_stands_before_a_held_answer_is_found_to_hang() {
    let none_while_held = Rules {
        shown: |exchange, output| if exchange.held.is_held() { 0 } else { output },
        takes_from_server: |_, output| output < BACKLOG_BYTES_MAX,
        bounds_what_is_held: false,
    };
    let stuck = play(&forty(), Reads::Always, Target::Primary, &[20_000], false, none_while_held);
    assert!(stuck.is_err_and(|stuck| stuck.contains("stuck")));
}
