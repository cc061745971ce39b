//! What `pgweir init` will do, in words, in SQL and in TOML. Pure.

use crate::command::check::judge::quoted;
use crate::command::reference::ROLE_SQL;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use std::fmt;
use std::path::PathBuf;

/// What the primary says of itself.
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// `15.8 (Debian …)`.
    pub version: String,
    /// The role `pgweir` is there already.
    pub role_exists: bool,
    /// The administrator may read verifiers, and so may a function of his.
    pub is_superuser: bool,
    /// Databases that not everybody may connect to.
    pub closed: Vec<String>,
    /// Where replicas stream from.
    pub standbys: Vec<String>,
}

/// All of it.
#[derive(Debug, Clone)]
pub struct Plan {
    /// `host:port`.
    pub primary: String,
    /// `host:port` each.
    pub replicas: Vec<String>,
    /// Who does it.
    pub admin: String,
    /// What is there.
    pub known: Known,
    /// The file to write.
    pub config: PathBuf,
}

impl Plan {
    /// In one transaction. The role gets the verifier, so that the password is in no server's log.
    pub fn sql(&self, verifier: &str) -> String {
        let mut sql =
            format!("BEGIN;\n{ROLE_SQL}\nALTER ROLE pgweir PASSWORD '{}';\n", verifier.replace('\'', "''"));
        for database in &self.known.closed {
            sql += &format!("GRANT CONNECT ON DATABASE {} TO pgweir;\n", quoted(database));
        }
        sql + "COMMIT;\n"
    }

    /// The configuration.
    pub fn toml(&self, password: &str) -> String {
        let text = |text: &str| toml::Value::String(text.to_owned()).to_string();
        let nodes: Vec<_> = self.nodes().map(text).collect();
        let missing = match self.unmet() {
            unmet if unmet.is_empty() => String::new(),
            unmet => format!("# The primary also streams to {}: add the replicas there.\n", unmet.join(", ")),
        };
        format!(
            "# Written by `pgweir init`. `pgweir reference` prints every key with its default.\n\n\
             [listen]\naddress = \"127.0.0.1:6432\"      # where applications connect\n\n\
             [http]                          # /metrics, /healthz, /readyz, and the status page at /\n\
             address = \"127.0.0.1:16432\"\n\n\
             [cluster]\n{missing}nodes = [{}]\nuser = \"pgweir\"\npassword = {}\n",
            nodes.join(", "),
            text(password)
        )
    }

    /// What to type next.
    pub fn what_next(&self) -> String {
        let path = self.config.display();
        format!(
            "Done. Next:\n  pgweir check --connect --config {path}\n  pgweir run --config {path}\n\
             Every node's pg_hba.conf must admit this host for all users and databases.\n"
        )
    }

    fn nodes(&self) -> impl Iterator<Item = &str> {
        let replicas = self.replicas.iter().filter(|replica| **replica != self.primary);
        std::iter::once(&self.primary).chain(replicas).map(String::as_str)
    }

    /// Standbys that none of the nodes is.
    fn unmet(&self) -> Vec<&str> {
        let is_met = |host: &str| {
            self.replicas
                .iter()
                .any(|r| r.rsplit_once(':').is_some_and(|(of, _)| of.trim_matches(['[', ']']) == host))
        };
        // Replicas were named: whoever named them knows where they are.
        let named = !self.replicas.is_empty() && self.known.standbys.iter().all(|host| !is_met(host));
        self.known.standbys.iter().map(String::as_str).filter(|host| !named && !is_met(host)).collect()
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "On {} (PostgreSQL {}), as \"{}\":", self.primary, self.known.version, self.admin)?;
        if self.known.role_exists {
            writeln!(
                f,
                "  give the role pgweir, which exists, a new password: whoever uses the old one is locked out"
            )?;
        } else {
            writeln!(f, "  create the role pgweir, with a password")?;
        }
        writeln!(f, "  grant it pg_monitor, and a function of its own that reads users' password verifiers")?;
        for database in &self.known.closed {
            writeln!(f, "  grant it CONNECT on the database {}", quoted(database))?;
        }
        if !self.known.is_superuser {
            writeln!(
                f,
                "  (\"{}\" is no superuser: if it may not read pg_authid, list your users in [[user]])",
                self.admin
            )?;
        }
        let nodes: Vec<_> = self.nodes().collect();
        writeln!(
            f,
            "Here:\n  write {}, readable by you alone, with the nodes {}",
            self.config.display(),
            nodes.join(", ")
        )?;
        match self.unmet() {
            unmet if unmet.is_empty() => Ok(()),
            unmet => writeln!(
                f,
                "  (it also streams to {}; no replica answered there at the primary's port: name it with --replica)",
                unmet.join(", ")
            ),
        }
    }
}

/// Random bytes as letters, digits, `-` and `_`: nothing that a shell or a URL would change.
pub fn password(random: &[u8]) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(random)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn plan() -> Plan {
        Plan {
            primary: "10.0.0.1:5432".into(),
            replicas: vec!["10.0.0.2:5432".into()],
            admin: "postgres".into(),
            known: Known {
                version: "15.8".into(),
                is_superuser: true,
                closed: vec!["Shop".into()],
                standbys: vec!["10.0.0.2".into(), "10.0.0.3".into()],
                ..Known::default()
            },
            config: "pgweir.toml".into(),
        }
    }

    #[test]
    fn what_is_written_is_a_configuration_of_these_nodes() {
        let text = plan().toml("se\"cret");
        let (config, warnings) = Config::parse(&text, "pgweir.toml").unwrap();
        let nodes: Vec<_> = config.cluster.nodes.iter().map(|n| n.address.as_str()).collect();
        assert_eq!(nodes, ["10.0.0.1:5432", "10.0.0.2:5432"]);
        assert_eq!(config.cluster.password.unwrap().0, "se\"cret");
        assert!(warnings.is_empty(), "{warnings:?}");
        assert!(text.contains("streams to 10.0.0.3"), "{text}");
    }

    #[test]
    fn the_plan_says_what_changes_before_it_changes() {
        let said = plan().to_string();
        for words in
            ["create the role pgweir", "pg_monitor", "CONNECT on the database \"Shop\"", "pgweir.toml"]
        {
            assert!(said.contains(words), "no {words:?} in {said}");
        }
        let known = Known { role_exists: true, ..plan().known };
        assert!(Plan { known, ..plan() }.to_string().contains("new password"));
    }

    #[test]
    fn the_sql_is_one_transaction_with_a_verifier_and_no_password() {
        let sql = plan().sql("SCRAM-SHA-256$4096:x$y:z");
        assert!(sql.starts_with("BEGIN;") && sql.ends_with("COMMIT;\n"));
        assert!(sql.contains("PASSWORD 'SCRAM-SHA-256$4096:x$y:z'"));
        assert!(sql.contains("GRANT CONNECT ON DATABASE \"Shop\" TO pgweir;"));
    }

    #[test]
    fn a_password_needs_no_quoting() {
        let made = password(&[255; 24]);
        assert_eq!(made.len(), 32);
        assert!(made.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c)));
    }
}
