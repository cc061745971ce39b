//! The packets before the first tagged message.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../../proxy/src/limits.rs"]
#[allow(dead_code)]
mod limits;
mod wire;

fuzz_target!(|data: &[u8]| {
    if let Some((first, rest)) = data.split_first_chunk::<4>() {
        if let Ok(length) = wire::startup::length(*first) {
            assert!((8..=limits::STARTUP_BYTES_MAX).contains(&length));
        }
        let _ = wire::startup::parse(rest);
    }
    if let Ok(wire::startup::Packet::Startup(startup)) = wire::startup::parse(data) {
        assert!(!startup.user.is_empty());
    }
});
