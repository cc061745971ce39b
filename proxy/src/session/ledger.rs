//! What a server still owes, in order: which replies to pass on, which to keep to ourselves.
//!
//! # Theory
//!
//! A Postgres server answers messages strictly in the order in which it got them, so a queue of
//! what was sent tells what each reply is a reply to. Each entry is one message that we sent, and
//! says who asked (the client, or pgweir itself) and so whether the reply is passed on.
//!
//! * A Query (or function call) owes any number of messages up to ReadyForQuery.
//! * Parse, Bind, Close owe one message each; Describe owes RowDescription or NoData (a statement's
//!   has a ParameterDescription ahead); Execute owes rows up to CommandComplete, EmptyQueryResponse or
//!   PortalSuspended; Sync owes ReadyForQuery.
//! * After an error in the extended protocol the server skips everything up to the next Sync: so do
//!   we, and what the skipped messages would have changed is [undone](Undo). When that Sync has not
//!   been sent yet, the ledger is *skipping*: what is pushed before a Sync is owed nothing.
//! * COPY FROM STDIN by Execute: while the server reads the data it ignores Sync, so Syncs that
//!   were sent right behind the Execute owe nothing any more.
//! * NoticeResponse, NotificationResponse and ParameterStatus may come at any time and settle nothing.
//! * A reply that pgweir gives [instead](Owed::Instead) of the server stands in the queue where the
//!   server's would.
//!
//! <https://www.postgresql.org/docs/current/protocol-flow.html>

use crate::server::prepared::Prepared;
use crate::session::names::Before;
use crate::wire::backend::{Status, tag};
use bytes::{Bytes, BytesMut};
use router_rules::Classified;
use std::collections::VecDeque;
use std::sync::Arc;

/// One message that was sent, and what its reply means.
#[derive(Debug)]
pub enum Owed {
    /// A client's Query; `next` counts the statements of it that are complete.
    Query {
        /// What its statements do to the session; `None` when nothing.
        of: Option<Arc<Classified>>,
        /// How many are complete.
        next: usize,
    },
    /// A client's FunctionCall.
    FunctionCall,
    /// A Query of ours: nothing of its answer is the client's.
    Ours(Ours),
    /// A Parse; `ours` when the client did not send it now.
    Parse {
        /// It brings a statement, prepared earlier, to this server.
        ours: bool,
        /// What it takes back when it does not come to pass.
        undo: Box<Undo>,
    },
    /// A client's Bind.
    Bind,
    /// A Close; `ours` when it makes room on the server.
    Close {
        /// Swallow the CloseComplete.
        ours: bool,
        /// What it takes back when it does not come to pass.
        undo: Box<Undo>,
    },
    /// A Describe.
    Describe {
        /// The statement that it asks for, where it is one that we know.
        of: Option<Described>,
        /// Swallow the answer.
        ours: bool,
    },
    /// A client's Execute of a portal whose statement does this (`None`: nothing to remember).
    Execute(Option<Arc<Classified>>),
    /// A Sync; `ours` when the client did not send it.
    Sync {
        /// Swallow the ReadyForQuery.
        ours: bool,
    },
    /// A reply that we give ourselves when its turn comes.
    Instead {
        /// The reply, whole.
        reply: Bytes,
        /// What it takes back when its turn never comes.
        undo: Box<Undo>,
    },
    /// A message of ours that must fail: the client is told this (an ErrorResponse, whole) in place of
    /// the server's words.
    Fails(Bytes),
}

/// A statement whose description is asked for.
#[derive(Debug, Clone)]
pub struct Described {
    /// The statement.
    pub prepared: Arc<Prepared>,
    /// The server knows it by name.
    pub named: bool,
}

/// Queries that pgweir sends on its own account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ours {
    /// The client's BEGIN, sent late.
    Begin,
    /// Something that fails, so that a server is in a failed transaction as the client is.
    Abort,
    /// Settings of the session for the server.
    Settings,
    /// Is the session still in need of its server?
    Unpin,
    /// May its role signal another's processes?
    Right,
    /// What has changed on the server, its settings among it?
    Changed,
    /// What does it listen to?
    Channels,
    /// Takes away what sequences gave to others.
    Sequences,
    /// Makes a placeholder readable by SHOW.
    Placeholder,
    /// What is the id of the transaction under way?
    Trace,
    /// Settings that a RESET has taken from the server; the client is ready behind them.
    Restore,
}

/// What a message that is skipped takes back.
#[derive(Debug, Default)]
pub struct Undo {
    /// A client's statement name, and what it named before.
    pub client: Option<(Bytes, Option<Arc<Prepared>>)>,
    /// A statement that the server has not got after all, by key.
    pub server: Option<u64>,
    /// A statement that is not the server's unnamed one after all, by key.
    pub unnamed: Option<u64>,
    /// A name that the server still has for something of no use.
    pub kept: Option<Bytes>,
    /// A name that the server has not got for something of no use after all.
    pub taken: Option<Bytes>,
    /// A name that SQL's PREPARE gave, and that is not free again.
    pub sql_name: Option<Box<[u8]>>,
    /// All names as they were before a statement that gives or takes some.
    pub names: Option<Box<Before>>,
}

/// What to do with a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is the client's.
    Pass,
    /// It is ours.
    Swallow,
}

/// What a reply tells the session.
#[derive(Debug)]
pub enum News {
    /// Nothing to remember.
    None,
    /// Statement number `index` of a text is complete.
    Complete {
        /// The text.
        of: Arc<Classified>,
        /// Which statement of it.
        index: usize,
        /// By a Query: the names that it gives or takes count from now on. (By an Execute they count from
        /// where that was sent.)
        by_query: bool,
    },
    /// A query of ours failed.
    OursFailed(Ours),
    /// A row for us.
    OursRow(Ours),
    /// An error for the client.
    Error,
    /// A statement that the Query behind it names by SQL cannot be prepared again: where the Query comes to it, that
    /// is what is wrong.
    LentFailed,
    /// An error that was wanted: the client is told this.
    ErrorInstead(Bytes),
    /// What a statement's parameters look like.
    Parameters,
    /// What its result looks like; nothing where it has none.
    Result {
        /// The statement, where it is one that we know.
        of: Option<Described>,
        /// Who asked.
        ours: bool,
    },
    /// The server is ready; the transaction status, and who asked.
    Ready {
        /// As the server says.
        status: Status,
        /// Which query of ours it ends, if it is one.
        ours: Option<Ours>,
    },
    /// The server wants COPY data; by Execute it ignores Syncs meanwhile.
    CopyIn {
        /// By Execute.
        by_execute: bool,
    },
    /// Both sides stream (replication).
    CopyBoth,
}

/// A reply that cannot be a reply to anything that was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the server sent an unexpected message of type \"{}\"", .tag.escape_ascii())]
pub struct OutOfStep {
    /// Its type.
    pub tag: u8,
}

/// The queue.
#[derive(Debug, Default)]
pub struct Ledger {
    owed: VecDeque<Owed>,
    skipping: bool,
    undone: Vec<Undo>,
}

impl Owed {
    /// pgweir itself asked for it.
    fn is_ours(&self) -> bool {
        matches!(
            self,
            Owed::Ours(_)
                | Owed::Parse { ours: true, .. }
                | Owed::Close { ours: true, .. }
                | Owed::Describe { ours: true, .. }
                | Owed::Sync { ours: true }
        )
    }
}

impl Ledger {
    /// After an error the server skips to a Sync that has not been sent yet.
    pub fn is_skipping(&self) -> bool {
        self.skipping
    }

    /// Nothing is owed.
    pub fn is_settled(&self) -> bool {
        self.owed.is_empty() && !self.skipping
    }

    /// True when nothing is queued (the server may still be skipping to a Sync).
    pub fn is_empty(&self) -> bool {
        self.owed.is_empty()
    }

    /// The next reply is to something that pgweir itself asked.
    pub fn is_ours(&self) -> bool {
        self.owed.front().is_some_and(Owed::is_ours)
    }

    /// So are all that are owed, if any.
    pub fn owes_only_ours(&self) -> bool {
        !self.skipping && self.owed.iter().all(Owed::is_ours)
    }

    /// The next reply is to settings that are brought back behind a RESET.
    pub fn is_restoring(&self) -> bool {
        matches!(self.owed.front(), Some(Owed::Ours(Ours::Restore)))
    }

    /// What the next reply is to, if it is a Query of ours.
    pub fn ours(&self) -> Option<Ours> {
        match self.owed.front() {
            Some(Owed::Ours(ours)) => Some(*ours),
            _ => None,
        }
    }

    /// A message was sent.
    pub fn push(&mut self, owed: Owed) {
        if self.skipping {
            match owed {
                Owed::Sync { .. } => self.skipping = false,
                Owed::Parse { undo, .. } | Owed::Close { undo, .. } | Owed::Instead { undo, .. } => {
                    return self.undone.push(*undo);
                }
                _ => return,
            }
        }
        self.owed.push_back(owed);
    }

    /// What was skipped since the last call, latest first.
    pub fn take_undone(&mut self) -> Vec<Undo> {
        let mut undone = std::mem::take(&mut self.undone);
        undone.reverse();
        undone
    }

    /// Moves the replies of our own whose turn has come to `out`.
    pub fn give_instead(&mut self, out: &mut BytesMut) {
        while let Some(Owed::Instead { reply, .. }) = self.owed.front() {
            out.extend_from_slice(reply);
            self.owed.pop_front();
        }
    }

    /// A reply of our own is due.
    pub fn has_instead(&self) -> bool {
        matches!(self.owed.front(), Some(Owed::Instead { .. }))
    }

    /// True for a reply that settles nothing and asks for no look: a row, while rows are the client's.
    pub fn passes_rows(&self) -> bool {
        matches!(self.owed.front(), Some(Owed::Query { .. } | Owed::Execute(_)))
    }

    /// A reply came that is the client's and tells nothing else, as most do: it is struck off, and nobody has
    /// to look at it any further. False: [`Ledger::on_reply`] says what it means.
    pub fn strike_plain(&mut self, reply: u8) -> bool {
        let Some(front) = self.owed.front() else { return false };
        let settles = match (front, reply) {
            (Owed::Query { of: None, .. }, tag::ROW_DESCRIPTION | tag::COMMAND_COMPLETE) => false,
            (Owed::Parse { ours: false, .. }, tag::PARSE_COMPLETE)
            | (Owed::Bind, tag::BIND_COMPLETE)
            | (Owed::Execute(None), tag::COMMAND_COMPLETE) => true,
            _ => return false,
        };
        if settles {
            // A reply of ours that is due then is given behind this one.
            if matches!(self.owed.get(1), Some(Owed::Instead { .. })) {
                return false;
            }
            self.owed.pop_front();
        }
        true
    }

    /// A reply came.
    ///
    /// # Errors
    /// [`OutOfStep`]: the connection cannot be used any further.
    pub fn on_reply(&mut self, reply: u8, body: &[u8]) -> Result<(Fate, News), OutOfStep> {
        let out_of_step = Err(OutOfStep { tag: reply });
        if matches!(reply, tag::NOTICE | tag::NOTIFICATION | tag::PARAMETER_STATUS) {
            let ours = reply == tag::NOTICE && self.is_ours();
            return Ok((if ours { Fate::Swallow } else { Fate::Pass }, News::None));
        }
        if reply == tag::ERROR {
            return Ok(self.on_error());
        }
        let Some(front) = self.owed.front_mut() else { return out_of_step };
        let (fate, news, settled) = match (front, reply) {
            (Owed::Ours(ours), tag::READY_FOR_QUERY) => {
                let ours = *ours;
                let Some(status) = Status::parse(body) else { return out_of_step };
                (Fate::Swallow, News::Ready { status, ours: Some(ours) }, true)
            }
            (Owed::Ours(ours), tag::DATA_ROW) => (Fate::Swallow, News::OursRow(*ours), false),
            (Owed::Ours(_), _) => (Fate::Swallow, News::None, false),

            (Owed::Query { .. } | Owed::FunctionCall, tag::READY_FOR_QUERY) => {
                let Some(status) = Status::parse(body) else { return out_of_step };
                (Fate::Pass, News::Ready { status, ours: None }, true)
            }
            (Owed::Query { of, next }, tag::COMMAND_COMPLETE | tag::EMPTY_QUERY) => {
                let index = *next;
                *next += 1;
                let news = match of {
                    Some(of) if index < of.statements.len() => {
                        News::Complete { of: of.clone(), index, by_query: true }
                    }
                    _ => News::None,
                };
                (Fate::Pass, news, false)
            }
            (Owed::Query { .. } | Owed::Execute(_), tag::COPY_IN) => {
                let by_execute = matches!(self.owed.front(), Some(Owed::Execute(_)));
                if by_execute {
                    while let Some(Owed::Sync { .. }) = self.owed.get(1) {
                        self.owed.remove(1);
                    }
                }
                return Ok((Fate::Pass, News::CopyIn { by_execute }));
            }
            (Owed::Query { .. } | Owed::Execute(_), tag::COPY_BOTH) => (Fate::Pass, News::CopyBoth, false),
            (
                Owed::Query { .. },
                tag::ROW_DESCRIPTION | tag::DATA_ROW | tag::COPY_OUT | tag::COPY_DATA | tag::COPY_DONE,
            ) => (Fate::Pass, News::None, false),
            (Owed::FunctionCall, tag::FUNCTION_CALL) => (Fate::Pass, News::None, false),

            (Owed::Parse { ours, .. }, tag::PARSE_COMPLETE) => {
                (if *ours { Fate::Swallow } else { Fate::Pass }, News::None, true)
            }
            (Owed::Bind, tag::BIND_COMPLETE) => (Fate::Pass, News::None, true),
            (Owed::Close { ours, .. }, tag::CLOSE_COMPLETE) => {
                (if *ours { Fate::Swallow } else { Fate::Pass }, News::None, true)
            }
            (Owed::Describe { ours, .. }, tag::PARAMETER_DESCRIPTION) => {
                (if *ours { Fate::Swallow } else { Fate::Pass }, News::Parameters, false)
            }
            (Owed::Describe { of, ours }, tag::ROW_DESCRIPTION | tag::NO_DATA) => {
                let news = News::Result { of: of.take(), ours: *ours };
                (if *ours { Fate::Swallow } else { Fate::Pass }, news, true)
            }
            (Owed::Execute(_), tag::DATA_ROW | tag::COPY_OUT | tag::COPY_DATA | tag::COPY_DONE) => {
                (Fate::Pass, News::None, false)
            }
            // A statement that has given some rows has done what it leaves in the session.
            (Owed::Execute(of), tag::COMMAND_COMPLETE | tag::EMPTY_QUERY | tag::PORTAL_SUSPENDED) => {
                let news = match of.take() {
                    Some(of) if !of.statements.is_empty() => News::Complete { of, index: 0, by_query: false },
                    _ => News::None,
                };
                (Fate::Pass, news, true)
            }
            (Owed::Sync { ours }, tag::READY_FOR_QUERY) => {
                let Some(status) = Status::parse(body) else { return out_of_step };
                match *ours {
                    // What the client has asked for is still to come.
                    true => (Fate::Swallow, News::None, true),
                    false => (Fate::Pass, News::Ready { status, ours: None }, true),
                }
            }
            _ => return out_of_step,
        };
        if settled {
            self.owed.pop_front();
        }
        Ok((fate, news))
    }

    fn on_error(&mut self) -> (Fate, News) {
        match self.owed.front() {
            Some(Owed::Ours(ours)) => return (Fate::Swallow, News::OursFailed(*ours)),
            // Up to ReadyForQuery nothing more is owed; without anything owed it is the server's own news.
            None | Some(Owed::Query { .. } | Owed::FunctionCall | Owed::Sync { .. }) => {
                return (Fate::Pass, News::Error);
            }
            _ => {}
        }
        let is_lent = matches!(self.owed.front(), Some(Owed::Parse { ours: true, .. }));
        let outcome = match self.owed.front_mut() {
            Some(Owed::Fails(told)) => (Fate::Swallow, News::ErrorInstead(std::mem::take(told))),
            // The old unnamed statement is gone before the new one is looked at.
            Some(Owed::Parse { ours: false, undo }) => {
                if let Some((name, before)) = &mut undo.client
                    && name.is_empty()
                {
                    *before = None;
                }
                (Fate::Pass, News::Error)
            }
            _ => (Fate::Pass, News::Error),
        };
        while let Some(owed) = self.owed.front_mut() {
            match owed {
                Owed::Sync { ours } => {
                    let ours = *ours;
                    let is_named = matches!(self.owed.get(1), Some(Owed::Query { .. }));
                    return if is_lent && ours && is_named {
                        (Fate::Swallow, News::LentFailed)
                    } else {
                        outcome
                    };
                }
                Owed::Parse { undo, .. } | Owed::Close { undo, .. } | Owed::Instead { undo, .. } => {
                    self.undone.push(std::mem::take(&mut **undo));
                }
                _ => {}
            }
            self.owed.pop_front();
        }
        self.skipping = true;
        outcome
    }
}

#[cfg(test)]
mod conversations;
#[cfg(test)]
mod model;

#[cfg(test)]
mod tests {
    use super::*;
    use Fate::*;

    fn ledger(owed: impl IntoIterator<Item = Owed>) -> Ledger {
        let mut ledger = Ledger::default();
        owed.into_iter().for_each(|o| ledger.push(o));
        ledger
    }

    fn fates(ledger: &mut Ledger, replies: &[u8]) -> Vec<Fate> {
        replies.iter().map(|tag| ledger.on_reply(*tag, b"I").expect("in step").0).collect()
    }

    fn parse(ours: bool) -> Owed {
        Owed::Parse { ours, undo: Undo { server: Some(7), ..Undo::default() }.into() }
    }

    const QUERY: fn() -> Owed = || Owed::Query { of: None, next: 0 };
    const DESCRIBE: Owed = Owed::Describe { of: None, ours: false };
    const SYNC: Owed = Owed::Sync { ours: false };

    #[test]
    fn our_settings_go_ahead_of_a_query_unseen() {
        let mut l = ledger([Owed::Ours(Ours::Settings), QUERY()]);
        assert_eq!(fates(&mut l, b"CCZTDCZ"), [Swallow, Swallow, Swallow, Pass, Pass, Pass, Pass]);
        assert!(l.is_settled());
    }

    #[test]
    fn a_statement_brought_to_the_server_leaves_no_trace() {
        let mut l = ledger([parse(true), Owed::Bind, DESCRIBE, Owed::Execute(None), SYNC]);
        assert_eq!(fates(&mut l, b"12TDCZ"), [Swallow, Pass, Pass, Pass, Pass, Pass]);
        assert!(l.is_settled());
    }

    #[test]
    fn why_a_lent_statement_is_not_there_is_told_where_it_is_missed() {
        let close = Owed::Close { ours: true, undo: Box::default() };
        let mut l = ledger([close, parse(true), Owed::Sync { ours: true }, QUERY(), QUERY()]);
        assert_eq!(fates(&mut l, b"3"), [Swallow]);
        assert!(matches!(l.on_reply(tag::ERROR, b""), Ok((Swallow, News::LentFailed))));
        assert_eq!(fates(&mut l, b"ZTDCEZ"), [Swallow, Pass, Pass, Pass, Pass, Pass]);
        assert_eq!(fates(&mut l, b"EZ"), [Pass, Pass]);
        assert!(l.is_settled());
    }

    #[test]
    fn an_error_skips_to_sync_and_undoes_what_was_skipped() {
        let mut l = ledger([Owed::Bind, Owed::Execute(None), parse(false), SYNC, QUERY()]);
        assert_eq!(fates(&mut l, b"2EZ"), [Pass, Pass, Pass]);
        assert_eq!(l.take_undone().len(), 1);
        assert_eq!(fates(&mut l, b"TCZ"), [Pass, Pass, Pass]);
        assert!(l.is_settled());
    }

    #[test]
    fn an_error_before_the_sync_was_sent_keeps_skipping_until_it_is() {
        let mut l = ledger([parse(false), DESCRIBE]);
        assert_eq!(fates(&mut l, b"E"), [Pass]);
        assert!(!l.is_settled());
        l.push(Owed::Bind);
        l.push(parse(false));
        l.push(SYNC);
        assert_eq!(l.take_undone().len(), 2);
        assert_eq!(fates(&mut l, b"Z"), [Pass]);
        assert!(l.is_settled());
    }

    #[test]
    fn a_reply_given_instead_waits_for_its_turn() {
        let mut l = ledger([
            Owed::Bind,
            Owed::Execute(None),
            Owed::Instead { reply: Bytes::from_static(b"one"), undo: Box::default() },
            SYNC,
        ]);
        let mut out = BytesMut::new();
        l.give_instead(&mut out);
        assert!(out.is_empty());
        fates(&mut l, b"2C");
        l.give_instead(&mut out);
        assert_eq!(&out[..], b"one");
    }

    #[test]
    fn copy_in_by_execute_swallows_the_sync_that_came_with_it() {
        let mut l = ledger([Owed::Bind, Owed::Execute(None), SYNC]);
        assert_eq!(fates(&mut l, b"2G"), [Pass, Pass]);
        l.push(SYNC); // the one behind CopyDone
        assert_eq!(fates(&mut l, b"CZ"), [Pass, Pass]);
        assert!(l.is_settled());
    }

    #[test]
    fn what_is_struck_off_as_plain_would_have_passed_and_told_nothing() {
        let instead = || Owed::Instead { reply: Bytes::new(), undo: Box::default() };
        let owed: [&dyn Fn() -> Owed; 8] = [
            &QUERY,
            &|| parse(false),
            &|| parse(true),
            &|| Owed::Bind,
            &|| DESCRIBE,
            &|| Owed::Execute(None),
            &|| Owed::Ours(Ours::Settings),
            &|| SYNC,
        ];
        let mut struck = 0;
        for first in owed {
            for next in [&(|| SYNC) as &dyn Fn() -> Owed, &instead] {
                for reply in 0..=u8::MAX {
                    let (mut plain, mut full) = (ledger([first(), next()]), ledger([first(), next()]));
                    if !plain.strike_plain(reply) {
                        assert_eq!(plain.owed.len(), 2);
                        continue;
                    }
                    struck += 1;
                    assert!(matches!(full.on_reply(reply, b"I"), Ok((Pass, News::None))));
                    assert_eq!(plain.owed.len(), full.owed.len());
                    assert!(!plain.has_instead());
                }
            }
        }
        // Two replies to a Query, whatever stands behind it; one to each of the other three.
        assert_eq!(struck, 4 + 3);
    }

    #[test]
    fn notices_settle_nothing_and_ours_are_kept() {
        let mut l = ledger([Owed::Ours(Ours::Settings), QUERY()]);
        assert_eq!(fates(&mut l, b"NZNZ"), [Swallow, Swallow, Pass, Pass]);
        assert!(l.is_settled());
    }

    #[test]
    fn what_answers_nothing_is_out_of_step() {
        assert_eq!(Ledger::default().on_reply(b'C', b"x").unwrap_err(), OutOfStep { tag: b'C' });
        assert!(ledger([Owed::Bind]).on_reply(b'1', b"").is_err());
        assert!(ledger([SYNC]).on_reply(b'Z', b"?").is_err());
    }
}
