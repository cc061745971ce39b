//! Whole conversations: the ledger of owed replies never goes out of step.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pgweir::for_tests::{Fate, Ledger, News, Ours, Owed, Undo};

#[path = "../../../proxy/src/session/ledger/model.rs"]
mod model;

use model::{Ending, Message};

fuzz_target!(|data: &[u8]| {
    // A byte is a message, and whether something is sent or delivered meanwhile.
    let messages = data.iter().map(|byte| message(byte & 0x7f)).collect();
    let sends: Vec<_> = data.iter().map(|byte| byte & 0x80 != 0).collect();
    if let Err(wrong) = model::check(messages, &sends) {
        panic!("{wrong}");
    }
});

/// Every byte below 128 is one.
fn message(byte: u8) -> Message {
    let (kind, flags) = (byte >> 3, byte & 7);
    let flag = |bit: u8| flags & (1 << bit) != 0;
    let fails = flag(0) && flag(1);
    match kind {
        0 => Message::Query { statements: flags >> 1, fails: flag(0) },
        1 => Message::Function { fails },
        2 => Message::OurQuery { fails },
        3 | 4 => Message::Parse { ours: flag(2), fails },
        5 | 6 => Message::Bind { fails },
        7 => Message::Close { ours: flag(2) },
        8 => Message::Describe { ours: true, of_statement: flag(0), rows: flag(1), fails: flag(2) },
        9 => Message::Describe { ours: false, of_statement: flag(0), rows: flag(1), fails: flag(2) },
        10 | 11 => Message::Execute {
            rows: flags & 3,
            end: if flag(2) { Ending::Complete } else { Ending::Suspended },
        },
        12 => Message::Execute {
            rows: flags & 1,
            end: [Ending::Empty, Ending::Error, Ending::CopyIn, Ending::Complete][usize::from(flags >> 1)],
        },
        13 => Message::Instead,
        14 if flags == 0 => Message::Fails,
        _ => Message::Sync { ours: flag(2) },
    }
}
