//! Who is primary while sources tell more nodes, or fewer.

use super::*;
use crate::cluster::board::By;
use crate::cluster::found;
use crate::config;

#[test]
fn a_primary_that_a_source_tells_no_more_is_not_followed_by_an_older_one() {
    let stage = Stage::new();
    stage.lose(0);
    stage.promoted(1, 2, 1000, 900);
    assert_eq!(stage.cluster.primary().map(|node| node.name.clone()).as_deref(), Some("b:1"));
    let listed = || {
        let mut settings = (*stage.cluster.settings()).clone();
        settings.cluster.nodes.retain(|node| node.address != "b:1");
        settings
    };
    stage.cluster.configure(listed(), By::Source, false);
    assert!(stage.nodes[1].has_left() && !stage.nodes[0].has_left());
    stage.connect(0);
    stage.primary_at(0, 1200);
    assert!(stage.cluster.primary().is_none(), "its history ended when the other was promoted");
    // A person decides.
    let mut settings = listed();
    settings.cluster.nodes.retain(|node| node.address == "a:1");
    stage.cluster.configure(settings, By::Operator, false);
    assert_eq!(stage.cluster.primary().map(|node| node.name.clone()).as_deref(), Some("a:1"));
}

#[test]
fn nobody_is_taken_for_the_primary_before_every_source_was_heard() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _entered = runtime.enter();
    let mut config = Config::for_tests(&["a:1", "dns://pg.test"]);
    config.cluster.find.interval = Duration::from_secs(7);
    let metrics = Arc::new(Metrics::new().unwrap());
    let cluster = Cluster::start(&config, metrics, tokio::runtime::Handle::current());
    let nodes = cluster.view.load().members.iter().map(|m| m.node.clone()).collect();
    let stage = Stage { runtime: tokio::runtime::Runtime::new().unwrap(), cluster, nodes };
    stage.connect(0);
    stage.primary_at(0, 1000);
    assert!(stage.cluster.primary().is_none());
    let source = &config.cluster.sources[0];
    assert_eq!(stage.cluster.heard(source, Err("NXDOMAIN".into())), Duration::from_secs(7));
    assert_eq!(stage.cluster.primary().map(|node| node.name.clone()).as_deref(), Some("a:1"));
    let node = config::Node { address: "b:1".into(), ..config.cluster.nodes[0].clone() };
    let answer = found::Answer { nodes: vec![node], expires: Some(Duration::ZERO) };
    assert_eq!(stage.cluster.heard(source, Ok(answer)), crate::limits::FOUND_EXPIRY_MIN);
    let names: Vec<_> = stage.cluster.snapshot().into_iter().map(|node| node.name).collect();
    assert_eq!(names, ["a:1", "b:1"]);
    assert_eq!(stage.cluster.primary().map(|node| node.name.clone()).as_deref(), Some("a:1"), "it stays");
}
