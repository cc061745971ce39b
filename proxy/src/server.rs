//! One connection to a Postgres node.

mod card;
mod last_use;
pub mod placeholders;
pub mod planned;
pub mod prepared;

pub use card::Card;
pub use last_use::LastUse;

use crate::auth::{self, Credentials, LoginError};
use crate::limits::MESSAGE_BYTES_MAX;
use crate::net::Connection;
use crate::net::dial::{dial, host_of};
use crate::net::tls::Connector;
use crate::node::Node;
use crate::wire::backend::{self, Status, tag};
use crate::wire::{ErrorFields, frame, frontend};
use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use placeholders::Placeholders;
use planned::Planned;
use prepared::{Prepared, ServerStatements};
use router_rules::session::{Settings, Track};
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::task::Poll;
use std::thread::ThreadId;
use std::time::Instant;

/// What a server reports of its settings (ParameterStatus): name → value.
pub type Reported = BTreeMap<String, String>;

/// What ALTER ROLE and ALTER DATABASE have set for who asks, where it may set that itself; weakest first.
const ROLE_SETTINGS_SQL: &str = "SELECT pair FROM pg_catalog.pg_db_role_setting s, \
    pg_catalog.unnest(s.setconfig) pair \
    WHERE s.setdatabase IN (0, (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())) \
    AND s.setrole IN (0, (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = SESSION_USER)) \
    AND NOT EXISTS (SELECT FROM pg_catalog.pg_settings g WHERE g.context <> 'user' \
    AND pg_catalog.lower(g.name) = pg_catalog.lower(pg_catalog.split_part(pair, '=', 1))) \
    ORDER BY s.setrole <> 0, s.setdatabase <> 0";

/// A row, its values in text format.
pub type Row = Vec<Option<String>>;

/// The parameters' types of a Parse: none.
const NO_TYPES: [u8; 2] = [0; 2];
/// The rest of a Bind: no parameters, no formats for them, and results as text.
const NO_PARAMETERS: [u8; 6] = [0; 6];

/// A connection that has logged in.
#[derive(Debug)]
pub struct Server {
    /// Its socket.
    pub connection: Connection,
    /// The node it leads to.
    pub node: Arc<Node>,
    /// What the console knows of it.
    pub card: Arc<Card>,
    /// How to cancel what it runs.
    pub cancel: Arc<CancelTarget>,
    /// The settings that were applied to it by SQL.
    pub settings: Track,
    /// Under which settings its process has kept plans.
    pub planned: Planned,
    /// The placeholders that were ever set on it.
    pub placeholders: Placeholders,
    /// What it last reported.
    pub reported: Reported,
    /// The statements that it has.
    pub statements: ServerStatements,
    /// The transaction status that it last told.
    pub status: Status,
    /// When the postmaster was started that it is of; `None` until that was asked.
    pub started: Option<i64>,
    /// When it was opened.
    pub opened: Instant,
    /// How often it has been leased.
    pub leases: u64,
    /// When it was last given back.
    pub idle_since: Instant,
    /// The event loop that watches its socket.
    pub thread: ThreadId,
}

/// Where and with what a CancelRequest goes.
#[derive(Debug)]
pub struct CancelTarget {
    /// The node's address as configured.
    pub address: String,
    /// The server's process id.
    pub process: i32,
    /// Its secret.
    pub secret: Vec<u8>,
    /// Cancel requests that are on their way. A server is not given to another session meanwhile.
    pub pending: Mutex<usize>,
    /// Signalled when one has arrived.
    pub arrived: tokio::sync::Notify,
}

/// What connecting needs to know.
#[derive(Debug, Clone)]
pub struct Target {
    /// The node.
    pub node: Arc<Node>,
    /// The database.
    pub database: String,
    /// The user.
    pub user: String,
    /// `replication=` as the client asked for it.
    pub replication: Option<String>,
    /// Settings for the StartupMessage itself (a server that is not shared starts with its client's).
    pub settings: Vec<(String, String)>,
}

/// The start of its postmaster in microseconds, whatever the user's `search_path`.
const STARTED: &str = "SELECT (pg_catalog.date_part('epoch', pg_catalog.pg_postmaster_start_time()) \
     OPERATOR(pg_catalog.*) 1000000)::pg_catalog.int8";

/// The event loop that this runs on.
pub fn event_loop() -> ThreadId {
    thread_local!(static HERE: ThreadId = std::thread::current().id());
    HERE.with(|here| *here)
}

impl Server {
    /// Connects and logs in.
    ///
    /// # Errors
    /// The server's refusal as it is, ours, or the socket's. The caller bounds the time.
    pub async fn open(
        target: &Target,
        credentials: &Credentials,
        tls: &Connector,
    ) -> Result<Self, LoginError> {
        let stream = dial(&target.node.name).await?;
        let mut connection = tls.connect(stream, host_of(&target.node.name)).await?;
        put_startup(&mut connection.output, target);
        connection.flush().await?;
        auth::log_in(&mut connection, &target.user, credentials, &tls.accepts()).await?;
        Self::welcome(connection, target).await
    }

    /// Reads what follows AuthenticationOk, up to ReadyForQuery.
    async fn welcome(mut connection: Connection, target: &Target) -> Result<Self, LoginError> {
        let mut reported = Reported::new();
        let mut key = (0, Vec::new());
        loop {
            let (kind, body) = next_message(&mut connection).await?;
            match kind {
                tag::PARAMETER_STATUS => {
                    if let Some((name, value)) = backend::parameter_status(&body) {
                        let text = |b| String::from_utf8_lossy(b).into_owned();
                        reported.insert(text(name), text(value));
                    }
                }
                tag::BACKEND_KEY_DATA => {
                    if let Some((process, secret)) = body.split_first_chunk::<4>() {
                        key = (i32::from_be_bytes(*process), secret.to_vec());
                    }
                }
                tag::ERROR => return Err(LoginError::ByServer(body.freeze())),
                tag::READY_FOR_QUERY => break,
                _ => {}
            }
        }
        let now = Instant::now();
        let cancel = CancelTarget {
            address: target.node.name.clone(),
            process: key.0,
            secret: key.1,
            pending: Mutex::new(0),
            arrived: tokio::sync::Notify::new(),
        };
        Ok(Self {
            card: Arc::new(Card::new(cancel.process, connection.stream().is_tls())),
            connection,
            node: target.node.clone(),
            cancel: Arc::new(cancel),
            settings: Track::default(),
            planned: Planned::default(),
            placeholders: Placeholders::default(),
            reported,
            statements: ServerStatements::default(),
            status: Status::Idle,
            started: None,
            opened: now,
            leases: 0,
            idle_since: now,
            thread: event_loop(),
        })
    }

    /// The event loop of this thread watches its socket from now on.
    pub fn come_here(&mut self) {
        let here = event_loop();
        // Where that fails another loop goes on to watch it, and wakes us.
        if self.thread != here && self.connection.move_here().is_ok() {
            self.thread = here;
        }
    }

    /// Which lease of it was the last.
    pub fn last_use(&self) -> LastUse {
        LastUse { process: self.cancel.process, leases: self.leases }
    }

    /// True when nothing has happened on the idle connection: no end of stream, no farewell.
    /// Costs no system call while nothing has.
    pub fn is_quiet(&mut self) -> bool {
        if !self.connection.may_have_news() {
            return true;
        }
        let mut noop = std::task::Context::from_waker(std::task::Waker::noop());
        if matches!(self.connection.poll_fill(&mut noop), Poll::Pending) {
            return true;
        }
        // A setting reloaded on the server or a notice is no reason to part; the end is.
        loop {
            match frame::take(&mut self.connection.input, MESSAGE_BYTES_MAX) {
                Ok(Some((tag::PARAMETER_STATUS, body))) => self.on_reported(&body),
                Ok(Some((tag::NOTICE, _))) => {}
                Ok(None) if self.connection.input.is_empty() => {
                    return matches!(self.connection.poll_fill(&mut noop), Poll::Pending);
                }
                _ => return false,
            }
        }
    }

    /// Proves that it is a connection to the server that its node's prober watches: an address may lead to
    /// several.
    ///
    /// # Errors
    /// When it is not, or cannot be asked.
    pub async fn prove(&mut self) -> Result<(), LoginError> {
        let told = self.ask(STARTED).await?;
        let started = told.first().and_then(|row| row.first()?.as_deref()?.parse().ok());
        self.started = started;
        if self.is_watched() {
            return Ok(());
        }
        self.node.doubt(started.unwrap_or(0));
        Err(io::Error::other("its address led to another server than the one that is being watched").into())
    }

    /// It leads to the server that its node's prober watches.
    pub fn is_watched(&self) -> bool {
        self.started.is_some_and(|started| self.node.is_server(started))
    }

    /// Runs SQL of ours on a server that is idle and owes nothing.
    ///
    /// # Errors
    /// The server's error, or the socket's.
    pub async fn ask(&mut self, sql: &str) -> Result<Vec<Row>, LoginError> {
        frontend::put_query(&mut self.connection.output, sql.as_bytes());
        self.rows().await
    }

    /// Prepares SQL of ours, without parameters, on such a server.
    ///
    /// # Errors
    /// As [`Server::ask`].
    pub async fn prepare(&mut self, name: &str, sql: &str) -> Result<(), LoginError> {
        let out = &mut self.connection.output;
        frontend::put_parse(out, name.as_bytes(), sql.as_bytes(), &NO_TYPES);
        frontend::put_empty(out, frontend::tag::SYNC);
        self.answer(|_| ()).await
    }

    /// Runs what was prepared under this name.
    ///
    /// # Errors
    /// As [`Server::ask`].
    pub async fn ask_prepared(&mut self, name: &str) -> Result<Vec<Row>, LoginError> {
        self.put_prepared(name);
        self.rows().await
    }

    /// The same for an answer that is looked at where it lies: `on_row` gets the body of each DataRow.
    ///
    /// # Errors
    /// As [`Server::ask`].
    pub async fn look_at(&mut self, name: &str, on_row: impl FnMut(&[u8])) -> Result<(), LoginError> {
        self.put_prepared(name);
        self.answer(on_row).await
    }

    fn put_prepared(&mut self, name: &str) {
        let out = &mut self.connection.output;
        frontend::put_bind(out, b"", name.as_bytes(), &NO_PARAMETERS);
        frontend::put_execute(out, b"");
        frontend::put_empty(out, frontend::tag::SYNC);
    }

    /// Prepares a statement under the settings that `settings` bring about, and leaves those as they were: a
    /// statement outlives the transaction, or the part of one, that brings them. `name`: by which the server is to
    /// know it; `closes`: names that are to be free first. What the statement looks like; `None` where it cannot be parsed.
    ///
    /// # Errors
    /// The socket's.
    pub async fn parse_under(
        &mut self,
        settings: &[String],
        name: &[u8],
        closes: &[Bytes],
        prepared: &Prepared,
    ) -> io::Result<Option<u64>> {
        let (begin, end) = match self.status {
            Status::Idle => ("BEGIN", "ROLLBACK"),
            _ => ("SAVEPOINT pgweir", "ROLLBACK TO SAVEPOINT pgweir;RELEASE SAVEPOINT pgweir"),
        };
        self.statements.unnamed = None;
        self.placeholders.add_all(&prepared.under);
        let out = &mut self.connection.output;
        frontend::put_query(out, begin.as_bytes());
        settings.iter().for_each(|sql| frontend::put_query(out, sql.as_bytes()));
        closes.iter().for_each(|name| frontend::put_named(out, frontend::tag::CLOSE, b'S', name));
        frontend::put_parse(out, name, &prepared.sql, &prepared.types);
        frontend::put_named(out, frontend::tag::DESCRIBE, b'S', name);
        frontend::put_empty(out, frontend::tag::SYNC);
        frontend::put_query(out, end.as_bytes());
        self.connection.flush().await?;
        let (mut owed, mut parameters, mut shape) = (settings.len() + 3, BytesMut::new(), None);
        while owed > 0 {
            let (kind, body) = next_message(&mut self.connection).await?;
            match kind {
                tag::PARAMETER_STATUS => self.on_reported(&body),
                tag::PARAMETER_DESCRIPTION => parameters = body,
                tag::ROW_DESCRIPTION if !parameters.is_empty() => {
                    shape = Some(prepared::shape(&parameters, &body))
                }
                tag::NO_DATA => shape = Some(prepared::shape(&parameters, b"")),
                tag::READY_FOR_QUERY => {
                    self.status = Status::parse(&body).unwrap_or_default();
                    owed -= 1;
                }
                tag::ERROR if ErrorFields::parse(&body).is_fatal() => {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                _ => {}
            }
        }
        Ok(shape)
    }

    fn on_reported(&mut self, body: &[u8]) {
        if let Some((name, value)) = backend::parameter_status(body) {
            let text = |b| String::from_utf8_lossy(b).into_owned();
            self.reported.insert(text(name), text(value));
        }
    }

    /// The settings that ALTER ROLE and ALTER DATABASE give to this user in this database now, as far as
    /// the user may change them; the strongest where there are several of one.
    ///
    /// <https://www.postgresql.org/docs/current/catalog-pg-db-role-setting.html>
    ///
    /// # Errors
    /// As [`Server::ask`].
    pub async fn ask_role_settings(&mut self) -> Result<Settings, LoginError> {
        let rows = self.ask(ROLE_SETTINGS_SQL).await?;
        let pairs: Vec<_> = rows
            .into_iter()
            .filter_map(|row| row.into_iter().next().flatten())
            .filter_map(|pair| pair.split_once('=').map(|(n, v)| (n.to_ascii_lowercase(), v.to_owned())))
            .collect();
        Ok(Settings::from_pairs(pairs.iter().map(|(name, value)| (name.as_str(), value.as_str()))))
    }

    /// A server that has just been opened has started with the settings that it is asked for here.
    ///
    /// # Errors
    /// As [`Server::ask`].
    pub async fn learn_start(&mut self) -> Result<(), LoginError> {
        let start = self.ask_role_settings().await?;
        self.placeholders.add_all(&start);
        self.settings = Track::starting_with(start);
        Ok(())
    }

    /// Until a server that owes nothing ends the connection; says how. Cancel-safe.
    pub async fn ended(&mut self) -> LoginError {
        loop {
            match next_message(&mut self.connection).await {
                Ok((tag::ERROR, body)) => return LoginError::ByServer(body.freeze()),
                Ok(_) => {}
                Err(error) => return error.into(),
            }
        }
    }

    /// Sends, and gathers the rows of the answer.
    async fn rows(&mut self) -> Result<Vec<Row>, LoginError> {
        let mut rows = vec![];
        let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
        self.answer(|body| {
            let row = backend::data_row(body).unwrap_or_default();
            rows.push(row.into_iter().map(|v| v.map(text)).collect());
        })
        .await?;
        Ok(rows)
    }

    /// Sends, and reads until the server is ready again.
    async fn answer(&mut self, mut on_row: impl FnMut(&[u8])) -> Result<(), LoginError> {
        self.connection.flush().await?;
        let mut error = None;
        loop {
            let (kind, body) = next_message(&mut self.connection).await?;
            match kind {
                tag::DATA_ROW => on_row(&body),
                tag::PARAMETER_STATUS => self.on_reported(&body),
                tag::ERROR => {
                    let fatal = ErrorFields::parse(&body).is_fatal();
                    error = Some(body.freeze());
                    if fatal {
                        break;
                    }
                }
                tag::READY_FOR_QUERY => {
                    self.status = Status::parse(&body).unwrap_or_default();
                    break;
                }
                _ => {}
            }
        }
        match error {
            Some(error) => Err(LoginError::ByServer(error)),
            None => Ok(()),
        }
    }
}

/// Reads one message whole.
async fn next_message(connection: &mut Connection) -> io::Result<(u8, BytesMut)> {
    loop {
        let taken = frame::take(&mut connection.input, MESSAGE_BYTES_MAX)
            .map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))?;
        if let Some(message) = taken {
            return Ok(message);
        }
        if connection.fill().await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// <https://www.postgresql.org/docs/current/protocol-message-formats.html#PROTOCOL-MESSAGE-FORMATS-STARTUPMESSAGE>
fn put_startup(out: &mut BytesMut, target: &Target) {
    let start = out.len();
    out.extend_from_slice(&[0, 0, 0, 0, 0, 3, 0, 0]);
    let mut put = |name: &str, value: &str| {
        for text in [name, value] {
            out.extend_from_slice(text.as_bytes());
            out.extend_from_slice(&[0]);
        }
    };
    put("user", &target.user);
    put("database", &target.database);
    if let Some(replication) = &target.replication {
        put("replication", replication);
    }
    for (name, value) in &target.settings {
        put(name, value);
    }
    out.extend_from_slice(&[0]);
    let length = (out.len() - start) as u32;
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
}

/// Sends a CancelRequest and waits until the node has taken it (it closes the connection then).
///
/// <https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-CANCELING-REQUESTS>
///
/// # Errors
/// The socket's.
pub async fn cancel(target: &CancelTarget, tls: &Connector) -> io::Result<()> {
    let stream = dial(&target.address).await?;
    let mut connection = tls.connect(stream, host_of(&target.address)).await?;
    let out = &mut connection.output;
    out.extend_from_slice(&(12 + target.secret.len() as u32).to_be_bytes());
    out.extend_from_slice(&(1234u32 << 16 | 5678).to_be_bytes());
    out.extend_from_slice(&target.process.to_be_bytes());
    out.extend_from_slice(&target.secret);
    connection.flush().await?;
    while connection.fill().await? > 0 {
        connection.input.clear();
    }
    Ok(())
}
