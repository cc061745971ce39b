//! Every bound that is not configurable, each with its reason.

/// A start-up packet: what Postgres allows (`MAX_STARTUP_PACKET_LENGTH`).
pub const STARTUP_BYTES_MAX: usize = 10_000;
/// A password or SASL message: what Postgres allows (`PG_MAX_AUTH_TOKEN_LENGTH`).
pub const AUTH_MESSAGE_BYTES_MAX: usize = 65_535;
/// Any message: what Postgres allows (1 GiB less one, `MaxAllocSize`).
pub const MESSAGE_BYTES_MAX: usize = 0x3fff_ffff;
/// A Query or Parse longer than this is not gathered to be classified: it streams to the primary.
pub const STATEMENT_BYTES_MAX: usize = 1 << 20;
/// What one read from a socket may bring.
pub const READ_BYTES: usize = 16 * 1024;
/// Bytes waiting for a slow reader before we stop reading for it.
pub const BACKLOG_BYTES_MAX: usize = 256 * 1024;
/// A request is kept for a second run elsewhere only up to this size.
pub const REPLAY_BYTES_MAX: usize = 1 << 20;
/// Prepared statements of one client.
pub const CLIENT_STATEMENTS_MAX: usize = 10_000;
