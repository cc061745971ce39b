//! A stream of messages in either direction: every parser of a body, on every body.

#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use pgweir::for_tests::{ErrorFields, backend, frame, frontend};

/// Small, so that the bound is met.
const MESSAGE_BYTES_MAX: usize = 1 << 16;

fuzz_target!(|data: &[u8]| {
    let mut stream = BytesMut::from(data);
    let mut left = stream.len();
    while let Ok(Some((_, message))) = frame::take(&mut stream, MESSAGE_BYTES_MAX) {
        assert!(stream.len() < left, "each message takes something");
        left = stream.len();
        let body = message.get(5..).unwrap_or(&[]);
        each_parser(body);
    }
    each_parser(data);
});

fn each_parser(body: &[u8]) {
    let _ = frontend::query(body);
    if let Some(parse) = frontend::parse(body) {
        assert!(parse.name.len() + parse.sql.len() + parse.types.len() < body.len());
    }
    if let Some(bind) = frontend::bind(body) {
        let _ = frontend::bind_texts(bind.rest, &[0, 0]);
    }
    let _ = frontend::execute_rows_max(body);
    let _ = frontend::named(body);
    let _ = frontend::execute(body);
    let _ = backend::parameter_status(body);
    let _ = backend::command_tag(body);
    let _ = backend::data_row(body);
    let _ = ErrorFields::parse(body);
}
