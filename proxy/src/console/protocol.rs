//! The console on the wire: the simple and the extended protocol, for psql, drivers and exporters.
//!
//! <https://www.postgresql.org/docs/current/protocol-flow.html>

use super::Role;
use super::act::{Answer, act, columns};
use super::command::{self, Command};
use super::table::{Cell, Formats, Table};
use crate::net::Connection;
use crate::weir::Weir;
use crate::wire::backend::{self, Status};
use crate::wire::error::put_notice;
use crate::wire::frontend::{self, tag};
use crate::wire::{Refusal, frame, sqlstate};
use bytes::BytesMut;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Any message: commands are short.
const MESSAGE_BYTES_MAX: usize = 256 * 1024;
/// Prepared statements, and portals, of one console.
const STATEMENTS_MAX: usize = 100;
/// How often an idle console looks whether pgweir is leaving.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Serves a client that has authenticated (AuthenticationOk is in its output).
pub async fn serve(weir: Arc<Weir>, mut client: Connection, user: &str) {
    let config = weir.config.load_full();
    let consoles = weir.clone();
    let Ok(_place) = consoles.consoles.try_acquire() else {
        return farewell(
            &mut client,
            Refusal::new(sqlstate::TOO_MANY_CONNECTIONS, "too many consoles are open"),
        )
        .await;
    };
    let Some(role) = Role::of(user, &config) else {
        let refusal = Refusal::new(sqlstate::INSUFFICIENT_PRIVILEGE, "not allowed to use the console")
            .with_hint("See [console] admin_users and stats_users in the configuration of pgweir.");
        return farewell(&mut client, refusal).await;
    };
    greet(&mut client.output);
    let mut console = Console {
        weir,
        user: user.to_owned(),
        role,
        status: Status::Idle,
        skipping: false,
        statements: HashMap::new(),
        portals: HashMap::new(),
    };
    match console.run(&mut client).await {
        Ok(()) => {}
        Err(Ended::Io) => {}
        Err(Ended::Refused(refusal)) => farewell(&mut client, refusal).await,
    }
}

async fn farewell(client: &mut Connection, refusal: Refusal) {
    refusal.put(&mut client.output, "FATAL");
    // Who does not read it misses it.
    let _ = tokio::time::timeout(Duration::from_secs(5), client.flush()).await;
}

/// What drivers look at before their first statement.
fn greet(out: &mut BytesMut) {
    // 9.6 and later lets drivers skip work-arounds; psql prints it. Nothing depends on more.
    let settings = [
        ("server_version", concat!("15.0 (pgweir ", env!("CARGO_PKG_VERSION"), ")")),
        ("client_encoding", "UTF8"),
        ("server_encoding", "UTF8"),
        ("DateStyle", "ISO, MDY"),
        ("TimeZone", "UTC"),
        ("IntervalStyle", "postgres"),
        ("integer_datetimes", "on"),
        ("standard_conforming_strings", "on"),
        ("is_superuser", "off"),
        ("application_name", ""),
    ];
    for (name, value) in settings {
        backend::put_parameter_status(out, name, value);
    }
    backend::put_backend_key_data(out, 0, &[0; 4]);
    backend::put_ready(out, Status::Idle);
}

/// Why a console ended before its client said farewell.
enum Ended {
    Io,
    Refused(Refusal),
}

impl From<std::io::Error> for Ended {
    fn from(_: std::io::Error) -> Self {
        Ended::Io
    }
}

/// A bound command.
struct Portal {
    command: Option<Command>,
    formats: Formats,
    /// Rows that an Execute with a limit has left.
    rest: Option<VecDeque<Vec<Cell>>>,
}

struct Console {
    weir: Arc<Weir>,
    user: String,
    role: Role,
    status: Status,
    /// An error came: skip to Sync.
    skipping: bool,
    /// `None`: an empty statement.
    statements: HashMap<Vec<u8>, Option<Command>>,
    portals: HashMap<Vec<u8>, Portal>,
}

impl Console {
    async fn run(&mut self, client: &mut Connection) -> Result<(), Ended> {
        client.flush().await?;
        loop {
            let message = frame::take(&mut client.input, MESSAGE_BYTES_MAX);
            let message = message.map_err(|e| Ended::Refused(violation(e.to_string())))?;
            let Some((tag, body)) = message else {
                client.flush().await?;
                if self.fill(client).await? == 0 {
                    return Ok(());
                }
                continue;
            };
            if tag == tag::TERMINATE {
                return Ok(());
            }
            self.message(tag, &body, &mut client.output).await?;
            if client.is_backlogged() {
                client.flush().await?;
            }
        }
    }

    /// Reads once, unless pgweir leaves.
    async fn fill(&self, client: &mut Connection) -> Result<usize, Ended> {
        loop {
            match tokio::time::timeout(LOOK_EVERY, client.fill()).await {
                Ok(read) => return Ok(read?),
                Err(_) if self.weir.draining.load(Ordering::Relaxed) => {
                    let message = "terminating connection due to administrator command";
                    return Err(Ended::Refused(Refusal::new(sqlstate::ADMIN_SHUTDOWN, message)));
                }
                Err(_) => {}
            }
        }
    }

    async fn message(&mut self, tag: u8, body: &[u8], out: &mut BytesMut) -> Result<(), Ended> {
        let answered = match tag {
            tag::QUERY => {
                self.skipping = false;
                let answered = self.query(body, out).await;
                self.report(&answered, out);
                backend::put_ready(out, self.status);
                return Ok(());
            }
            tag::SYNC => {
                self.skipping = false;
                backend::put_ready(out, self.status);
                return Ok(());
            }
            tag::FUNCTION_CALL => {
                Refusal::new(sqlstate::FEATURE_NOT_SUPPORTED, "the console has no functions")
                    .put(out, "ERROR");
                backend::put_ready(out, self.status);
                return Ok(());
            }
            tag::FLUSH | tag::COPY_DATA | tag::COPY_DONE | tag::COPY_FAIL => return Ok(()),
            _ if self.skipping => return Ok(()),
            tag::PARSE => self.parse(body, out),
            tag::BIND => self.bind(body, out),
            tag::DESCRIBE => self.describe(body, out),
            tag::EXECUTE => self.execute(body, out).await,
            tag::CLOSE => self.close(body, out),
            _ => {
                let message = format!("invalid frontend message type {tag}");
                return Err(Ended::Refused(violation(message)));
            }
        };
        self.skipping = answered.is_err();
        self.report(&answered, out);
        Ok(())
    }

    /// An error is told, and fails the transaction that a driver believes to be in.
    fn report(&mut self, answered: &Result<(), Refusal>, out: &mut BytesMut) {
        if let Err(refusal) = answered {
            refusal.put(out, "ERROR");
            if self.status == Status::Transaction {
                self.status = Status::Failed;
            }
        }
    }

    async fn query(&mut self, body: &[u8], out: &mut BytesMut) -> Result<(), Refusal> {
        let sql = frontend::query(body).ok_or_else(|| violation("malformed Query"))?;
        let commands = command::parse(text(sql)?)?;
        if commands.is_empty() {
            frame::put(out, backend::tag::EMPTY_QUERY, |_| {});
        }
        for command in commands {
            match self.act(&command).await? {
                Answer::Table(table) => {
                    let formats = Formats::default();
                    table.put_description(out, &formats);
                    table.rows.iter().for_each(|row| Table::put_row(row, out, &formats));
                    backend::put_command_complete(out, &tag_of(&command, table.rows.len()));
                }
                Answer::Done(tag, notices) => put_done(out, tag, &notices),
            }
        }
        Ok(())
    }

    async fn act(&mut self, command: &Command) -> Result<Answer, Refusal> {
        if command.needs() > self.role {
            return Err(Refusal::new(sqlstate::INSUFFICIENT_PRIVILEGE, "admin access needed")
                .with_hint("See [console] admin_users in the configuration of pgweir."));
        }
        match command {
            Command::Nothing("BEGIN") => self.status = Status::Transaction,
            Command::Nothing("COMMIT" | "ROLLBACK") => self.status = Status::Idle,
            Command::Show(_) | Command::Route { .. } | Command::Nothing(_) => {}
            _ => tracing::info!(user = self.user, "console: {command}"),
        }
        act(command, &self.weir, &self.user).await
    }

    fn parse(&mut self, body: &[u8], out: &mut BytesMut) -> Result<(), Refusal> {
        let parse = frontend::parse(body).ok_or_else(|| violation("malformed Parse"))?;
        let mut commands = command::parse(text(parse.sql)?)?;
        if commands.len() > 1 {
            let message = "cannot insert multiple commands into a prepared statement";
            return Err(Refusal::new(sqlstate::SYNTAX_ERROR, message));
        }
        if self.statements.len() >= STATEMENTS_MAX && !self.statements.contains_key(parse.name) {
            return Err(Refusal::new(
                sqlstate::LIMIT_EXCEEDED,
                "too many prepared statements in the console",
            ));
        }
        if !parse.name.is_empty() && self.statements.contains_key(parse.name) {
            return Err(Refusal::new(sqlstate::DUPLICATE_STATEMENT, "prepared statement already exists"));
        }
        self.statements.insert(parse.name.to_vec(), commands.pop());
        out.extend_from_slice(&backend::PARSE_COMPLETE);
        Ok(())
    }

    fn bind(&mut self, body: &[u8], out: &mut BytesMut) -> Result<(), Refusal> {
        let bind = frontend::bind(body).ok_or_else(|| violation("malformed Bind"))?;
        let formats = result_formats(bind.rest).ok_or_else(|| violation("malformed Bind"))?;
        let command = self.statements.get(bind.statement).cloned().ok_or_else(no_statement)?;
        if self.portals.len() >= STATEMENTS_MAX && !self.portals.contains_key(bind.portal) {
            return Err(Refusal::new(sqlstate::LIMIT_EXCEEDED, "too many portals in the console"));
        }
        self.portals.insert(bind.portal.to_vec(), Portal { command, formats, rest: None });
        out.extend_from_slice(&backend::BIND_COMPLETE);
        Ok(())
    }

    fn describe(&mut self, body: &[u8], out: &mut BytesMut) -> Result<(), Refusal> {
        let named = frontend::named(body).ok_or_else(|| violation("malformed Describe"))?;
        let none = Formats::default();
        let (command, formats) = if named.kind == b'S' {
            let command = self.statements.get(named.name).ok_or_else(no_statement)?;
            frame::put(out, backend::tag::PARAMETER_DESCRIPTION, |out| out.extend_from_slice(&[0, 0]));
            (command, &none)
        } else {
            let portal = self.portals.get(named.name).ok_or_else(no_portal)?;
            (&portal.command, &portal.formats)
        };
        match command.as_ref().and_then(|c| columns(c, &self.weir)) {
            Some(table) => table.put_description(out, formats),
            None => out.extend_from_slice(&backend::NO_DATA),
        }
        Ok(())
    }

    async fn execute(&mut self, body: &[u8], out: &mut BytesMut) -> Result<(), Refusal> {
        let name = frontend::execute(body).ok_or_else(|| violation("malformed Execute"))?.to_vec();
        let max = body.last_chunk::<4>().map_or(0, |n| i32::from_be_bytes(*n));
        let portal = self.portals.get(&name).ok_or_else(no_portal)?;
        let Some(command) = portal.command.clone() else {
            frame::put(out, backend::tag::EMPTY_QUERY, |_| {});
            return Ok(());
        };
        let formats = portal.formats.clone();
        let rows = portal.rest.clone();
        let mut rows = match rows {
            Some(rest) => rest,
            None => match self.act(&command).await? {
                Answer::Table(table) => VecDeque::from(table.rows),
                Answer::Done(tag, notices) => {
                    put_done(out, tag, &notices);
                    return Ok(());
                }
            },
        };
        let count = usize::try_from(max).ok().filter(|max| *max > 0).unwrap_or(usize::MAX).min(rows.len());
        rows.drain(..count).for_each(|row| Table::put_row(&row, out, &formats));
        if rows.is_empty() {
            backend::put_command_complete(out, &tag_of(&command, count));
        } else {
            frame::put(out, backend::tag::PORTAL_SUSPENDED, |_| {});
        }
        if let Some(portal) = self.portals.get_mut(&name) {
            portal.rest = Some(rows);
        }
        Ok(())
    }

    fn close(&mut self, body: &[u8], out: &mut BytesMut) -> Result<(), Refusal> {
        let named = frontend::named(body).ok_or_else(|| violation("malformed Close"))?;
        if named.kind == b'S' {
            self.statements.remove(named.name);
        } else {
            self.portals.remove(named.name);
        }
        out.extend_from_slice(&backend::CLOSE_COMPLETE);
        Ok(())
    }
}

fn put_done(out: &mut BytesMut, tag: &str, notices: &[String]) {
    notices.iter().for_each(|notice| put_notice(out, "00000", notice));
    backend::put_command_complete(out, tag);
}

/// The tag of what gives rows: drivers take the number from it.
fn tag_of(command: &Command, rows: usize) -> String {
    match command {
        Command::Show(_) => "SHOW".into(),
        _ => format!("SELECT {rows}"),
    }
}

fn text(sql: &[u8]) -> Result<&str, Refusal> {
    std::str::from_utf8(sql).map_err(|_| Refusal::new("22021", "invalid byte sequence for encoding \"UTF8\""))
}

fn violation(message: impl Into<std::borrow::Cow<'static, str>>) -> Refusal {
    Refusal::new(sqlstate::PROTOCOL_VIOLATION, message)
}

fn no_statement() -> Refusal {
    Refusal::new("26000", "prepared statement does not exist")
}

fn no_portal() -> Refusal {
    Refusal::new("34000", "portal does not exist")
}

/// The result formats at the end of a Bind; commands take no parameters, whatever is bound.
fn result_formats(rest: &[u8]) -> Option<Formats> {
    fn number(bytes: &mut &[u8]) -> Option<usize> {
        let (head, tail) = bytes.split_first_chunk::<2>()?;
        *bytes = tail;
        Some(usize::from(u16::from_be_bytes(*head)))
    }
    let mut rest = rest;
    for _ in 0..number(&mut rest)? {
        number(&mut rest)?;
    }
    for _ in 0..number(&mut rest)? {
        let (length, tail) = rest.split_first_chunk::<4>()?;
        let length = usize::try_from(i32::from_be_bytes(*length)).unwrap_or(0);
        rest = tail.split_at_checked(length)?.1;
    }
    let formats = (0..number(&mut rest)?).map(|_| Some(number(&mut rest)? == 1)).collect::<Option<_>>()?;
    rest.is_empty().then_some(Formats(formats))
}
