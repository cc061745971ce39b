//! What a role is, and what it may do in one database, as Postgres knows it at one moment.
//!
//! A name says too little: a role or a database that was dropped and made again is another one under the
//! same name. What was opened for the former belongs to nobody else, hence the [`Identity`].
//!
//! <https://www.postgresql.org/docs/current/sql-createrole.html>,
//! `InitializeSessionUserId` and `CheckMyDatabase` in PostgreSQL's `miscinit.c` and `postinit.c`.

use crate::wire::{Refusal, sqlstate};
use std::time::SystemTime;

/// Who a session is, whatever the names say later. By default nobody: no role has the OID 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Identity {
    /// The role's OID.
    pub role: u32,
    /// The database's OID.
    pub database: u32,
    /// Whether the role was a superuser: a server keeps in mind what it was at its log-in.
    pub superuser: bool,
}

impl Identity {
    /// The same role in the same database, though perhaps no longer with the same power.
    pub fn is_same_person(&self, other: &Identity) -> bool {
        (self.role, self.database) == (other.role, other.database)
    }
}

/// A role and a database, as far as a log-in asks.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Standing {
    /// `None`: there is no role of this name.
    pub role: Option<Role>,
    /// `None`: there is no database of this name.
    pub database: Option<Database>,
    /// The role has the right to connect to the database.
    pub may_connect: bool,
}

/// A role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Role {
    /// Its OID.
    pub oid: u32,
    /// `LOGIN`.
    pub can_log_in: bool,
    /// `SUPERUSER`.
    pub superuser: bool,
    /// `CONNECTION LIMIT`; `None`: none.
    pub connections_max: Option<usize>,
    /// `VALID UNTIL`: its password counts no longer; `None`: for ever.
    pub valid_until: Option<SystemTime>,
}

/// A database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Database {
    /// Its OID.
    pub oid: u32,
    /// `ALLOW_CONNECTIONS`.
    pub allows_connections: bool,
    /// `CONNECTION LIMIT`; `None`: none.
    pub connections_max: Option<usize>,
    /// A DROP DATABASE that was interrupted has left it behind.
    pub is_broken: bool,
}

impl Standing {
    /// Whose servers these are; `None` where role or database are not there.
    pub fn identity(&self) -> Option<Identity> {
        let (role, database) = (self.role.as_ref()?, self.database.as_ref()?);
        Some(Identity { role: role.oid, database: database.oid, superuser: role.superuser })
    }

    /// Why Postgres would not let this role into this database, in its words and in its order.
    pub fn refusal(&self, user: &str, database: &str) -> Option<Refusal> {
        self.refusal_of_role(user).or_else(|| self.refusal_by_database(database))
    }

    /// The part of it that does not depend on a database.
    pub fn refusal_of_role(&self, user: &str) -> Option<Refusal> {
        let Some(role) = &self.role else {
            let message = format!("role \"{user}\" does not exist");
            return Some(Refusal::new(sqlstate::INVALID_AUTHORIZATION, message));
        };
        if !role.can_log_in {
            let message = format!("role \"{user}\" is not permitted to log in");
            return Some(Refusal::new(sqlstate::INVALID_AUTHORIZATION, message));
        }
        // A limit that leaves room for some is one on servers: see `servers_max`.
        (role.connections_max == Some(0) && !role.superuser).then(|| {
            Refusal::new(sqlstate::TOO_MANY_CONNECTIONS, format!("too many connections for role \"{user}\""))
        })
    }

    fn refusal_by_database(&self, name: &str) -> Option<Refusal> {
        let Some(database) = &self.database else {
            let message = format!("database \"{name}\" does not exist");
            return Some(Refusal::new(sqlstate::UNKNOWN_DATABASE, message));
        };
        if database.is_broken {
            let message = format!("cannot connect to invalid database \"{name}\"");
            return Some(
                Refusal::new(sqlstate::NOT_IN_PREREQUISITE_STATE, message)
                    .with_hint("Use DROP DATABASE to drop invalid databases."),
            );
        }
        if !database.allows_connections {
            let message = format!("database \"{name}\" is not currently accepting connections");
            return Some(Refusal::new(sqlstate::NOT_IN_PREREQUISITE_STATE, message));
        }
        if !self.may_connect {
            let message = format!("permission denied for database \"{name}\"");
            return Some(
                Refusal::new(sqlstate::INSUFFICIENT_PRIVILEGE, message)
                    .with_detail("User does not have CONNECT privilege."),
            );
        }
        (database.connections_max == Some(0) && !self.is_superuser()).then(|| {
            Refusal::new(
                sqlstate::TOO_MANY_CONNECTIONS,
                format!("too many connections for database \"{name}\""),
            )
        })
    }

    /// The role's password counts no longer.
    pub fn has_expired(&self, now: SystemTime) -> bool {
        self.role.as_ref().and_then(|role| role.valid_until).is_some_and(|end| end <= now)
    }

    /// How many servers Postgres gives to this role in this database; `None`: as many as it has.
    pub fn servers_max(&self) -> Option<usize> {
        if self.is_superuser() {
            return None;
        }
        let of_role = self.role.as_ref().and_then(|role| role.connections_max);
        let of_database = self.database.as_ref().and_then(|database| database.connections_max);
        of_role.into_iter().chain(of_database).min()
    }

    fn is_superuser(&self) -> bool {
        self.role.as_ref().is_some_and(|role| role.superuser)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn good() -> Standing {
        Standing {
            role: Some(Role {
                oid: 10,
                can_log_in: true,
                superuser: false,
                connections_max: None,
                valid_until: None,
            }),
            database: Some(Database {
                oid: 20,
                allows_connections: true,
                connections_max: None,
                is_broken: false,
            }),
            may_connect: true,
        }
    }

    fn refused(change: impl FnOnce(&mut Standing)) -> String {
        let mut standing = good();
        change(&mut standing);
        standing.refusal("ann", "shop").map(|refusal| refusal.to_string()).unwrap_or_default()
    }

    fn role(standing: &mut Standing) -> &mut Role {
        standing.role.as_mut().unwrap()
    }

    fn database(standing: &mut Standing) -> &mut Database {
        standing.database.as_mut().unwrap()
    }

    #[test]
    fn whoever_postgres_would_not_let_in_hears_its_words() {
        assert_eq!(refused(|_| ()), "");
        assert_eq!(refused(|s| s.role = None), "28000: role \"ann\" does not exist");
        assert_eq!(refused(|s| role(s).can_log_in = false), "28000: role \"ann\" is not permitted to log in");
        assert_eq!(
            refused(|s| role(s).connections_max = Some(0)),
            "53300: too many connections for role \"ann\""
        );
        assert_eq!(refused(|s| s.database = None), "3D000: database \"shop\" does not exist");
        assert_eq!(
            refused(|s| database(s).allows_connections = false),
            "55000: database \"shop\" is not currently accepting connections"
        );
        assert_eq!(refused(|s| s.may_connect = false), "42501: permission denied for database \"shop\"");
        assert_eq!(
            refused(|s| database(s).connections_max = Some(0)),
            "53300: too many connections for database \"shop\""
        );
        assert_eq!(
            refused(|s| database(s).is_broken = true),
            "55000: cannot connect to invalid database \"shop\""
        );
    }

    #[test]
    fn the_role_is_looked_at_before_the_database() {
        let both = refused(|s| {
            role(s).can_log_in = false;
            s.database = None;
        });
        assert!(both.contains("not permitted to log in"), "{both}");
    }

    #[test]
    fn superusers_know_no_limits() {
        let unlimited = |s: &mut Standing| {
            role(s).superuser = true;
            role(s).connections_max = Some(0);
            database(s).connections_max = Some(0);
        };
        assert_eq!(refused(unlimited), "");
        let mut standing = good();
        unlimited(&mut standing);
        assert_eq!(standing.servers_max(), None);
    }

    #[test]
    fn the_tighter_of_two_limits_counts() {
        let mut standing = good();
        assert_eq!(standing.servers_max(), None);
        database(&mut standing).connections_max = Some(7);
        assert_eq!(standing.servers_max(), Some(7));
        role(&mut standing).connections_max = Some(3);
        assert_eq!(standing.servers_max(), Some(3));
        assert_eq!(standing.refusal("ann", "shop"), None);
    }

    #[test]
    fn a_password_counts_until_its_end() {
        let mut standing = good();
        let now = SystemTime::now();
        assert!(!standing.has_expired(now));
        role(&mut standing).valid_until = Some(now);
        assert!(standing.has_expired(now));
        assert!(!standing.has_expired(now - Duration::from_secs(1)));
    }

    #[test]
    fn a_name_that_was_given_anew_is_another_identity() {
        let before = good().identity().unwrap();
        let mut standing = good();
        role(&mut standing).superuser = true;
        let promoted = standing.identity().unwrap();
        assert!(before != promoted && before.is_same_person(&promoted));
        role(&mut standing).oid = 11;
        assert!(!before.is_same_person(&standing.identity().unwrap()));
        standing.role = None;
        assert_eq!(standing.identity(), None);
    }
}
