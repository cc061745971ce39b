//! A model of a server, and of a client that talks to it through a ledger.
//!
//! The model server answers messages in order, fails where it is told to, and skips to Sync after an
//! error in the extended protocol. Messages are sent and replies delivered in any order in time that
//! keeps the order of each. What the ledger passes on must be what a client would have seen that sent
//! its own messages alone.

use super::{Fate, Ledger, News, Ours, Owed, Undo};
use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;

/// A message, and how the server takes it.
#[derive(Debug, Clone, Copy)]
pub enum Message {
    Query { statements: u8, fails: bool },
    Function { fails: bool },
    OurQuery { fails: bool },
    Parse { ours: bool, fails: bool },
    Bind { fails: bool },
    Close { ours: bool },
    Describe { ours: bool, of_statement: bool, rows: bool, fails: bool },
    Execute { rows: u8, end: Ending },
    Sync { ours: bool },
    Instead,
    Fails,
}

#[derive(Debug, Clone, Copy)]
pub enum Ending {
    Complete,
    Empty,
    Suspended,
    Error,
    /// COPY FROM STDIN, whose data follows at once.
    CopyIn,
}

/// Something that a client sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    Reply(u8),
    Instead,
    Told,
}

/// Postgres, as far as the ledger is concerned.
#[derive(Default)]
struct Server {
    skips: bool,
}

impl Server {
    /// What it answers, and whether the message came to pass.
    fn answer(&mut self, message: Message) -> (Vec<u8>, bool) {
        if let Message::Sync { .. } = message {
            self.skips = false;
            return (vec![b'Z'], true);
        }
        if self.skips {
            return (vec![], false);
        }
        let mut replies = vec![];
        let fails = match message {
            Message::Query { statements, fails } => {
                replies.extend(std::iter::repeat_n(b'C', statements.into()));
                replies.extend(fails.then_some(b'E'));
                replies.push(b'Z');
                return (replies, true);
            }
            Message::Function { fails } => return (vec![if fails { b'E' } else { b'V' }, b'Z'], true),
            Message::OurQuery { fails } => return (vec![if fails { b'E' } else { b'C' }, b'Z'], true),
            Message::Parse { fails, .. } => {
                replies.push(b'1');
                fails
            }
            Message::Bind { fails } => {
                replies.push(b'2');
                fails
            }
            Message::Close { .. } => {
                replies.push(b'3');
                false
            }
            Message::Describe { of_statement, rows, fails, .. } => {
                replies.extend(of_statement.then_some(b't'));
                replies.push(if rows { b'T' } else { b'n' });
                fails
            }
            Message::Execute { rows, end } => {
                replies.extend(std::iter::repeat_n(b'D', rows.into()));
                replies.extend(match end {
                    Ending::Complete | Ending::Error => &b"C"[..],
                    Ending::Empty => b"I",
                    Ending::Suspended => b"s",
                    Ending::CopyIn => b"GC",
                });
                matches!(end, Ending::Error)
            }
            // The server has no part in it.
            Message::Instead => return (vec![], true),
            Message::Fails => true,
            Message::Sync { .. } => unreachable!("answered above"),
        };
        if fails {
            self.skips = true;
            replies = vec![b'E'];
        }
        (replies, !fails)
    }
}

/// What a client sees that sends its own messages to such a server, and which messages do not come to pass.
fn directly(messages: &[Message]) -> (Vec<Seen>, Vec<u64>) {
    let (mut seen, mut failed) = (vec![], vec![]);
    let mut server = Server::default();
    for (number, message) in messages.iter().enumerate() {
        let skipped = server.skips;
        let (replies, done) = server.answer(*message);
        let undone = matches!(message, Message::Parse { .. } | Message::Close { .. } | Message::Instead);
        if !done && undone {
            failed.push(number as u64);
        }
        match message {
            Message::Instead if !skipped => seen.push(Seen::Instead),
            Message::Fails if !skipped => seen.push(Seen::Told),
            Message::OurQuery { .. } | Message::Sync { ours: true } | Message::Close { ours: true } => {}
            Message::Parse { ours: true, .. } | Message::Describe { ours: true, .. } => {
                // An error of what was sent for the client is the client's.
                seen.extend(replies.iter().filter(|r| **r == b'E').map(|r| Seen::Reply(*r)));
            }
            _ => seen.extend(replies.into_iter().map(Seen::Reply)),
        }
    }
    (seen, failed)
}

fn owed(message: Message, number: u64) -> Owed {
    let undo = Box::new(Undo { server: Some(number), ..Undo::default() });
    match message {
        Message::Query { .. } => Owed::Query { of: None, next: 0 },
        Message::Function { .. } => Owed::FunctionCall,
        Message::OurQuery { .. } => Owed::Ours(Ours::Settings),
        Message::Parse { ours, .. } => Owed::Parse { ours, undo },
        Message::Bind { .. } => Owed::Bind,
        Message::Close { ours } => Owed::Close { ours, undo },
        Message::Describe { ours, .. } => Owed::Describe { of: None, ours },
        Message::Execute { .. } => Owed::Execute(None),
        Message::Sync { ours } => Owed::Sync { ours },
        Message::Instead => Owed::Instead { reply: Bytes::from_static(b"i"), undo },
        Message::Fails => Owed::Fails(Bytes::from_static(b"told")),
    }
}

/// One conversation; `sends` says when a message is sent rather than a reply delivered.
fn converse(messages: &[Message], sends: &[bool]) -> (Vec<Seen>, Vec<u64>, bool) {
    let mut ledger = Ledger::default();
    let mut server = Server::default();
    let (mut seen, mut undone) = (vec![], vec![]);
    let mut on_its_way: VecDeque<Message> = VecDeque::new();
    let mut replies: VecDeque<u8> = VecDeque::new();
    let mut next = 0;
    let mut sends = sends.iter().copied().cycle();
    loop {
        let nothing_to_deliver = replies.is_empty() && on_its_way.is_empty();
        if next == messages.len() && nothing_to_deliver {
            break;
        }
        // What follows the data of a COPY is not sent before the server has asked for the data.
        let copies = matches!(on_its_way.back(), Some(Message::Execute { end: Ending::CopyIn, .. }))
            || replies.contains(&b'G');
        let sends_now = !copies && (nothing_to_deliver || sends.next() == Some(true));
        if next < messages.len() && sends_now {
            ledger.push(owed(messages[next], next as u64));
            on_its_way.push_back(messages[next]);
            next += 1;
        } else if let Some(reply) = replies.pop_front() {
            let (fate, news) = ledger.on_reply(reply, b"I").expect("in step");
            match (fate, news) {
                (_, News::ErrorInstead(told)) => {
                    assert_eq!(&told[..], b"told");
                    seen.push(Seen::Told);
                }
                // Told where the Query misses what was lent.
                (Fate::Pass, _) | (Fate::Swallow, News::LentFailed) => seen.push(Seen::Reply(reply)),
                (Fate::Swallow, _) => {}
            }
        } else if let Some(message) = on_its_way.pop_front() {
            replies.extend(server.answer(message).0);
        }
        let mut out = BytesMut::new();
        ledger.give_instead(&mut out);
        seen.extend(out.iter().map(|_| Seen::Instead));
        undone.extend(ledger.take_undone().into_iter().filter_map(|undo| undo.server));
    }
    (seen, undone, ledger.is_settled())
}

/// Holds a conversation, and tells what is wrong with it, if anything.
pub fn check(mut messages: Vec<Message>, sends: &[bool]) -> Result<(), String> {
    messages.push(Message::Sync { ours: false });
    let sends: Vec<_> = sends.iter().copied().chain([false]).collect();
    let (seen, mut undone, settled) = converse(&messages, &sends);
    let (expected, mut failed) = directly(&messages);
    if seen != expected {
        return Err(format!("a client sees {seen:?} where alone it would see {expected:?}"));
    }
    if !settled {
        return Err("something is owed still".into());
    }
    undone.sort_unstable();
    failed.sort_unstable();
    if undone != failed {
        return Err(format!("{undone:?} were taken back, and {failed:?} have not come to pass"));
    }
    Ok(())
}
