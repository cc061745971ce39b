//! The runtime on which the harness does its own network work.
//!
//! Tests are written with or without a runtime of their own; the harness must work in both, so
//! its futures run on threads of their own while the caller blocks on a plain channel.

use std::future::Future;
use std::sync::OnceLock;
use std::sync::mpsc;
use tokio::runtime::{Builder, Handle, Runtime};

/// The harness's runtime; started at first use, lives as long as the process.
pub fn handle() -> &'static Handle {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME
        .get_or_init(|| {
            Builder::new_multi_thread()
                .worker_threads(2)
                .thread_name("harness")
                .enable_all()
                .build()
                .expect("a runtime needs only threads")
        })
        .handle()
}

/// Runs a future to its end from anywhere, another runtime's threads included.
pub fn block_on<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> T {
    let (done, result) = mpsc::channel();
    handle().spawn(async move {
        // The receiver is gone only if the caller's thread is.
        let _ = done.send(future.await);
    });
    result.recv().expect("the future panicked; its message is above")
}
