//! Free TCP ports.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// Below every usual ephemeral range, so that no outgoing connection can take the port of a
/// node that is down for a moment.
const FIRST: u32 = 10_240;
const COUNT: u32 = 9_000;

/// A port on 127.0.0.1 that was free a moment ago.
///
/// Runs that go on at once start at different places; who still loses the race between this
/// check and the server's own `bind` asks again.
pub fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let clock = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.subsec_nanos());
    // Only the first call's seed counts: afterwards the walk goes on from there.
    let seed = (clock ^ std::process::id().wrapping_mul(2_654_435_761)) | 1;
    let _ = NEXT.compare_exchange(0, seed, Ordering::Relaxed, Ordering::Relaxed);
    (0..COUNT)
        .map(|_| (FIRST + NEXT.fetch_add(1, Ordering::Relaxed) % COUNT) as u16)
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .expect("nine thousand ports are never all taken")
}
