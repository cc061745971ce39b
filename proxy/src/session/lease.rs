//! Step four: which server runs it.
//!
//! A session holds a server while a transaction, a pin or a batch needs it, and no longer.

use crate::auth::LoginError;
use crate::clients::registry::Doing;
use crate::cluster::{Placement, Wish};
use crate::node::Node;
use crate::pool::{Lease, LeaseError, Opening, Pool};
use crate::server::placeholders::{self, Allowed};
use crate::session::Session;
use crate::session::client::Client;
use crate::session::failure::Failure;
use crate::session::memory::Memory;
use crate::session::work::Work;
use crate::wire::backend::Status;
use crate::wire::{ErrorFields, Refusal, sqlstate};
use router_rules::{Decision, Reason, Target};
use std::borrow::Cow;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Nodes tried for one request before the client hears of it.
const PLACES_MAX: usize = 4;
/// Before another server is tried, where one was lost while it was given the session's settings.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

impl Session {
    /// Sees to it that the session has the right server, with the session's settings.
    pub(super) async fn lease(
        &mut self,
        decision: &mut Decision,
        work: &Work,
    ) -> Result<Result<(), Refusal>, Failure> {
        if !work.is_ordinary() {
            self.leave_database(work);
        }
        let asked = (decision.target, decision.reason);
        loop {
            let paused = self.weir.gate.is_closed_for(&self.client.who.database);
            if std::mem::take(&mut self.holding.lingers) && (decision.target == Target::Replica || paused) {
                self.give_back();
            }
            if self.holding.lease.as_ref().is_some_and(Lease::is_deposed) {
                self.leave_deposed()?;
                if let Some(refusal) =
                    self.memory.tell_of_lost_block(work.single().and_then(|s| s.transaction.as_ref()))
                {
                    return Ok(Err(refusal));
                }
            }
            if self.memory.state.block.is_there()
                && self.reads_on(decision, work)
                && let Err(refusal) = Box::pin(self.read_on(decision, work)).await
            {
                return Ok(Err(refusal));
            }
            if self.holding.lease.is_some()
                && self.holding.on == Target::Replica
                && decision.target == Target::Primary
            {
                Box::pin(self.leave_replica(work)).await?;
            }
            if paused
                && self.is_at_rest()
                && let Err(refusal) = Box::pin(self.wait_at_gate()).await
            {
                return Ok(Err(refusal));
            }
            let mut placed = (Duration::ZERO, Duration::ZERO);
            if self.holding.lease.is_none()
                && work.relied.iter().any(|(prepared, _)| prepared.known.home().is_some())
                && Box::pin(self.go_home(work, decision)).await
            {
                return Ok(Err(called_off()));
            }
            if self.holding.lease.is_none()
                && let Some(kept) = self.take_kept(decision.target)
            {
                self.client.card.set_running_on(Some(kept.cancel.clone()));
                self.holding.on = Target::Primary;
                self.holding.lease = Some(kept);
            }
            if self.holding.lease.is_none() {
                self.client.card.set_doing(Doing::Waiting);
                match self.lease_anew(decision, work).await? {
                    Ok(_) if self.client.card.cancelled.swap(false, Ordering::Relaxed) => {
                        self.yield_unused();
                        return Ok(Err(called_off()));
                    }
                    Ok(waited_and_lag) => placed = waited_and_lag,
                    Err(refusal) => return Ok(Err(refusal)),
                }
                self.client.card.set_doing(Doing::Active);
            }
            if decision.target == Target::Primary && self.holding.on == Target::Replica {
                // A snapshot that cannot be left: the replica itself will say what it does not allow.
                decision.target = Target::Replica;
            }
            self.explain(decision, placed.0, placed.1, work);
            if self.has_its_settings() {
                self.discard_strange_plans(work);
                return Ok(Ok(()));
            }
            match Box::pin(self.bring_settings()).await {
                Some(brought) => {
                    self.discard_strange_plans(work);
                    return Ok(brought);
                }
                // Nothing of the client's was run there.
                None if self.turn.started.elapsed() < self.config.cluster.primary_wait => {
                    Box::pin(tokio::time::sleep(RETRY_PAUSE)).await;
                    (decision.target, decision.reason) = asked;
                }
                None => return Ok(Err(no_primary(&self.config, self.weir.cluster.why_headless()))),
            }
        }
    }

    /// It has no server, or keeps one between transactions.
    fn is_at_rest(&self) -> bool {
        let is_idle = |lease: &Lease| lease.status == Status::Idle && self.exchange.is_clean();
        self.holding.lease.as_ref().is_none_or(is_idle)
    }

    /// For PAUSE, which waits for no server that rests: whoever keeps it comes to the gate before it uses it.
    pub(super) fn note_rest(&self) {
        let keeps = self.holding.lease.is_some() || self.holding.kept.is_some();
        self.client.card.rests.store(keeps && self.is_at_rest(), Ordering::Relaxed);
    }

    /// While PAUSE is in force nobody begins anything, on whatever server.
    async fn wait_at_gate(&mut self) -> Result<(), Refusal> {
        self.client.card.set_doing(Doing::Waiting);
        self.note_rest();
        let weir = self.weir.clone();
        let waiting = Instant::now();
        tokio::select! {
            () = weir.gate.pass(&self.client.who.database) => {}
            () = self.client.card.called_off() => return Err(called_off()),
        }
        self.turn.waited += waiting.elapsed();
        self.client.card.rests.store(false, Ordering::Relaxed);
        self.client.card.set_doing(Doing::Active);
        Ok(())
    }

    /// A statement that holds the moment of its Parse runs on the server that has parsed it, for as long as
    /// there is that server. True when the wait for it was called off.
    async fn go_home(&mut self, work: &Work, decision: &mut Decision) -> bool {
        let Some(home) = work.relied.iter().find_map(|(prepared, _)| prepared.known.home()) else {
            return false;
        };
        let is_kept = self.holding.kept.as_ref().is_some_and(|kept| kept.cancel.process == home.process);
        if is_kept || !self.weir.cluster.is_primary(&home.node) {
            return false;
        }
        let pool = self.pool_of(&home.node);
        let limit = self.weir.config.load().pool.lease_wait;
        let waiting = Instant::now();
        let lease = tokio::select! {
            biased;
            lease = pool.lease_server(home.process, limit) => lease,
            () = self.client.card.called_off() => {
                self.client.card.cancelled.store(false, Ordering::Relaxed);
                return true;
            }
        };
        self.turn.waited += waiting.elapsed();
        if let Some(lease) = lease {
            self.client.card.set_running_on(Some(lease.cancel.clone()));
            (self.holding.on, decision.target) = (Target::Primary, Target::Primary);
            self.holding.lease = Some(lease);
        }
        false
    }

    /// DROP DATABASE and its like need the database to be empty: what is there for nobody leaves it.
    fn leave_database(&self, work: &Work) {
        use router_rules::statement::Kind;
        let is_ddl = work.parts.iter().any(|p| p.statements.iter().any(|s| s.kind == Kind::Ddl));
        if !is_ddl {
            return;
        }
        for database in work.texts.iter().filter_map(|sql| router_rules::emptied_database(sql)) {
            for pool in self.weir.pools.all().iter().filter(|pool| pool.key.database == database) {
                pool.close_idle();
            }
            self.weir.cluster.let_go(&database);
        }
    }

    /// A server for this work, wherever that may run now, before it is given the session's settings.
    pub(super) async fn lease_anew(
        &mut self,
        decision: &mut Decision,
        work: &Work,
    ) -> Result<Result<(Duration, Duration), Refusal>, Failure> {
        let mut failed: Vec<Arc<Node>> = vec![];
        let mut last = None;
        let asked = (decision.target, decision.reason);
        while failed.len() < PLACES_MAX
            || (self.holding.on == Target::Primary
                && self.turn.started.elapsed() < self.weir.config.load().cluster.primary_wait)
        {
            let Some(placement) = self.place(decision, work).await else { break };
            if decision.target == Target::Replica
                && failed.iter().any(|node| Arc::ptr_eq(node, &placement.node))
            {
                // The probe has not seen yet what we have: do not insist.
                (decision.target, decision.reason) = (Target::Primary, Reason::NoReplica);
                continue;
            }
            let reign = placement.reign;
            self.holding.on = if placement.is_primary || decision.target == Target::Primary {
                Target::Primary
            } else {
                Target::Replica
            };
            (decision.target, decision.reason) = (self.holding.on, placement.reason);
            let pool = self.pool_of(&placement.node);
            self.turn.waited += placement.waited;
            let mut waited = Duration::ZERO;
            // No replica was fresh enough: what the session keeps is its own still.
            let kept = self.take_kept(self.holding.on);
            let leased = match kept.or_else(|| self.try_lease(&pool, work)) {
                Some(lease) => Ok(lease),
                None => {
                    let waiting = Instant::now();
                    let (credentials, weir) = (self.client.who.credentials.clone(), self.weir.clone());
                    let config = weir.config.load_full();
                    let opening =
                        Opening { credentials: &credentials, tls: &weir.connector, config: &config };
                    let place = (&placement.node, reign, asked.0);
                    let leased = Box::pin(self.wait_for_lease(&pool, place, opening, work)).await?;
                    waited = waiting.elapsed();
                    self.turn.waited += waited;
                    if config.log.slow_lease.is_some_and(|bound| waited > bound) {
                        self.client.log_slow_lease(waited, &placement.node, work);
                    }
                    match leased {
                        Ok(leased) => leased,
                        Err(cancelled) => return Ok(Err(cancelled)),
                    }
                }
            };
            self.weir.metrics.lease_wait_seconds.observe(waited.as_secs_f64());
            if !waited.is_zero() {
                self.client.counters.waited(waited);
            }
            match leased {
                // Another node became the primary meanwhile.
                Ok(lease) if lease.node.reign() != placement.reign => {
                    lease.give_back();
                    tokio::task::yield_now().await;
                }
                Ok(mut lease) => {
                    lease.reign = placement.reign;
                    self.client.card.set_running_on(Some(lease.cancel.clone()));
                    self.holding.lease = Some(lease);
                    self.hide_sequences(work);
                    return Ok(Ok((placement.waited, placement.lag)));
                }
                Err(error) if error.is_nodes_fault() => {
                    self.weir.cluster.suspect(&placement.node);
                    failed.push(placement.node);
                    last = Some(error);
                    if self.holding.on == Target::Primary {
                        // Give the probe a moment to see what is going on.
                        Box::pin(tokio::time::sleep(Duration::from_millis(50))).await;
                        // Without a primary a replica may keep the promise that only the primary could keep.
                        (decision.target, decision.reason) = asked;
                    }
                }
                Err(error @ LeaseError::Login(_)) if self.holding.on == Target::Replica => {
                    // A database, role or password that is new may not have come here yet: what
                    // the primary says counts.
                    failed.push(placement.node);
                    (decision.target, decision.reason) = (Target::Primary, Reason::NoReplica);
                    last = Some(error);
                }
                Err(error) => {
                    return match error.of_somebody() {
                        Some(refusal) => Err(Failure::Fatal(refusal)),
                        None => Ok(Err(self.refusal_of(error))),
                    };
                }
            }
        }
        Ok(Err(match last {
            Some(error) if !error.is_nodes_fault() => self.refusal_of(error),
            _ => no_primary(&self.weir.config.load(), self.weir.cluster.why_headless()),
        }))
    }

    async fn place(&self, decision: &Decision, work: &Work) -> Option<Placement> {
        let weir = &self.weir;
        if decision.target == Target::Replica {
            let wish = Wish {
                database: &self.client.who.database,
                decision,
                reads: &work.reads,
                session: &self.memory.freshness,
            };
            self.client.card.set_doing(Doing::WaitingFreshness);
            let placement = weir.cluster.place(&wish).await;
            self.client.card.set_doing(Doing::Waiting);
            if let Some(placement) = placement {
                return Some(placement);
            }
        }
        let ((node, reign), waited) = match weir.cluster.reigning() {
            Some(reigning) => (reigning, Duration::ZERO),
            None => {
                let waiting = Instant::now();
                let limit = weir.config.load().cluster.primary_wait;
                (Box::pin(weir.cluster.wait_for_primary(limit)).await?, waiting.elapsed())
            }
        };
        Some(Placement {
            node,
            is_primary: true,
            reign,
            reason: decision.reason,
            waited,
            lag: Duration::ZERO,
        })
    }

    /// Waits for a server; a cancel request ends the wait, and so does the end of its node. What may run on a replica
    /// (`target`) waits for a primary no longer than that is one.
    async fn wait_for_lease(
        &mut self,
        pool: &Arc<Pool>,
        (node, reign, target): (&Arc<Node>, u64, Target),
        opening: Opening<'_>,
        work: &Work,
    ) -> Result<Result<Result<Lease, LeaseError>, Refusal>, Failure> {
        let card = self.client.card.clone();
        let notice = opening.config.pool.lease_wait_notice;
        let allowed = self.memory.allowed_placeholders(work).map(Allowed::into_owned);
        let mut lease = std::pin::pin!(async {
            match &allowed {
                Some(allowed) => pool.lease_within(opening, allowed).await,
                None => pool.lease(opening).await,
            }
        });
        let mut told = false;
        let (weir, on) = (self.weir.clone(), self.holding.on);
        let has_left =
            || target == Target::Replica && on == Target::Primary && !weir.cluster.is_primary(node);
        loop {
            tokio::select! {
                biased;
                leased = &mut lease => return Ok(Ok(leased)),
                () = card.bell.until(|| node.is_given_up() || node.reign() != reign || has_left()) => {
                    let error = io::Error::new(io::ErrorKind::TimedOut, "the node does not answer");
                    return Ok(Ok(Err(LeaseError::Login(Arc::new(LoginError::Io(error))))));
                }
                () = card.called_off() => return Ok(Err(called_off())),
                // Beside the wait: a client that does not read keeps its place in the queue.
                flushed = self.client.socket.flush(), if !self.client.socket.output.is_empty() => {
                    flushed.map_err(Failure::Client)?;
                }
                () = tokio::time::sleep(notice), if !told => {
                    told = true;
                    crate::wire::error::put_notice(
                        &mut self.client.socket.output,
                        "00000",
                        "pgweir: waiting for a free server connection (pool.server_connections_max)",
                    );
                }
            }
        }
    }

    fn pool_of(&mut self, node: &Arc<Node>) -> Arc<Pool> {
        if let Some((_, pool)) = self.holding.pools.iter().find(|(known, _)| Arc::ptr_eq(known, node)) {
            return pool.clone();
        }
        let config = self.weir.config.load();
        let pool = self.weir.pools.get(node, self.client.who.tenant(), &config);
        self.holding.pools.retain(|(known, _)| known.name != node.name);
        node.tell(&self.client.card.bell);
        self.holding.pools.push((node.clone(), pool.clone()));
        pool
    }

    pub(super) fn refusal_of(&self, error: LeaseError) -> Refusal {
        match error {
            LeaseError::TooLong(refusal) => {
                self.weir.metrics.refused("lease_wait");
                crate::limited!(
                    warn,
                    user = self.client.who.user,
                    database = self.client.who.database,
                    "pool.lease_wait is over"
                );
                refusal
            }
            LeaseError::Login(error) => {
                if matches!(&*error, crate::auth::LoginError::ByServer(body)
                    if ErrorFields::parse(body).sqlstate.starts_with("28"))
                {
                    self.weir.directory.forget(&self.client.who.user);
                }
                refusal_of_login(&error)
            }
        }
    }
}

impl Client {
    fn log_slow_lease(&self, waited: Duration, node: &Node, work: &Work) {
        crate::limited!(
            warn,
            shape = format_args!("{:016x}", work.shape()),
            milliseconds = waited.as_millis(),
            node = node.name,
            user = self.who.user,
            database = self.who.database,
            "slow lease"
        );
    }
}

impl Memory {
    /// The placeholders that the session knows, those that this work sets among them, where it may read some.
    pub(super) fn allowed_placeholders(&self, work: &Work) -> Option<Allowed<'_>> {
        let mut texts = work.parts.iter().zip(&work.texts);
        let temporary = placeholders::makes_temporary_schema(&self.scope.search_path);
        let may_read = temporary
            || work.parts.is_empty()
            || texts.any(|(part, sql)| placeholders::may_be_read_by(part, sql));
        may_read.then(|| {
            let mut known = Cow::Borrowed(&self.placeholders);
            for part in work.parts.iter().filter(|part| !part.plain) {
                known.to_mut().add_of(part);
            }
            Allowed::new(known, !temporary)
        })
    }
}

/// What a client is told whose wait was cancelled.
pub(super) fn called_off() -> Refusal {
    Refusal::new(sqlstate::QUERY_CANCELED, "canceling statement due to user request")
}

/// What a client is told when nothing takes writes.
fn no_primary(config: &crate::config::Config, why: Option<String>) -> Refusal {
    Refusal::new(
        sqlstate::CANNOT_CONNECT_NOW,
        format!(
            "no primary: waited {} (cluster.primary_wait) for a node that takes writes",
            humantime::format_duration(config.cluster.primary_wait)
        ),
    )
    .with_hint(
        why.unwrap_or_else(|| "Reads go on where replicas are up. See SHOW NODES in the console.".into()),
    )
}

/// What a client is told of a server's refusal to let us in.
pub(crate) fn refusal_of_login(error: &crate::auth::LoginError) -> Refusal {
    use crate::auth::LoginError;
    match error {
        LoginError::Refused(refusal) | LoginError::Somebody(refusal) => refusal.clone(),
        LoginError::ByServer(body) => Refusal::of_server(ErrorFields::parse(body)),
        LoginError::Io(error) => {
            Refusal::new(sqlstate::CONNECTION_FAILURE, format!("cannot connect to the node: {error}"))
        }
    }
}
