//! Step two: what would it do.

use crate::cluster::{SessionFreshness, catalogs};
use crate::server::prepared::{Known, Prepared, Sharing};
use crate::session::Session;
use crate::session::memory::Memory;
use crate::session::misspelt;
use crate::session::place::Place;
use crate::session::receive::{End, Kind, Request, frames};
use crate::session::work::Work;
use crate::wire::error::put_notice;
use crate::wire::frame::HEADER_BYTES;
use crate::wire::frontend::{self, tag};
use crate::wire::{Refusal, sqlstate};
use bytes::Bytes;
use router_rules::encoding::Encoding;
use router_rules::session::Settings;
use router_rules::session::Wishes;
use router_rules::statement::Footprint;
use router_rules::{Catalog, Classified, Reason, Scope, SessionEffect, clock};
use smallvec::SmallVec;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Statements that clients have asked to prepare.
static PREPARED: AtomicU64 = AtomicU64::new(0);

impl Session {
    /// Classifies a request.
    ///
    /// # Errors
    /// A value of a `pgweir.…` setting that it cannot have; a message that cannot be read.
    pub(super) fn classify(&mut self, request: &Request) -> Result<Work, Refusal> {
        self.refresh_scope();
        self.settle_doubts();
        let work = match request.kind {
            Kind::Query if request.left > 0 => Work::of(Classified::unknown(Reason::TooLarge)),
            Kind::Query => {
                let body = &request.frames[HEADER_BYTES..];
                let sql = frontend::query(body).ok_or_else(|| malformed("Query"))?;
                let mut work = Work::nothing();
                let part = self.weir.classifier.classify(sql, &self.memory.scope);
                work.note_show(&part, sql);
                work.add(&part, &request.frames.slice_ref(sql));
                work
            }
            Kind::Batch(end) => self.classify_batch(request, end)?,
            Kind::FunctionCall => {
                let body = &request.frames[HEADER_BYTES..];
                let oid = body.first_chunk().map_or(0, |oid| u32::from_be_bytes(*oid));
                Work::of(Classified::function_call(oid, self.memory.scope.catalog.as_deref()))
            }
            Kind::Terminate => Work::nothing(),
        };
        if work.is_ordinary() {
            return Ok(work);
        }
        for effect in
            work.parts.iter().filter(|p| !p.plain).flat_map(|p| &p.statements).flat_map(|s| &s.effects)
        {
            if let SessionEffect::Set { name, local, .. } = effect
                && let Some(advice) = misspelt::setting(name).or_else(|| misspelt::local(name, *local))
            {
                put_notice(&mut self.client.socket.output, "00000", &advice);
            }
            check_wish(effect)?;
        }
        self.advise_on_hints(&work);
        Ok(work)
    }

    /// A hint that is not understood is told to its client.
    fn advise_on_hints(&mut self, work: &Work) {
        let hints = work.parts.iter().filter_map(|part| part.hint.as_ref()?.unclear.as_deref());
        for wish in hints {
            put_notice(&mut self.client.socket.output, "00000", &misspelt::hint(wish));
        }
        let groups = || self.config.cluster.nodes.iter().flat_map(|node| &node.groups);
        let asked = work.parts.iter().filter_map(|part| part.hint.as_ref()?.group.as_deref());
        for group in asked.filter(|asked| !groups().any(|group| group == asked)) {
            let advice = misspelt::group(group, groups().cloned());
            put_notice(&mut self.client.socket.output, "00000", &advice);
        }
    }

    fn classify_batch(&mut self, request: &Request, end: End) -> Result<Work, Refusal> {
        let mut batch =
            Batch { place: self.turn.ahead.take().filter(|_| self.exchange.is_open()), ..Batch::default() };
        let mut messages = frames(&request.frames).peekable();
        while let Some((kind, body)) = messages.next() {
            match kind {
                // It streams, and nobody has read it.
                tag::PARSE if request.left > 0 && messages.peek().is_none() => {
                    batch.work.verdict = Err(Reason::TooLarge);
                    batch.work.reads = Footprint::Everything;
                }
                tag::PARSE => {
                    let parse = frontend::parse(body).ok_or_else(|| malformed("Parse"))?;
                    self.memory.statements.check(parse.name, parse.sql.len(), batch.named.len())?;
                    let is_kept = !parse.name.is_empty() || !binds_unnamed(messages.peek());
                    let prepared = self.prepare(&parse, batch.place.as_deref(), is_kept);
                    batch.work.note_show(&prepared.classified, parse.sql);
                    batch.work.add(&prepared.classified, &request.frames.slice_ref(parse.sql));
                    batch.named.push((parse.name, batch.work.parsed.len()));
                    batch.work.parsed.push(prepared);
                }
                tag::BIND => {
                    let bind = frontend::bind(body).ok_or_else(|| malformed("Bind"))?;
                    let of = self.add_named(&mut batch.work, &batch.named, bind.statement);
                    batch.bind(bind.portal, of);
                }
                tag::DESCRIBE => {
                    let describe = frontend::named(body).ok_or_else(|| malformed("Describe"))?;
                    if describe.kind == b'S' {
                        self.add_named(&mut batch.work, &batch.named, describe.name);
                    }
                }
                tag::EXECUTE => {
                    let portal = frontend::execute(body).ok_or_else(|| malformed("Execute"))?;
                    if let Some(text) = batch.moving(portal, &self.exchange.portals) {
                        batch.place.get_or_insert_with(|| Box::new(Place::of(&self.memory))).pass(&text);
                    }
                }
                tag::CLOSE => {
                    frontend::named(body).ok_or_else(|| malformed("Close"))?;
                }
                tag::SYNC | tag::FLUSH if !body.is_empty() => return Err(malformed("Sync")),
                _ => {}
            }
        }
        self.turn.ahead = batch.place.filter(|_| end != End::Sync);
        Ok(batch.work)
    }

    /// A statement that the batch binds or describes joins the work. What it does.
    fn add_named(
        &mut self,
        work: &mut Work,
        named: &[(&[u8], usize)],
        name: &[u8],
    ) -> Option<Arc<Classified>> {
        if let Some((_, at)) = named.iter().rev().find(|(n, _)| *n == name) {
            let prepared = work.parsed[*at].clone();
            work.add(&prepared.classified, &prepared.sql);
            return Some(prepared.classified.clone());
        }
        let Some(prepared) = self.current(name) else {
            // Prepared by SQL, or not at all: only the session's own server can say.
            work.verdict = Err(Reason::Session);
            return None;
        };
        work.add(&prepared.classified, &prepared.sql);
        let classified = prepared.classified.clone();
        if !work.relied.iter().any(|(known, _)| Arc::ptr_eq(known, &prepared)) {
            work.relied.push((prepared, !name.is_empty()));
        }
        Some(classified)
    }

    /// A Parse at this place of its batch. `is_kept`: it outlives the batch.
    fn prepare(&self, parse: &frontend::Parse<'_>, place: Option<&Place>, is_kept: bool) -> Arc<Prepared> {
        let under = place.map_or(self.memory.state.settings.in_force(), Place::in_force).clone();
        let scope = match place {
            Some(_) => Arc::new(self.scope_under(&under)),
            None => self.memory.scope.clone(),
        };
        let mut classified = self.weir.classifier.classify(parse.sql, &scope);
        let sees_its_own = place.map_or_else(|| self.memory.state.sees_its_own(), Place::sees_its_own);
        let conforming = scope.standard_conforming_strings;
        // A Parse that may warn of its backslashes does so each time.
        let may_warn = !conforming && memchr::memchr(b'\\', parse.sql).is_some();
        let sharing = match clock::reads_clock(parse.sql, conforming) {
            true if is_kept => Sharing::Tied,
            false if !sees_its_own && !may_warn => Sharing::All,
            _ => Sharing::Own,
        };
        if sharing == Sharing::Tied && classified.verdict.is_ok() {
            // It goes back to the server that parsed it, and that one must always be fresh enough.
            classified =
                Arc::new(Classified { verdict: Err(Reason::Session), ..Classified::clone(&classified) });
        }
        let number = PREPARED.fetch_add(1, Ordering::Relaxed);
        let own = (sharing != Sharing::All).then_some(number);
        Arc::new(Prepared {
            key: Prepared::key_of(&self.weir.statement_seed, parse.sql, parse.types, &under, own),
            // It may live for long: what was read with it must not.
            sql: Bytes::copy_from_slice(parse.sql),
            types: Bytes::copy_from_slice(parse.types),
            classified,
            scope: scope.id,
            number,
            sharing,
            under,
            schema: self.schema(),
            known: Arc::new(Known::default()),
        })
    }

    /// A statement prepared earlier, classified under the scope that is in force now.
    pub(super) fn current(&mut self, name: &[u8]) -> Option<Arc<Prepared>> {
        let prepared = self.memory.statements.get(name)?;
        if prepared.scope == self.memory.scope.id || prepared.sharing == Sharing::Tied {
            return Some(prepared.clone());
        }
        // Its text is read as it was when it was parsed; what its names mean may have changed.
        let mut scope = Scope::clone(&self.memory.scope);
        let conforming = self.memory.is_conforming(&prepared.under);
        if conforming != scope.standard_conforming_strings {
            scope.standard_conforming_strings = conforming;
            scope.id = self.weir.statement_seed.hash_one((scope.id, conforming));
        }
        let prepared = Arc::new(Prepared {
            key: prepared.key,
            sql: prepared.sql.clone(),
            types: prepared.types.clone(),
            classified: self.weir.classifier.classify(&prepared.sql, &scope),
            scope: self.memory.scope.id,
            number: prepared.number,
            sharing: prepared.sharing,
            under: prepared.under.clone(),
            schema: prepared.schema,
            known: prepared.known.clone(),
        });
        self.memory.statements.insert(Bytes::copy_from_slice(name), prepared.clone());
        Some(prepared)
    }

    /// The scope follows the session's settings and the catalog.
    pub(super) fn refresh_scope(&mut self) {
        let changes = catalogs::changes();
        let settings = self.memory.state.settings.in_force();
        let scope = &self.memory.scope;
        let told = self.memory.told.changes();
        let is_made_of_these =
            self.memory.scope_settings == settings.id() && self.memory.scope_told == Some(told);
        let as_told = (is_made_of_these
            || (scope.encoding == self.memory.encoding_told()
                && scope.standard_conforming_strings == self.memory.is_conforming(settings)))
            && (Arc::ptr_eq(&scope.temporary, self.memory.state.temporary.known())
                || scope.temporary == *self.memory.state.temporary.known());
        let settings = settings.id();
        // What it has changed itself and not committed is in nobody's snapshot.
        let hidden = self.memory.state.altered.changes_meanings();
        if as_told
            && !(hidden && scope.catalog.is_some())
            && self.memory.scope_settings == settings
            && self.memory.scope_changes == changes
            && self.turn.started < self.memory.scope_until
        {
            return;
        }
        let catalog = self.weir.cluster.catalog(&self.client.who.database).filter(|_| !hidden);
        (self.memory.scope_changes, self.memory.scope_until) =
            (changes, self.turn.started + catalogs::ASK_EVERY / 2);
        let generation = catalog.as_ref().map_or(0, |c| c.generation);
        let known = self.memory.scope.catalog.as_ref().map_or(0, |c| c.generation);
        if as_told && self.memory.scope_settings == settings && known == generation {
            self.memory.scope_told = Some(told);
            return;
        }
        self.weir.classifier.on_catalog(generation);
        (self.memory.scope_settings, self.memory.scope_told) = (settings, Some(told));
        let scope =
            self.scope_with(catalog, self.memory.state.settings.in_force(), self.memory.encoding_told());
        self.memory.scope = Arc::new(scope);
    }

    /// What a text means under these settings and the catalog as it is known.
    fn scope_under(&self, settings: &Settings) -> Scope {
        let encoding =
            settings.value("client_encoding").map_or_else(|| self.memory.encoding_told(), Encoding::of);
        self.scope_with(self.memory.scope.catalog.clone(), settings, encoding)
    }

    fn scope_with(&self, catalog: Option<Arc<Catalog>>, settings: &Settings, encoding: Encoding) -> Scope {
        let mut scope = self.memory.state.scope(catalog, settings, &self.client.who.user, encoding);
        scope.standard_conforming_strings = self.memory.is_conforming(settings);
        scope.identify(&self.weir.statement_seed, &self.client.who.database);
        scope
    }
}

impl Memory {
    /// `standard_conforming_strings` where these settings are in force; what cannot be read is off.
    pub(super) fn is_conforming(&self, settings: &Settings) -> bool {
        let told = self.told.get("standard_conforming_strings") != Some("off");
        router_rules::session::is_conforming(settings, told)
    }

    /// As the server said last.
    pub(super) fn encoding_told(&self) -> Encoding {
        self.told.get("client_encoding").map_or(Encoding::Utf8, Encoding::of)
    }
}

/// What moves the session when it runs.
type Moving = Option<Arc<Classified>>;

/// A batch on its way through.
#[derive(Default)]
struct Batch<'a> {
    work: Work,
    /// Names prepared in this very batch, which come before those prepared earlier.
    named: SmallVec<[(&'a [u8], usize); 1]>,
    /// Portals that it binds, to what moves the session and to what does not.
    portals: SmallVec<[(&'a [u8], Moving); 1]>,
    /// Where it has come to, once something has moved the session.
    place: Option<Box<Place>>,
}

impl<'a> Batch<'a> {
    fn bind(&mut self, portal: &'a [u8], of: Moving) {
        let of = of.filter(|of| Place::is_moved_by(of));
        if let Some(known) = self.portals.iter_mut().find(|(name, _)| *name == portal) {
            known.1 = of;
        } else {
            self.portals.push((portal, of));
        }
    }

    /// What running this portal does to the session, if anything.
    fn moving(&self, portal: &[u8], earlier: &[(Bytes, Arc<Classified>)]) -> Moving {
        if let Some((_, of)) = self.portals.iter().find(|(name, _)| *name == portal) {
            return of.clone();
        }
        let (_, of) = earlier.iter().rev().find(|(name, _)| *name == portal)?;
        Some(of.clone()).filter(|of| Place::is_moved_by(of))
    }
}

/// The message binds the unnamed statement: that has been of use then, and seldom is again.
fn binds_unnamed(message: Option<&(u8, &[u8])>) -> bool {
    let Some((tag::BIND, body)) = message else { return false };
    frontend::bind(body).is_some_and(|bind| bind.statement.is_empty())
}

fn malformed(what: &str) -> Refusal {
    Refusal::new(sqlstate::PROTOCOL_VIOLATION, format!("invalid message format in {what} message"))
}

fn check_wish(effect: &SessionEffect) -> Result<(), Refusal> {
    match effect {
        SessionEffect::Set { name, value, .. } if name.starts_with("pgweir.") => {
            let value = value.as_deref().unwrap_or("");
            let position = || SessionFreshness::default().set_min_lsn(value);
            Wishes::check(name, value)
                .and_then(|()| if name == "pgweir.min_lsn" { position() } else { Ok(()) })
                .map_err(|message| Refusal::new(sqlstate::INVALID_PARAMETER_VALUE, message))
        }
        _ => Ok(()),
    }
}
