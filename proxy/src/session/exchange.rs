//! What passes between a client and its server, without the sockets: what is owed, what is kept back, how
//! far a batch has come, and who may be read now.
//!
//! The session moves bytes as this says and tells it what has moved. Two things must hold whatever the
//! client sends and however answers are cut. *Safety*: a client sees each answer once, whole, in order, and
//! none that may still be given elsewhere. *Liveness*: whenever a byte could be read or written, something
//! moves; where a direct connection goes on, so does this one. A [model](world) holds it to both.

pub(crate) mod held;
pub(crate) mod passage;
#[cfg(test)]
mod world;

use crate::limits::{BACKLOG_BYTES_MAX, MESSAGE_BYTES_MAX, READ_BYTES};
use crate::session::exchange::held::Held;
use crate::session::exchange::passage::Passage;
use crate::session::ledger::{Fate, Ledger, News, OutOfStep};
use crate::wire::backend::tag;
use crate::wire::frame;
use bytes::Bytes;
use router_rules::Classified;
use std::sync::Arc;

/// How far a batch of extended-protocol messages has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Batch {
    /// Nothing was sent that a Sync has not followed.
    #[default]
    Closed,
    /// Messages were sent that no Sync has followed yet.
    Open,
    /// pgweir has refused a part of it: the rest is skipped up to the client's Sync.
    Refused {
        /// A server has seen its beginning.
        begun: bool,
    },
}

/// One client's exchange with the server that works for it.
#[derive(Debug, Default)]
pub(crate) struct Exchange {
    /// What the server still owes.
    pub(crate) ledger: Ledger,
    /// What is kept back of the client's output.
    pub(crate) held: Held,
    /// How far the batch under way has come.
    batch: Batch,
    /// An error has come for what the batch under way asked.
    pub(crate) batch_failed: bool,
    /// The server takes COPY data.
    pub(crate) copy_in: bool,
    /// Bytes of the server's current message that are still to be passed on.
    passing: usize,
    /// Rows are looked at one by one.
    pub(crate) looks_at_rows: bool,
    /// Open portals and what their statements do.
    pub(crate) portals: Vec<(Bytes, Arc<Classified>)>,
}

/// A whole message of the server's that asks for a look.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Message {
    /// Its type.
    pub(crate) kind: u8,
    /// Its length, header included.
    pub(crate) total: usize,
}

/// What such a message means.
#[derive(Debug)]
pub(crate) struct Reply {
    /// Whose it is.
    pub(crate) fate: Fate,
    /// What it tells.
    pub(crate) news: News,
}

impl Exchange {
    /// Messages have gone to a server that no Sync has followed.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self.batch, Batch::Open | Batch::Refused { begun: true })
    }

    /// Messages have gone to a server, the last of them a Sync or not.
    pub(crate) fn set_open(&mut self, open: bool) {
        self.batch = match (self.batch, open) {
            (Batch::Refused { .. }, begun) => Batch::Refused { begun },
            (_, true) => Batch::Open,
            (_, false) => Batch::Closed,
        };
    }

    /// What comes of the batch is skipped up to the client's Sync.
    pub(crate) fn is_refused(&self) -> bool {
        matches!(self.batch, Batch::Refused { .. })
    }

    /// pgweir refuses a part of the batch, and so its rest.
    pub(crate) fn refuse(&mut self) {
        self.batch = Batch::Refused { begun: self.is_open() };
    }

    /// The client's Sync ends a batch that was refused.
    pub(crate) fn end_refused(&mut self) {
        self.batch = if self.is_open() { Batch::Open } else { Batch::Closed };
    }

    /// Nothing is owed, and no message is half passed on.
    pub(crate) fn is_settled(&self) -> bool {
        self.ledger.is_settled() && !self.is_passing()
    }

    /// The client waits for the rest of a message.
    pub(crate) fn is_passing(&self) -> bool {
        self.passing > 0
    }

    /// Nothing is owed, begun or half passed on: what comes next begins afresh, on this server or another.
    pub(crate) fn is_clean(&self) -> bool {
        self.is_settled() && !self.is_open() && !self.copy_in
    }

    /// The request that was sent last needs no more waiting for.
    pub(crate) fn is_answered(&self) -> bool {
        if !self.is_open() {
            return self.is_settled();
        }
        // What follows goes to the same server: no need to wait for the answers in between. Behind COPY
        // data by Execute too: the server keeps its answer back until the next Sync.
        let goes_on = !self.held.is_held() && !self.copy_in;
        goes_on || (self.ledger.is_empty() && !self.is_passing())
    }

    /// What waits for the client to read it is not more than may wait: the server is read. What is kept back
    /// does not count, so that it never stands in the way of older answers; it has a bound of its own.
    pub(crate) fn takes_from_server(&self, output: usize) -> bool {
        self.held.shown(output) < BACKLOG_BYTES_MAX
    }

    /// The client is read: it is less than `ahead_max` bytes ahead of its answers, and the server takes what
    /// it is sent. `to_server`: bytes that wait for that, of a session that has a server.
    pub(crate) fn takes_from_client(&self, input: usize, ahead_max: usize, to_server: Option<usize>) -> bool {
        let Some(waiting) = to_server else { return true };
        if self.copy_in {
            // However long the data: no buffer outgrows what each event loop keeps for its next reads.
            return waiting < READ_BYTES;
        }
        let ahead = input >= ahead_max && !self.ledger.is_empty();
        waiting < BACKLOG_BYTES_MAX && !ahead
    }

    /// The server has gone, and with it all that it owed.
    pub(crate) fn lose_server(&mut self) {
        let Exchange { batch, batch_failed, held, looks_at_rows, .. } = *self;
        *self = Exchange { batch, batch_failed, held, looks_at_rows, ..Exchange::default() };
        self.set_open(false);
    }

    /// The same, where the rest of a message that the client waits for will never come.
    pub(crate) fn lose_server_within_message(&mut self) {
        let cut_off = self.passing;
        self.lose_server();
        self.passing = cut_off;
    }

    /// The client has not seen the message whose rest was to come, and never will.
    pub(crate) fn forget_rest(&mut self) {
        self.passing = 0;
    }

    /// Begins to look at what the server has sent, `input` bytes of it.
    pub(crate) fn resume(&mut self, input: usize) -> Passage {
        let run = self.passing.min(input);
        self.passing -= run;
        Passage::of(run)
    }

    /// The next message that asks for a look; what passes without one goes into the passage. `None`: more must
    /// come.
    ///
    /// # Errors
    /// The server breaks the protocol.
    pub(crate) fn next(&mut self, input: &[u8], passage: &mut Passage) -> Result<Option<Message>, OutOfStep> {
        loop {
            let rest = &input[passage.run()..];
            let tag = rest.first().copied().unwrap_or(0);
            let header = frame::header(rest, MESSAGE_BYTES_MAX).map_err(|_| OutOfStep { tag })?;
            let Some((kind, total)) = header else { return Ok(None) };
            let is_data = matches!(kind, tag::DATA_ROW | tag::COPY_DATA);
            if is_data && self.ledger.passes_rows() && !self.looks_at_rows {
                let here = total.min(rest.len());
                passage.pass(here);
                self.passing = total - here;
                self.held.show();
                continue;
            }
            if rest.len() < total {
                return Ok(None);
            }
            if !self.looks_at_rows && self.ledger.strike_plain(kind) {
                passage.pass(total);
                if is_result(kind) {
                    self.held.show();
                }
                continue;
            }
            return Ok(Some(Message { kind, total }));
        }
    }

    /// What that message means: it is struck off what the server owes.
    ///
    /// # Errors
    /// The server answers what nobody asked.
    pub(crate) fn settle(&mut self, message: Message, body: &[u8]) -> Result<Reply, OutOfStep> {
        let (fate, news) = self.ledger.on_reply(message.kind, body)?;
        if self.ledger.is_skipping() {
            // Up to a Sync that is still to come, whatever was sent behind what failed.
            self.set_open(true);
        }
        if fate == Fate::Pass && is_result(message.kind) {
            self.held.show();
        }
        Ok(Reply { fate, news })
    }
}

/// What comes with it is the answer itself, and not what announces it.
fn is_result(kind: u8) -> bool {
    matches!(
        kind,
        tag::COMMAND_COMPLETE
            | tag::EMPTY_QUERY
            | tag::PORTAL_SUSPENDED
            | tag::COPY_OUT
            | tag::COPY_IN
            | tag::COPY_BOTH
            | tag::FUNCTION_CALL
            | tag::READY_FOR_QUERY
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::ledger::Owed;

    fn with(change: impl FnOnce(&mut Exchange)) -> Exchange {
        let mut exchange = Exchange::default();
        change(&mut exchange);
        exchange
    }

    #[test]
    fn each_question_has_one_answer() {
        let owes = |e: &mut Exchange| e.ledger.push(Owed::Bind);
        let held = |e: &mut Exchange| e.held = Held::Request { from: 0 };
        // (state, answered, settled, clean)
        let table = [
            (with(|_| {}), true, true, true),
            (with(owes), false, false, false),
            (with(|e| e.set_open(true)), true, true, false),
            (
                with(|e| {
                    e.set_open(true);
                    owes(e)
                }),
                true,
                false,
                false,
            ),
            (
                with(|e| {
                    e.set_open(true);
                    owes(e);
                    held(e)
                }),
                false,
                false,
                false,
            ),
            (
                with(|e| {
                    e.set_open(true);
                    held(e)
                }),
                true,
                true,
                false,
            ),
            (
                with(|e| {
                    e.set_open(true);
                    owes(e);
                    e.copy_in = true
                }),
                false,
                false,
                false,
            ),
            (with(|e| e.copy_in = true), true, true, false),
            (with(|e| e.passing = 1), false, false, false),
        ];
        for (number, (exchange, answered, settled, clean)) in table.iter().enumerate() {
            let answers = (exchange.is_answered(), exchange.is_settled(), exchange.is_clean());
            assert_eq!(answers, (*answered, *settled, *clean), "row {number}");
        }
    }

    #[test]
    fn a_batch_that_is_refused_is_skipped_to_its_sync_and_remembers_what_a_server_has_seen() {
        let mut exchange = Exchange::default();
        exchange.refuse();
        assert!(exchange.is_refused() && !exchange.is_open());
        exchange.end_refused();
        assert!(!exchange.is_refused() && exchange.is_clean());
        exchange.set_open(true);
        exchange.refuse();
        assert!(exchange.is_refused() && exchange.is_open());
        exchange.end_refused();
        assert!(exchange.is_open());
    }

    #[test]
    fn a_client_may_be_ahead_until_something_is_owed_and_a_server_that_takes_nothing_stops_it() {
        let owes = with(|e| e.ledger.push(Owed::Bind));
        assert!(!owes.takes_from_client(10, 10, Some(0)));
        assert!(owes.takes_from_client(9, 10, Some(0)));
        assert!(owes.takes_from_client(10, 10, None));
        assert!(Exchange::default().takes_from_client(10, 10, Some(0)));
        assert!(!Exchange::default().takes_from_client(0, 10, Some(BACKLOG_BYTES_MAX)));
        let copies = with(|e| e.copy_in = true);
        assert!(copies.takes_from_client(10, 10, Some(READ_BYTES - 1)));
        assert!(!copies.takes_from_client(0, 10, Some(READ_BYTES)));
    }
}
