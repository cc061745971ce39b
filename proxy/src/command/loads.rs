//! What a configuration names and `run` loads: certificates, keys, stored passwords.
//!
//! `check`, `run` and a reload look at it in the same way, so that what one calls good starts.

use crate::auth::scram::Verifier;
use crate::config::Config;
use crate::limits::SCRAM_ITERATIONS_MAX;
use crate::net::tls::{Acceptor, Connector};
use crate::observe::http;

/// What of it cannot be used, in sentences for people.
pub fn unusable(config: &Config) -> Vec<String> {
    let mut wrong = vec![];
    if let Some(files) = &config.listen.tls
        && let Err(error) = Acceptor::examine(files)
    {
        wrong.push(format!("listen.tls: {error}"));
    }
    if let Some(files) = &config.http.tls
        && let Err(error) = http::tls(files)
    {
        wrong.push(format!("http.tls: {error}"));
    }
    if let Err(error) = Connector::new(&config.cluster.tls) {
        wrong.push(format!("cluster.tls: {error}"));
    }
    let passwords = config.users.iter().filter_map(|user| Some((&user.name, user.password.as_ref()?)));
    let own = config.cluster.password.iter().map(|password| (&config.cluster.user, password));
    for (user, password) in passwords.chain(own) {
        // Taken for a password, it would let nobody in.
        if password.0.starts_with("SCRAM-SHA-256$") && Verifier::parse(&password.0).is_none() {
            wrong.push(format!(
                "the stored password of user \"{}\" is torn, or has more than {SCRAM_ITERATIONS_MAX} iterations, \
                 which would take seconds at each log-in",
                user.escape_debug()
            ));
        }
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(toml: &str) -> Vec<String> {
        unusable(&Config::parse(&format!("cluster.nodes = [\"a\"]\n{toml}"), "f").unwrap().0)
    }

    #[test]
    fn a_stored_password_of_too_many_iterations_is_none() {
        let of = |iterations: &str| {
            let key = "R2nLo0UwGCYdbRCQr2yRCpxOjg2wK0PWr0tZT+cy4Gc=";
            wrong(&format!(
                "[[user]]\nname = \"ann\"\npassword = \"SCRAM-SHA-256${iterations}:c2FsdHNhbHRzYWx0c2FsdA==${key}:{key}\"\n"
            ))
        };
        assert_eq!(of("4096"), Vec::<String>::new());
        assert!(of("4096000")[0].contains("more than 1000000 iterations"));
        assert!(of("x")[0].contains("is torn"));
    }
}
