//! The same conversation, frame by frame, on a direct connection and through pgweir.
//!
//! A conversation is a list of batches; after each batch both sides answer up to ReadyForQuery
//! (or what the batch waits for), and the frames must be equal, byte by byte. Left out is only
//! what differs between two runs on Postgres itself: the identity of tables made on the way.

use crate::assert_same;
use crate::support::{Outcome, Stage, stage};
use pgweir_tests::HarnessError;
use pgweir_tests::raw::{self, Frame, RawClient};

/// A batch to send, and the tags of which one ends the answer.
pub(crate) struct Batch {
    pub(crate) bytes: Vec<u8>,
    pub(crate) until: Until,
}

pub(crate) enum Until {
    /// As many ReadyForQuery as this.
    Ready(usize),
    /// A frame with this tag.
    Tag(u8),
    /// Nothing is answered yet.
    Nothing,
}

pub(crate) fn simple(sql: &str) -> Batch {
    Batch { bytes: raw::query(sql), until: Until::Ready(1) }
}

pub(crate) fn simples(sql: &[&str]) -> Vec<Batch> {
    sql.iter().map(|sql| simple(sql)).collect()
}

pub(crate) fn extended(messages: &[Vec<u8>]) -> Batch {
    Batch { bytes: [messages.concat(), raw::sync()].concat(), until: Until::Ready(1) }
}

pub(crate) fn until(messages: &[Vec<u8>], tag: u8) -> Batch {
    Batch { bytes: messages.concat(), until: Until::Tag(tag) }
}

pub(crate) fn hold(client: &mut RawClient, conversation: &[Batch]) -> Result<Vec<Vec<Frame>>, HarnessError> {
    let mut answers = Vec::new();
    for batch in conversation {
        client.send(&batch.bytes)?;
        let mut frames = Vec::new();
        match batch.until {
            Until::Ready(count) => {
                for _ in 0..count {
                    frames.extend(client.until_ready()?);
                }
            }
            Until::Tag(tag) => frames = client.until(&[tag, b'E'])?,
            Until::Nothing => {}
        }
        answers.push(frames.into_iter().map(normal).collect());
    }
    Ok(answers)
}

/// Zeroes the table's identity in RowDescription: a table made twice has two.
fn normal(mut frame: Frame) -> Frame {
    if frame.tag == b'T' {
        let mut at = 2;
        while let Some(end) = frame.body[at..].iter().position(|byte| *byte == 0) {
            frame.body[at + end + 1..at + end + 5].fill(0);
            at += end + 1 + 18;
            if at >= frame.body.len() {
                break;
            }
        }
    }
    frame
}

pub(crate) fn compare(stage: &Stage, conversation: &[Batch]) -> Outcome {
    let direct = hold(&mut stage.direct()?, conversation)?;
    let through = hold(&mut stage.client()?, conversation)?;
    for (number, (through, direct)) in through.iter().zip(&direct).enumerate() {
        let sent = String::from_utf8_lossy(&conversation[number].bytes).into_owned();
        assert_same!(through, direct, "batch {number}: {sent:?}");
    }
    Ok(())
}

/// All that a conversation leaves behind must be taken back by itself.
pub(crate) fn compare_simple(sql: &[&str]) -> Outcome {
    compare(&stage(), &simples(sql))
}
