//! The console: the database `pgweir` (or `pgbouncer`), asked in psql.
//!
//! A command is read ([`command`]), allowed or not by the user's [`Role`], and answered from a
//! [`Picture`](crate::observe::Picture) ([`show`]) or done ([`act`]). [`protocol`] carries that over the
//! simple and the extended protocol.

mod act;
pub mod command;
mod protocol;
mod show;
pub mod table;
mod tokens;

pub use protocol::serve;

use crate::config::Config;

/// What a user may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Look.
    Stats,
    /// Everything.
    Admin,
}

impl Role {
    /// The role of `user`; `None`: no business here.
    pub fn of(user: &str, config: &Config) -> Option<Self> {
        let console = &config.console;
        let is_in = |users: &[String]| users.iter().any(|u| u == user);
        let default_admin = console.admin_users.is_empty() && user == config.cluster.user;
        if default_admin || is_in(&console.admin_users) {
            Some(Role::Admin)
        } else if is_in(&console.stats_users) {
            Some(Role::Stats)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cluster_role_is_admin_until_somebody_is_named() {
        let config = |text: &str| Config::parse(&format!("cluster.nodes = [\"a\"]\n{text}"), "f").unwrap().0;
        let nobody_named = config("");
        assert_eq!(Role::of("pgweir", &nobody_named), Some(Role::Admin));
        assert_eq!(Role::of("app", &nobody_named), None);
        let named = config("console.admin_users = [\"root\"]\nconsole.stats_users = [\"prom\"]");
        assert_eq!(Role::of("pgweir", &named), None);
        assert_eq!(Role::of("root", &named), Some(Role::Admin));
        assert_eq!(Role::of("prom", &named), Some(Role::Stats));
    }
}
