//! Wakes a session from outside: somebody ends it, cancels its wait, or gave its node up.
//!
//! What happened is told by flags elsewhere; the bell only says that it is time to look at them. A
//! session waits for its sockets far more often than anybody rings, so listening costs it no lock and
//! no entry in a list.

use atomic_waker::AtomicWaker;
use std::task::{Context, Poll};

/// One session's bell. Whoever rings it sets the flag that it rings for *before*.
#[derive(Debug, Default)]
pub struct Bell(AtomicWaker);

impl Bell {
    /// Wakes the session, if it listens; it looks at every flag then.
    pub fn ring(&self) {
        self.0.wake();
    }

    /// Has the session's task woken by the next ring. To be called *before* flags are looked at.
    pub fn listen(&self, cx: &Context<'_>) {
        self.0.register(cx.waker());
    }

    /// Waits until `came` is true. Cancel-safe.
    pub async fn until(&self, mut came: impl FnMut() -> bool) {
        std::future::poll_fn(|cx| {
            self.listen(cx);
            if came() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    #[tokio::test]
    async fn who_listens_looks_again_at_each_ring_and_who_comes_later_looks_at_once() {
        let (bell, flag) = (Arc::new(Bell::default()), Arc::new(AtomicBool::new(false)));
        let waiting = tokio::spawn({
            let (bell, flag) = (bell.clone(), flag.clone());
            async move { bell.until(|| flag.load(Ordering::Relaxed)).await }
        });
        tokio::task::yield_now().await;
        bell.ring();
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        flag.store(true, Ordering::Relaxed);
        bell.ring();
        waiting.await.unwrap();
        bell.until(|| flag.load(Ordering::Relaxed)).await;
    }
}
