//! Users log in as they do on Postgres, without being listed anywhere else.

use crate::support::{Outcome, stage};
use pgweir_tests::cluster::wait_until;
use pgweir_tests::raw::RawClient;
use pgweir_tests::sql::Login;
use pgweir_tests::weir::set;
use pgweir_tests::{HarnessError, Weir};
use toml::{Table, Value};

/// A role on the shared cluster, made anew, there on all nodes.
fn role(name: &str, words: &str) -> Result<Login, HarnessError> {
    let stage = stage();
    let root = stage.cluster.node(stage.cluster.primary()).superuser();
    root.sql(&format!("DROP ROLE IF EXISTS {name}"))?;
    root.sql(&format!("CREATE ROLE {name} LOGIN {words}"))?;
    stage.cluster.wait_caught_up()?;
    Ok(stage.weir.app().user(name, "secret"))
}

fn alter(name: &str, words: &str) -> Outcome {
    let stage = stage();
    let root = stage.cluster.node(stage.cluster.primary()).superuser();
    root.sql(&format!("ALTER ROLE {name} {words}"))?;
    stage.cluster.wait_caught_up()
}

fn rule(user: &str, method: &str) -> Table {
    Table::from_iter([
        ("user".to_owned(), Value::from(vec![user])),
        ("method".to_owned(), Value::from(method)),
    ])
}

/// Who one is, as the server sees it; or the error.
fn who(login: &Login) -> Result<String, String> {
    login.value("SELECT current_user").map_err(|error| error.to_string())
}

fn wrong_password(outcome: &Result<String, String>, user: &str) -> bool {
    let expected = format!("password authentication failed for user \"{user}\"");
    outcome.as_ref().is_err_and(|error| error.contains(&expected))
}

#[test]
fn whoever_cannot_log_in_to_postgres_cannot_log_in_here_and_hears_the_same() -> Outcome {
    let stage = stage();
    role("auth_expired", "PASSWORD 'secret' VALID UNTIL '2020-01-01'")?;
    role("auth_naked", "")?;
    role("auth_lasting", "PASSWORD 'secret' VALID UNTIL 'infinity'")?;
    for user in ["auth_expired", "auth_naked", "auth_nobody"] {
        let login = stage.weir.app().user(user, "secret");
        let outcome = who(&login);
        assert!(wrong_password(&outcome, user), "{user}: {outcome:?}");
        let direct = who(&Login { port: stage.cluster.node(0).port(), ..login });
        assert!(wrong_password(&direct, user), "{user}, directly: {direct:?}");
    }
    assert_eq!(who(&stage.weir.app().user("auth_lasting", "secret")), Ok("auth_lasting".into()));
    Ok(())
}

#[test]
fn a_changed_password_counts_and_the_old_one_does_not() -> Outcome {
    let login = role("auth_changing", "PASSWORD 'secret'")?;
    assert_eq!(who(&login), Ok("auth_changing".into()));
    alter("auth_changing", "PASSWORD 'another'")?;
    let new = login.user("auth_changing", "another");
    wait_until("the new password lets in", || who(&new) == Ok("auth_changing".into()))?;
    let old = who(&login);
    assert!(wrong_password(&old, "auth_changing"), "{old:?}");
    alter("auth_changing", "VALID UNTIL '2020-01-01'")?;
    wait_until("the password has expired", || wrong_password(&who(&new), "auth_changing"))
}

#[test]
fn a_session_outlives_its_users_password() -> Outcome {
    let stage = stage();
    let login = role("auth_outliving", "PASSWORD 'secret'")?;
    let mut early = RawClient::login(&login)?;
    assert_eq!(early.value("SELECT current_user")?, "auth_outliving");
    alter("auth_outliving", "PASSWORD 'another'")?;
    let new = login.user("auth_outliving", "another");
    wait_until("the new password lets in", || who(&new) == Ok("auth_outliving".into()))?;
    // All its servers end; the early session needs a new one.
    for node in stage.cluster.nodes() {
        let ends = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'auth_outliving'";
        node.superuser().sql(ends)?;
    }
    let mut answer = Err("never asked".to_owned());
    wait_until("the early session goes on", || {
        answer = early.value("SELECT current_user").map_err(|error| error.to_string());
        answer.is_ok()
    })?;
    assert_eq!(answer, Ok("auth_outliving".into()));
    Ok(())
}

#[test]
fn a_role_that_may_not_read_passwords_is_told_what_to_do() -> Outcome {
    let stage = stage();
    let poor = role("auth_poor", "PASSWORD 'secret'")?;
    let weir = Weir::builder(&stage.cluster)
        .set("cluster.user", poor.user.as_str())
        .set("cluster.password", poor.password.as_str())
        .without_waiting()
        .start()?;
    let outcome = who(&weir.app()).unwrap_err();
    assert!(outcome.contains("pgweir may not read the users' passwords from the cluster"), "{outcome}");
    Ok(())
}

#[test]
fn a_function_of_somebody_who_cannot_read_passwords_is_not_believed() -> Outcome {
    let stage = stage();
    let poor = role("auth_forger", "PASSWORD 'secret'")?;
    let root = stage.cluster.node(stage.cluster.primary()).superuser();
    root.sql("DROP DATABASE IF EXISTS forged WITH (FORCE)")?;
    root.sql("CREATE DATABASE forged OWNER auth_forger")?;
    let forged = "CREATE SCHEMA pgweir; GRANT USAGE ON SCHEMA pgweir TO PUBLIC; \
        CREATE FUNCTION pgweir.user_lookup(text) \
        RETURNS TABLE (rolname name, rolpassword text, rolvaliduntil timestamptz) \
        LANGUAGE sql SECURITY DEFINER AS $$ SELECT 'postgres'::name, \
        'SCRAM-SHA-256$4096:AAAAAAAAAAAAAAAAAAAAAA==$' || repeat('A', 43) || '=:' || repeat('A', 43) || '=', \
        NULL::timestamptz $$";
    let owner = Login { port: stage.cluster.node(stage.cluster.primary()).port(), ..poor };
    owner.database("forged").sql(forged)?;
    stage.cluster.wait_caught_up()?;
    let weir = Weir::builder(&stage.cluster).set("cluster.database", "forged").without_waiting().start()?;
    let outcome = who(&weir.superuser()).unwrap_err();
    assert!(outcome.contains("pgweir may not read the users' passwords from the cluster"), "{outcome}");
    Ok(())
}

#[test]
fn rules_say_who_has_to_show_what() -> Outcome {
    let stage = stage();
    let app = stage.weir.app();
    let weir = Weir::builder(&stage.cluster)
        .user(&app.user, &app.password)
        .user("auth_banned", "secret")
        .set("auth.rule", Value::from(vec![rule("auth_banned", "reject"), rule(&app.user, "trust")]))
        .start()?;
    let careless = weir.app().user(&app.user, "whatever");
    assert_eq!(who(&careless), Ok(app.user.clone()), "the configured password logs in to servers");
    let banned = who(&weir.app().user("auth_banned", "secret")).unwrap_err();
    assert!(banned.contains("a rule of pgweir rejects connection for host \"127.0.0.1\""), "{banned}");
    let other = who(&weir.app().user("pgweir", "x")).unwrap_err();
    assert!(other.contains("no rule of pgweir accepts connection"), "{other}");

    for method in ["password", "md5", "scram-sha-256"] {
        weir.reconfigure(|config| {
            set(config, "auth.rule", Value::from(vec![rule(&app.user, method)]));
        })?;
        assert_eq!(who(&weir.app()), Ok(app.user.clone()), "{method}");
        let outcome = who(&careless);
        assert!(wrong_password(&outcome, &app.user), "{method}: {outcome:?}");
    }
    Ok(())
}

#[test]
fn secrets_are_in_no_log() -> Outcome {
    let stage = stage();
    let login = role("auth_discreet", "PASSWORD 'secret-of-discretion'")?;
    let weir = Weir::builder(&stage.cluster)
        .set("log.filter", "pgweir=trace")
        .user("auth_discreet", "secret-of-discretion")
        .start()?;
    let through = Login { port: weir.port(), ..login.user("auth_discreet", "secret-of-discretion") };
    assert_eq!(who(&through), Ok("auth_discreet".into()));
    assert!(who(&through.user("auth_discreet", "secret-of-nobody")).is_err());
    let log = weir.log();
    assert!(!log.is_empty());
    for secret in ["secret-of-discretion", "secret-of-nobody", "SCRAM-SHA-256$"] {
        assert!(!log.contains(secret), "{secret} is in the log");
    }
    Ok(())
}
