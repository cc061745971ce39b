//! What happens to the cluster while clients work.

use crate::site::Site;
use pgweir_tests::HarnessError;
use std::time::Duration;

/// One event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Event {
    /// Somebody asks Patroni for another primary.
    Switchover,
    /// The primary's postmaster is killed (SIGKILL). Patroni starts it again, or takes another.
    Killed,
    /// The primary and its Patroni are killed, and come back after half a minute.
    DeadHost,
    /// The primary and its Patroni stand still for 32 s and go on as if nothing had happened.
    MachinePaused,
    /// A replica is copied afresh.
    Reinit,
}

impl Event {
    /// Its name in the table.
    pub fn as_str(self) -> &'static str {
        match self {
            Event::Switchover => "planned switchover",
            Event::Killed => "`kill -9` of the postmaster",
            Event::DeadHost => "dead host (`kill -9` of Postgres and Patroni)",
            Event::MachinePaused => "machine paused for 32 s",
            Event::Reinit => "replica copied afresh",
        }
    }

    /// Lets it happen; the cluster is whole again at its end.
    pub fn happen(self, site: &Site) -> Result<(), HarnessError> {
        let leader = site.leader()?;
        match self {
            Event::Switchover => {
                site.ask(leader, "/switchover", &format!(r#"{{"leader": "{}"}}"#, site.name(leader)))?;
            }
            Event::Killed => {
                site.signal_postmaster(leader, "KILL");
                // Until Patroni has noticed, it says that all is as it was.
                std::thread::sleep(Duration::from_secs(10));
            }
            Event::DeadHost => {
                site.signal(leader, "KILL", true);
                std::thread::sleep(Duration::from_secs(30));
                site.run(leader)?;
            }
            Event::MachinePaused => {
                site.signal(leader, "STOP", true);
                std::thread::sleep(Duration::from_secs(32));
                site.signal(leader, "CONT", true);
                std::thread::sleep(Duration::from_secs(5));
            }
            Event::Reinit => {
                site.ask(site.replica()?, "/reinitialize", r#"{"force": true}"#)?;
                std::thread::sleep(Duration::from_secs(5));
            }
        }
        site.wait_whole()
    }
}
