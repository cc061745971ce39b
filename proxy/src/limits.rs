//! Every bound that is not configurable, each with its reason.

use std::time::Duration;

/// The stack of every thread that serves clients or reads what they sent. SQL is looked into to a bounded
/// depth, for which a quarter of this suffices even where nothing is optimised; memory is used only as far
/// as a stack has ever reached.
pub const STACK_BYTES: usize = 8 << 20;
/// A start-up packet: what Postgres allows (`MAX_STARTUP_PACKET_LENGTH`).
pub const STARTUP_BYTES_MAX: usize = 10_000;
/// A password or SASL message: what Postgres allows (`PG_MAX_AUTH_TOKEN_LENGTH`).
pub const AUTH_MESSAGE_BYTES_MAX: usize = 65_535;
/// Objects of one kind (functions, relations, types, …) of one database that a catalog snapshot holds. A
/// database with more is read on the primary.
pub const CATALOG_ROWS_MAX: usize = 200_000;
/// A function's body, a view's query, all that a table evaluates: longer ones are not read, and whatever
/// leads to them is for the primary. What is looked into is a tenth of that.
pub const CATALOG_TEXT_BYTES_MAX: usize = 256 * 1024;
/// All such texts of the functions of one database, and of its relations; those behind are not read.
pub const CATALOG_TEXTS_BYTES_MAX: usize = 64 << 20;
/// The snapshots of all databases together; one that would not fit is not kept.
pub const CATALOGS_BYTES_MAX: usize = 512 << 20;
/// Any message: what Postgres allows (1 GiB less one, `MaxAllocSize`).
pub const MESSAGE_BYTES_MAX: usize = 0x3fff_ffff;
/// A message that holds a name or nothing (Describe, Execute, Close, Sync, Flush, CopyDone, CopyFail,
/// Terminate): what Postgres allows (`PQ_SMALL_MESSAGE_LIMIT`). They are gathered whole.
pub const SMALL_MESSAGE_BYTES_MAX: usize = 10_000;
/// A Query longer than this is not gathered to be classified: it streams to the primary, and the
/// session stays with its server, since nobody knows what it did. A Parse likewise.
pub const STATEMENT_BYTES_MAX: usize = 16 << 20;
/// An extended-protocol request is gathered up to this size, then cut; a larger single message streams.
pub const REQUEST_BYTES_MAX: usize = 256 * 1024;
/// What one read from a socket may bring.
pub const READ_BYTES: usize = 16 * 1024;
/// A batch that only the primary can run is sent on in parts of at least this size: a read's worth.
pub const AHEAD_BYTES_MIN: usize = READ_BYTES;
/// How long a client may pause within a batch before what has come of it goes to a server: an error in it is
/// told, and time-outs count, as on a direct connection. Longer than the parts of one write take to come.
pub const BATCH_PAUSE: Duration = Duration::from_millis(5);
/// How long a server may take to answer what pgweir asks of it between two statements, or to come to rest
/// behind an error: it has nothing to compute.
pub const SETTLE_MAX: Duration = Duration::from_secs(10);
/// Empty buffers of [`READ_BYTES`] kept by each event loop for its next reads.
pub const SPARE_BUFFERS_MAX: usize = 64;
/// Bytes waiting for a slow reader before we stop reading for it.
pub const BACKLOG_BYTES_MAX: usize = 256 * 1024;
/// Bytes of an answer kept back while its request may still run on another node. What is longer is shown to
/// the client, and the request stays where it is.
pub const HELD_BYTES_MAX: usize = 256 * 1024;
/// A client may send this much ahead of its turn before we stop reading it.
pub const AHEAD_BYTES_MAX: usize = 64 * 1024;
/// What was sent to a node and is not acknowledged by its kernel for so long has not arrived: as long as
/// keep-alives take to find that out on a connection where nothing is under way.
pub const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(60);
/// Nodes of a cluster: sets of them are kept as the bits of a `u64`.
pub const NODES_MAX: usize = 64;
/// Cancel requests under way at once: each is a connection to a node.
pub const CANCELS_MAX: usize = 64;
/// Remembered welcomes (what a server reports to a user with certain start-up settings).
pub const WELCOMES_MAX: usize = 1_000;
/// Prepared statements of one client.
pub const CLIENT_STATEMENTS_MAX: usize = 10_000;
/// What they hold, all together: many times what a large application prepares.
pub const CLIENT_STATEMENT_BYTES_MAX: usize = 64 << 20;
/// More iterations than this we do not compute for a server: it takes about half a second,
/// and a hostile server could ask for an hour.
pub const SCRAM_ITERATIONS_MAX: u32 = 1_000_000;
/// Users of the cluster whose stored passwords are remembered; more are looked up again.
pub const ACCOUNTS_MAX: usize = 10_000;
/// A looked-up password counts as long as this many look-ups take: a fiftieth of a core at most is spent on
/// one user, however often it logs in.
pub const VERIFIER_FRESH_LOOKUPS: u32 = 50;
/// And no longer than this: so soon is a changed password noticed. A failed look-up is not repeated sooner.
pub const VERIFIER_FRESH_MAX: Duration = Duration::from_secs(1);
/// How long it counts while the cluster does not answer.
pub const VERIFIER_STALE_MAX: Duration = Duration::from_secs(60);
/// How often Postgres is asked what the roles in use may do now: a change that did not pass through us ends
/// what it ends within a second, for one query.
pub const CENSUS_EVERY: Duration = Duration::from_millis(500);
/// Users asked for in one query: its answer stays below 100 kB.
pub const CENSUS_BATCH_MAX: usize = 1_000;
/// Users with a database each of whom it is remembered; those that are not in use are forgotten first.
pub const CENSUS_MAX: usize = 10_000;
/// Who has not logged in for so long, and has no server, is not asked for any more.
pub const CENSUS_UNUSED_AFTER: Duration = Duration::from_secs(60);
/// A look-up that takes longer on one node has failed there.
pub const LOOKUP_TIMEOUT: Duration = Duration::from_secs(2);
/// Files of an imported ini that include each other: as deep as PgBouncer allows.
pub const INCLUDES_MAX: usize = 10;
/// Connections per node that look users up: enough for several at once, few for the server.
pub const LOOKUP_CONNECTIONS_MAX: usize = 4;
/// How often certificate files are looked at for changes: a stat or three.
pub const CERTIFICATES_CHECK_EVERY: Duration = Duration::from_secs(10);
/// How often idle and old server connections are looked for.
pub const SWEEP_EVERY: std::time::Duration = std::time::Duration::from_secs(1);
/// Consoles open at once: people, exporters and scripts.
pub const CONSOLES_MAX: usize = 100;
/// Derivations of keys from clients' clear-text passwords at once: milliseconds of a core each.
pub const DERIVATIONS_MAX: usize = 2;
/// How long a pgweir that has found itself alone relies on it: longer than the pause between two looks on
/// an idle cluster, short enough to wait for. The same in every process of a fleet.
pub const FLEET_LEASE: Duration = Duration::from_secs(2);
/// While the primary is sampled anyway, the others are looked for at most so often: it reads the whole
/// lock table.
pub const FLEET_LOOK_EVERY: Duration = Duration::from_millis(500);
/// A pgweir that has lost its connection to a replica while there is no primary is back within so long: twice the
/// longest pause before it tries again.
pub const FLEET_GATHERS: Duration = Duration::from_millis(400);
/// Nobody claims to be alone sooner after it has seen somebody: a sibling that lost its connection, or
/// follows a promotion a little later, is back by then.
pub const FLEET_CALM: Duration = Duration::from_secs(10);
/// Half of [`FLEET_CALM`]: whoever was registered within it is still known to the others.
pub const FLEET_REMEMBERS: Duration = Duration::from_secs(5);
/// A statement that needs the catalog waits so long for it while it is being read, then goes to the primary:
/// reading one of thousands of relations takes a part of this.
pub const CATALOG_WAIT: Duration = Duration::from_millis(250);

/// The same while there is no primary, and the snapshot is read from a replica.
pub const CATALOG_WAIT_HEADLESS: Duration = Duration::from_secs(5);
/// What a source of nodes tells is asked for again no sooner, though a name server may say that it has expired: a
/// look is a packet or two.
pub const FOUND_EXPIRY_MIN: Duration = Duration::from_secs(1);
/// And no later: a name server's mistake is put right within an hour.
pub const FOUND_EXPIRY_MAX: Duration = Duration::from_secs(3600);
/// The answer of an API that tells nodes: ten times what Patroni says of a cluster with as many nodes as are watched.
pub const FOUND_BYTES_MAX: u64 = 256 * 1024;
/// Other machines that are told of one cancel key: as many as the processes of one machine.
pub const FORWARDS_MAX: usize = 64;
/// Keys that are on their way to other machines at once: each is sent three times within a third of a second.
pub const FORWARDING_MAX: usize = 64;
/// How long a peer's name may take to be looked up before a cancel request is passed on.
pub const FORWARD_LOOKUP_MAX: Duration = Duration::from_secs(1);
/// How long what was passed on counts, by clocks that need not be quite in step.
pub const FORWARDED_WINDOW: Duration = Duration::from_secs(30);
/// Keys from other machines that are remembered, so that none is heard twice: many more than come in that time.
pub const FORWARDED_MAX: usize = 4096;
/// How often the primary is asked for its standbys: a connection and a query.
pub const STANDBYS_EVERY: Duration = Duration::from_secs(30);
