//! Nodes that nobody has written down: sources tell them, and what they tell joins and leaves.
//!
//! One task per source ([`follow`]) asks it again and again: a name of the DNS when its records expire
//! ([`dns`]), an API after a pause ([`patroni`]). What comes of an answer is decided in [`rules`], and put in force
//! as a reload would: nodes that are new are probed before they serve, nodes that have left are given no more work.

pub(super) mod dns;
pub(super) mod patroni;
pub mod rules;
pub(super) mod standbys;

use super::board::{By, News};
use super::{Cluster, Settings};
use crate::config::sources::{Find, Kind, Source};
use crate::config::{self, Config};
use crate::limits::{FOUND_EXPIRY_MAX, FOUND_EXPIRY_MIN};
use crate::rows::SourceStatus;
use parking_lot::Mutex;
use rules::{Found, Heard};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::task::JoinHandle;

/// What sources have told, and the tasks that ask them.
#[derive(Debug, Default)]
pub(super) struct Finders {
    found: Mutex<Found>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

impl Drop for Finders {
    fn drop(&mut self) {
        self.tasks.get_mut().iter().for_each(JoinHandle::abort);
    }
}

/// What a source has answered.
#[derive(Debug)]
pub struct Answer {
    /// Its nodes.
    pub nodes: Vec<config::Node>,
    /// For how long that holds, where it says so.
    pub expires: Option<Duration>,
}

impl Cluster {
    /// A reload: sources come and go, and each is asked at once. Those that stay keep what they have told.
    pub(super) fn apply_sources(&self, config: &Config) {
        let mut found = self.finders.found.lock();
        let sources: Vec<Source> =
            config.cluster.sources.iter().cloned().chain(standbys::source(&config.cluster)).collect();
        let gone = found.configure(&config.cluster.nodes, &sources);
        gone.iter().for_each(|source| self.metrics.cluster.sources.forget(source));
        self.list(&found, Settings::of(config), By::Operator);
        drop(found);
        let follow = |source: &Source| self.runtime.spawn(follow(self.itself.clone(), source.clone()));
        let tasks = sources.iter().map(follow).collect();
        let former = std::mem::replace(&mut *self.finders.tasks.lock(), tasks);
        former.iter().for_each(JoinHandle::abort);
    }

    /// The sources, as people want to see them.
    pub fn sources(&self) -> Vec<SourceStatus> {
        self.finders.found.lock().rows()
    }

    /// A source has answered, or has failed to. Gives the pause until it is asked again.
    pub(super) fn heard(&self, source: &Source, answer: Result<Answer, String>) -> Duration {
        let settings = self.settings();
        let interval = settings.cluster.find.interval;
        let mut found = self.finders.found.lock();
        let expires = answer.as_ref().ok().and_then(|answer| answer.expires);
        let heard = found.heard(&source.name, answer.map(|answer| answer.nodes));
        if heard.changed {
            self.list(&found, (*settings).clone(), By::Source);
        }
        let nodes = found.count(&source.name);
        drop(found);
        if source.is_taken() {
            self.metrics.cluster.sources.heard(&source.name, heard.failed.is_none(), nodes);
        }
        let is_unsure = heard.is_unsure;
        self.tell_found(source, heard);
        match expires {
            _ if is_unsure => FOUND_EXPIRY_MIN,
            Some(expires) => expires.clamp(FOUND_EXPIRY_MIN, FOUND_EXPIRY_MAX),
            None => interval,
        }
    }

    /// Puts the nodes in force that are written down and found.
    fn list(&self, found: &Found, settings: Settings, by: By) {
        let cluster = config::Cluster { nodes: found.nodes(), ..settings.cluster };
        self.configure(Settings { cluster, ..settings }, by, found.is_searching());
    }

    fn tell_found(&self, source: &Source, heard: Heard) {
        let news = |kind, node: &str, text| News { kind, node: node.to_owned(), text, lost_writes: 0 };
        for node in &heard.joined {
            self.tell(news("node_found", node, format!("{node} joins: {} tells it", source.name)));
        }
        for node in &heard.left {
            self.tell(news("node_left", node, format!("{node} leaves: {} tells it no more", source.name)));
        }
        for node in &heard.offered {
            let advice =
                "add it to cluster.nodes, or set cluster.find.standbys = \"take\" ('off': not to be told)";
            let text = format!("the primary streams to {node}, which is not among the nodes: {advice}");
            self.tell(news("standby_offered", node, text));
        }
        if let Some(text) = heard.said.filter(|_| source.is_taken()) {
            self.tell(news(
                if heard.failed.is_some() { "source_failed" } else { "source_answers" },
                "",
                text,
            ));
        }
    }
}

/// Asks a source until the cluster, or this task, ends.
async fn follow(cluster: Weak<Cluster>, source: Source) {
    loop {
        let Some(find) = cluster.upgrade().map(|cluster| cluster.settings().cluster.find.clone()) else {
            return;
        };
        let answer = ask(&source, &find, &cluster).await;
        let Some(pause) = cluster.upgrade().map(|cluster| cluster.heard(&source, answer)) else { return };
        tokio::time::sleep(pause).await;
    }
}

/// Asks a source once.
///
/// # Errors
/// What went wrong, for people.
async fn ask(source: &Source, find: &Find, cluster: &Weak<Cluster>) -> Result<Answer, String> {
    let asking = async {
        match &source.kind {
            Kind::Addresses { host, port } => dns::addresses(host, *port, find).await,
            Kind::Services(name) => dns::services(name, find).await,
            Kind::Patroni(endpoints) => patroni::members(endpoints, find).await,
            Kind::Standbys { .. } => standbys::standbys(cluster, find).await,
        }
    };
    let told = tokio::time::timeout(find.timeout, asking).await;
    let late = || format!("no answer within {}", humantime::format_duration(find.timeout));
    let told = told.map_err(|_| late())??;
    let node = |place: Place| config::Node {
        address: place.address,
        weight: if place.is_spared { 0 } else { source.like.weight },
        source: Some(Arc::from(source.name.as_str())),
        ..source.like.clone()
    };
    Ok(Answer { nodes: told.places.into_iter().map(node).collect(), expires: told.expires })
}

/// What was told by any kind of source.
#[derive(Debug, Default, PartialEq)]
struct Told {
    places: Vec<Place>,
    expires: Option<Duration>,
}

/// One node of it.
#[derive(Debug, PartialEq)]
struct Place {
    address: String,
    /// It is to serve no reads.
    is_spared: bool,
}

impl Place {
    fn new(address: String) -> Self {
        Self { address, is_spared: false }
    }
}

/// The nodes that are written down and those that sources tell now, and what went wrong, by source: for programs
/// that look once.
pub async fn look_once(
    cluster: &config::Cluster,
) -> (Vec<config::Node>, Vec<(String, Result<usize, String>)>) {
    let mut found = Found::default();
    found.configure(&cluster.nodes, &cluster.sources);
    let mut outcomes = vec![];
    for source in &cluster.sources {
        let answer = ask(source, &cluster.find, &Weak::new()).await.map(|answer| answer.nodes);
        let failed = found.heard(&source.name, answer).failed;
        let outcome = failed.map_or(Ok(found.count(&source.name)), Err);
        outcomes.push((source.name.clone(), outcome));
    }
    (found.nodes(), outcomes)
}
