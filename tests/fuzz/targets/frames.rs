//! A stream of messages in either direction: every parser of a body, on every body.

#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;

#[path = "../../../proxy/src/limits.rs"]
#[allow(dead_code)]
mod limits;
mod wire;

/// Small, so that the bound is met.
const MESSAGE_BYTES_MAX: usize = 1 << 16;

fuzz_target!(|data: &[u8]| {
    let mut stream = BytesMut::from(data);
    let mut left = stream.len();
    while let Ok(Some((_, frame))) = wire::frame::take(&mut stream, MESSAGE_BYTES_MAX) {
        assert!(stream.len() < left, "each message takes something");
        left = stream.len();
        let body = frame.get(5..).unwrap_or(&[]);
        each_parser(body);
    }
    each_parser(data);
});

fn each_parser(body: &[u8]) {
    let _ = wire::frontend::query(body);
    if let Some(parse) = wire::frontend::parse(body) {
        assert!(parse.name.len() + parse.sql.len() + parse.types.len() < body.len());
    }
    let _ = wire::frontend::bind(body);
    let _ = wire::frontend::bind_parameters(body);
    let _ = wire::frontend::bind_integers(body);
    let _ = wire::frontend::named(body);
    let _ = wire::frontend::execute(body);
    let _ = wire::backend::parameter_status(body);
    let _ = wire::backend::command_tag(body);
    let _ = wire::backend::data_row(body);
    let _ = wire::error::ErrorFields::parse(body);
}
