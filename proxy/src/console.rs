//! The console: the database `pgweir` (or `pgbouncer`), asked in psql.

use crate::Weir;
use crate::net::Connection;
use crate::wire::{Refusal, sqlstate};
use std::sync::Arc;

/// Serves a client that has authenticated.
pub async fn serve(_weir: Arc<Weir>, mut client: Connection, _user: &str) {
    Refusal::new(sqlstate::FEATURE_NOT_SUPPORTED, "no console yet").put(&mut client.output, "FATAL");
    let _ = client.flush().await;
}
