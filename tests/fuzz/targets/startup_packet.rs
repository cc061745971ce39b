//! The packets before the first tagged message.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pgweir::for_tests::{STARTUP_BYTES_MAX, startup};

fuzz_target!(|data: &[u8]| {
    if let Some((first, rest)) = data.split_first_chunk::<4>() {
        if let Ok(length) = startup::length(*first) {
            assert!((8..=STARTUP_BYTES_MAX).contains(&length));
        }
        let _ = startup::parse(rest);
    }
    if let Ok(startup::Packet::Startup(packet)) = startup::parse(data) {
        assert!(!packet.user.is_empty());
    }
});
