//! Start-up and authentication look as on Postgres itself.

use crate::assert_same;
use crate::support::{Outcome, Seat, error, login_outcome, stage, twin};
use pgweir_tests::raw::{self, Frame, PROTOCOL_3_0, PROTOCOL_3_2, RawClient};
use pgweir_tests::sql::Login;
use pgweir_tests::{HarnessError, Weir};
use std::io::Read;
use std::time::Duration;

const SSL_REQUEST: i32 = 1234 << 16 | 5679;
const GSSENC_REQUEST: i32 = 1234 << 16 | 5680;

fn one_byte(client: &mut RawClient) -> Result<u8, HarnessError> {
    let mut byte = [0];
    client
        .stream()
        .read_exact(&mut byte)
        .map_err(|error| HarnessError::Io("reading one byte".into(), error))?;
    Ok(byte[0])
}

/// A pgweir that has no TLS, as the nodes have none.
fn without_tls(stage: &Seat) -> Result<Weir, HarnessError> {
    Weir::builder(&stage.cluster).set("listen.tls", "off").start()
}

/// Both sides' outcome of the same log-in must be the same; returns it.
fn same_outcome(
    stage: &Seat,
    login: &Login,
    parameters: &[(&str, &str)],
) -> Result<Result<(), [String; 3]>, HarnessError> {
    let direct = login_outcome(&twin(stage, login), parameters)?;
    let through = login_outcome(login, parameters)?;
    assert_same!(through, direct, "log-in as {login:?} with {parameters:?}");
    Ok(through)
}

#[test]
fn ssl_and_gss_requests_are_declined_with_one_byte_and_the_log_in_goes_on() -> Outcome {
    let stage = stage();
    let weir = without_tls(&stage)?;
    let login = weir.app();
    for requests in [vec![SSL_REQUEST], vec![GSSENC_REQUEST], vec![GSSENC_REQUEST, SSL_REQUEST]] {
        let mut client = RawClient::connect(login.port)?;
        for request in requests {
            client.send_headless(&request.to_be_bytes())?;
            assert_eq!(one_byte(&mut client)?, b'N');
        }
        client.startup(PROTOCOL_3_0, &[("user", "app"), ("database", "app")])?;
        let frames = client.authenticate(&login.password)?;
        assert_eq!(frames.last().map(|frame| frame.tag), Some(b'Z'));
    }
    Ok(())
}

#[test]
fn asking_for_ssl_twice_is_refused_as_by_postgres() -> Outcome {
    let stage = stage();
    let outcome = |port| -> Result<[String; 3], HarnessError> {
        let mut client = RawClient::connect(port)?;
        client.send_headless(&SSL_REQUEST.to_be_bytes())?;
        assert_eq!(one_byte(&mut client)?, b'N');
        client.send_headless(&SSL_REQUEST.to_be_bytes())?;
        Ok(error(&client.frame()?))
    };
    let direct = outcome(stage.cluster.node(0).port())?;
    let [severity, code, _] = outcome(without_tls(&stage)?.port())?;
    // The message names the protocol versions that are spoken, which are pgweir's own.
    assert_same!([severity, code], direct[..2], "a second SSLRequest");
    Ok(())
}

#[test]
fn an_old_or_unknown_protocol_is_refused_in_postgres_words() -> Outcome {
    let stage = stage();
    let outcome = |port, version| -> Result<(bool, bool), HarnessError> {
        let mut client = RawClient::connect(port)?;
        client.startup(version, &[("user", "app")])?;
        let bytes = client.until_closed(Duration::from_secs(10))?;
        let text = String::from_utf8_lossy(&bytes).into_owned();
        // To versions before 3 Postgres answers in their own format, which has no length.
        Ok((text.starts_with('E'), text.contains("unsupported frontend protocol")))
    };
    for version in [1 << 16, 2 << 16, 4 << 16, 99 << 16] {
        let direct = outcome(stage.cluster.node(0).port(), version)?;
        let through = outcome(stage.weir.port(), version)?;
        assert_same!(through, direct, "protocol {}", version >> 16);
    }
    Ok(())
}

#[test]
fn a_newer_minor_protocol_is_negotiated() -> Outcome {
    let stage = stage();
    for version in [PROTOCOL_3_2, PROTOCOL_3_0 + 99] {
        let mut client = RawClient::login_with(&stage.weir.app(), version, &[])?;
        assert_eq!(client.value("SELECT 42")?, "42");
    }
    // 3.99 is nobody's: the answer must say what is spoken instead.
    let mut client = RawClient::connect(stage.weir.port())?;
    client.startup(PROTOCOL_3_0 + 99, &[("user", "app"), ("database", "app")])?;
    let first = client.frame()?;
    assert_eq!(first.tag, b'v', "NegotiateProtocolVersion comes first, not {first:?}");
    let minor = i32::from_be_bytes(first.body[..4].try_into().expect("four bytes"));
    assert!(minor & 0xffff <= 2, "pgweir claims to speak minor {minor}");
    Ok(())
}

#[test]
fn unknown_protocol_options_are_listed() -> Outcome {
    let stage = stage();
    let parameters = [("user", "app"), ("database", "app"), ("_pq_.lasers", "on")];
    let answer = |port| -> Result<Frame, HarnessError> {
        let mut client = RawClient::connect(port)?;
        client.startup(PROTOCOL_3_0, &parameters)?;
        client.frame()
    };
    let direct = answer(stage.cluster.node(0).port())?;
    let through = answer(stage.weir.port())?;
    assert_same!(through.tag, direct.tag, "an unknown _pq_ option");
    // After the version, which may be newer than the node's: the number of options, and names.
    assert_same!(through.body[4..], direct.body[4..], "an unknown _pq_ option");
    Ok(())
}

#[test]
fn the_applications_user_and_password_just_work() -> Outcome {
    let stage = stage();
    let mut client = RawClient::login(&stage.weir.app())?;
    assert_eq!(client.value("SELECT current_user")?, "app");
    assert_eq!(client.value("SELECT current_database()")?, "app");
    Ok(())
}

#[test]
fn a_wrong_password_an_unknown_user_and_an_unknown_database_get_postgres_words() -> Outcome {
    let stage = stage();
    let login = stage.weir.app();
    let wrong = [
        login.user("app", "wrong"),
        login.user("app", ""),
        login.user("nobody-here", "wrong"),
        login.user("Ärger\"'; DROP", "wrong"),
        login.database("nothing-here"),
        login.database("nothing-here").user("nobody-here", "wrong"),
        login.database("nothing-here").user("app", "wrong"),
    ];
    for login in wrong {
        assert!(same_outcome(&stage, &login, &[])?.is_err(), "{login:?} was let in");
    }
    Ok(())
}

#[test]
fn roles_and_databases_that_refuse_log_ins_refuse_them_through_pgweir() -> Outcome {
    let stage = stage();
    let root = stage.cluster.node(0).superuser();
    for sql in [
        "CREATE ROLE sleeper NOLOGIN PASSWORD 'x'",
        "CREATE ROLE expired LOGIN PASSWORD 'x' VALID UNTIL '2001-01-01'",
        "CREATE ROLE wordless LOGIN",
        "CREATE ROLE outsider LOGIN PASSWORD 'x'",
        "CREATE DATABASE closed_db ALLOW_CONNECTIONS false",
        "CREATE DATABASE private_db",
        "REVOKE CONNECT ON DATABASE private_db FROM PUBLIC",
    ] {
        root.sql(sql)?;
    }
    stage.cluster.wait_caught_up()?;
    let login = stage.weir.app();
    for login in [
        login.user("sleeper", "x"),
        login.user("sleeper", "wrong"),
        login.user("expired", "x"),
        login.user("wordless", ""),
        login.user("wordless", "x"),
        login.user("outsider", "x").database("closed_db"),
        login.user("outsider", "x").database("private_db"),
    ] {
        assert!(same_outcome(&stage, &login, &[])?.is_err(), "{login:?} was let in");
    }
    assert!(same_outcome(&stage, &login.user("outsider", "x"), &[])?.is_ok());
    Ok(())
}

#[test]
fn a_changed_password_is_the_only_one_that_works() -> Outcome {
    let stage = stage();
    let root = stage.cluster.node(0).superuser();
    root.sql("CREATE ROLE changer LOGIN PASSWORD 'first'")?;
    stage.cluster.wait_caught_up()?;
    let login = stage.weir.app();
    assert!(login_outcome(&login.user("changer", "first"), &[])?.is_ok());
    root.sql("ALTER ROLE changer PASSWORD 'second'")?;
    stage.cluster.wait_caught_up()?;
    let mut second = login_outcome(&login.user("changer", "second"), &[])?;
    if second.is_err() {
        // One failure may be what tells pgweir that its copy of the verifier is old.
        second = login_outcome(&login.user("changer", "second"), &[])?;
    }
    assert!(second.is_ok(), "{second:?}");
    let first = login_outcome(&login.user("changer", "first"), &[])?;
    assert_eq!(first.unwrap_err()[1], "28P01");
    Ok(())
}

#[test]
fn start_up_packets_without_a_user_or_a_database_are_treated_as_by_postgres() -> Outcome {
    let stage = stage();
    let outcome = |port, parameters: &[(&str, &str)]| -> Result<_, HarnessError> {
        let mut client = RawClient::connect(port)?;
        client.startup(PROTOCOL_3_0, parameters)?;
        let frames = client.authenticate("app-secret")?;
        let last = frames.last().expect("at least one frame");
        Ok((last.tag, (last.tag == b'E').then(|| error(last))))
    };
    for parameters in [&[][..], &[("database", "app")], &[("user", "")], &[("user", "app")]] {
        let direct = outcome(stage.cluster.node(0).port(), parameters)?;
        let through = outcome(stage.weir.port(), parameters)?;
        assert_same!(through, direct, "start-up with {parameters:?}");
    }
    Ok(())
}

#[test]
fn start_up_parameters_take_effect_or_fail_as_on_postgres() -> Outcome {
    let stage = stage();
    let login = stage.weir.app();
    for parameters in [
        [("nonsense", "1")],
        [("client_encoding", "klingon")],
        [("DateStyle", "fuzzy")],
        [("options", "-c work_mem=1")],
        [("options", "-c nonsense=1")],
        [("options", "--work-mem=3MB -c search_path=pg_catalog")],
        [("application_name", "a name with blanks")],
        [("TimeZone", "Asia/Tokyo")],
        [("session_preload_libraries", "x")],
        [("local_preload_libraries", "x")],
        [("session_authorization", "helper")],
        [("session_authorization", "nobody")],
        [("session_authorization", "app")],
    ] {
        let _ = same_outcome(&stage, &login, &parameters)?;
    }
    for options in [
        "-S 4321",
        "-S",
        "-e",
        "-d 1",
        "-fs",
        "-fx",
        "-f s",
        "-W 0",
        "-c a",
        "-c",
        "--a",
        "-es",
        "-t pa",
        "-t x",
        "-F",
        "-B 100",
        "-p 1",
        "-O",
        "-P",
        "-i",
        "-n",
        "-x",
        "x",
        "-eS 4321",
        "-c=1",
        "-c work_mem",
    ] {
        let _ = same_outcome(&stage, &login, &[("options", options)])?;
    }
    let mut client = RawClient::login_with(&login, PROTOCOL_3_0, &[("options", "-eS 4321 -fs")])?;
    for (name, value) in [("work_mem", "4321kB"), ("DateStyle", "ISO, DMY"), ("enable_seqscan", "off")] {
        assert_eq!(client.value(&format!("SHOW {name}"))?, value);
    }
    let mut root = stage.cluster.node(stage.cluster.primary()).superuser();
    root.database = "app".into();
    for parameters in [
        [("session_preload_libraries", "x")],
        [("local_preload_libraries", "x")],
        [("session_authorization", "helper")],
        [("session_authorization", "nobody")],
    ] {
        let through = Login { port: login.port, ..root.clone() };
        let _ = same_outcome(&stage, &through, &parameters)?;
    }
    let parameters = [
        ("application_name", "start-up test"),
        ("TimeZone", "Asia/Tokyo"),
        ("options", "-c work_mem=3MB -csearch_path=pg_catalog,public -c statement_timeout=12345"),
    ];
    let mut client = RawClient::login_with(&login, PROTOCOL_3_0, &parameters)?;
    for (name, value) in [
        ("application_name", "start-up test"),
        ("TimeZone", "Asia/Tokyo"),
        ("work_mem", "3MB"),
        ("search_path", "pg_catalog,public"),
        ("statement_timeout", "12345ms"),
    ] {
        let sql = format!("SELECT current_setting('{name}')");
        assert_eq!(client.value(&sql)?.replace(", ", ","), value, "{name}");
    }
    Ok(())
}

#[test]
fn the_parameters_reported_at_log_in_are_those_of_the_primary() -> Outcome {
    let stage = stage();
    let parameters = [("application_name", "reported"), ("DateStyle", "German")];
    let reported = |login: &Login| -> Result<Vec<(String, String)>, HarnessError> {
        let client = RawClient::login_with(login, PROTOCOL_3_0, &parameters)?;
        let mut reported = client.parameters.clone();
        reported.sort();
        Ok(reported)
    };
    let through = reported(&stage.weir.app())?;
    let direct = reported(&stage.cluster.app(0))?;
    assert_same!(through, direct, "ParameterStatus at log-in");
    Ok(())
}

#[test]
fn a_message_out_of_turn_during_authentication_is_refused_as_by_postgres() -> Outcome {
    let stage = stage();
    let huge = vec![b'x'; 70_000];
    for message in [raw::query("SELECT 1"), raw::sync(), raw::frame(b'p', &huge)] {
        let outcome = |port| -> Result<[String; 3], HarnessError> {
            let mut client = RawClient::connect(port)?;
            client.startup(PROTOCOL_3_0, &[("user", "app"), ("database", "app")])?;
            assert_eq!(client.frame()?.tag, b'R');
            client.send(&message)?;
            let answer = error(&client.frame()?);
            client.until_closed(Duration::from_secs(10))?;
            Ok(answer)
        };
        let direct = outcome(stage.cluster.node(0).port())?;
        let through = outcome(stage.weir.port())?;
        assert_same!(through[..2], direct[..2], "message {:?}", char::from(message[0]));
    }
    Ok(())
}

#[test]
fn a_configured_user_logs_in_with_the_configured_password() -> Outcome {
    let stage = stage();
    let weir = Weir::builder(&stage.cluster).user("app", "app-secret").start()?;
    assert_eq!(weir.app().value("SELECT current_user")?, "app");
    let refused = login_outcome(&weir.app().user("app", "wrong"), &[])?;
    assert_eq!(refused.unwrap_err()[1], "28P01");
    Ok(())
}
