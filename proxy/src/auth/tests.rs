//! Whole log-ins over sockets, each side against the other and against tokio-postgres.

use super::*;
use crate::config::{
    AuthMethod, AuthRule, CertificateCheck, Config, ListenTls, Proof, ServerAuth, ServerTls, SslMode, User,
};
use crate::net::tls::{Acceptor, Connector};
use crate::net::{Connection, Stream};
use crate::wire::frame;
use crate::wire::startup::Startup;
use bytes::BufMut;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use tokio::net::{TcpListener, TcpStream, UnixStream};

const REMOTE: Option<IpAddr> = Some(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)));

fn startup(user: &str) -> Startup {
    Startup {
        minor: 0,
        user: user.into(),
        database: "shop".into(),
        replication: None,
        settings: vec![],
        unknown_options: vec![],
    }
}

/// No user is configured, and no node can be asked.
/// A server may ask for whatever it likes.
fn any_proof() -> ServerAuth {
    ServerAuth(vec![Proof::None, Proof::Password, Proof::Md5, Proof::ScramSha256])
}

fn nobody() -> Config {
    let mut config = Config::for_tests(&["127.0.0.1:1"]);
    config.cluster.nodes.clear();
    config
}

fn config(users: &[(&str, &str)]) -> Config {
    let mut config = nobody();
    config.users = users
        .iter()
        .map(|(name, password)| User {
            name: (*name).into(),
            password: Some(Secret((*password).into())),
            mode: None,
            server_connections_max: None,
        })
        .collect();
    config
}

fn with_method(mut config: Config, method: AuthMethod) -> Config {
    config.auth.rules = vec![AuthRule {
        connection: Default::default(),
        databases: vec![],
        users: vec![],
        address: None,
        method,
        client_certificate: None,
    }];
    config
}

/// One side's connections to the other, in memory.
fn pair() -> (Connection, Connection) {
    let (a, b) = UnixStream::pair().unwrap();
    (Connection::new(Stream::Unix(a)), Connection::new(Stream::Unix(b)))
}

/// No node is up.
struct Nowhere;

impl Nodes for Nowhere {
    fn best_first(&self) -> Option<Vec<String>> {
        Some(vec![])
    }

    fn primary_address(&self) -> Option<String> {
        None
    }

    fn system(&self) -> Option<u64> {
        None
    }
}

/// A pgweir as far as logging in is concerned.
struct Door {
    config: Config,
    directory: Directory,
}

impl Door {
    fn new(config: Config) -> Self {
        let directory = Directory::new(&config);
        Self { config, directory }
    }

    async fn admit(
        &self,
        mut client: Connection,
        user: &str,
        address: Option<IpAddr>,
    ) -> (Result<Arc<Credentials>, LoginError>, Connection) {
        let (directory, config) = (&self.directory, &self.config);
        let startup = startup(user);
        let outcome = authenticate(&mut client, &startup, address, directory, &Nowhere, config).await;
        if let Err(LoginError::Refused(refusal)) = &outcome {
            refusal.put(&mut client.output, "FATAL");
        }
        // The peer may have gone away.
        let _ = client.flush().await;
        (outcome.map(|admitted| admitted.credentials), client)
    }

    /// Both sides of one log-in: what the door says, what the client says.
    async fn visit(
        &self,
        user: &str,
        credentials: &Credentials,
        address: Option<IpAddr>,
        (mut outside, inside): (Connection, Connection),
    ) -> (Result<Arc<Credentials>, LoginError>, Result<(), LoginError>) {
        let client = async {
            let outcome = log_in(&mut outside, user, credentials, &any_proof()).await;
            drop(outside);
            outcome
        };
        let ((admitted, _), outcome) = tokio::join!(self.admit(inside, user, address), client);
        (admitted, outcome)
    }

    async fn admits(&self, user: &str, password: &str) -> Result<Arc<Credentials>, String> {
        let credentials = Credentials::password(Secret(password.into()));
        let (admitted, outcome) = self.visit(user, &credentials, None, pair()).await;
        assert_eq!(admitted.is_ok(), outcome.is_ok(), "both sides agree: {admitted:?}, {outcome:?}");
        admitted.map_err(|error| error.to_string())
    }
}

#[tokio::test]
async fn a_configured_user_gets_in_with_the_right_password_only() {
    let door = Door::new(config(&[("app", "secret")]));
    assert!(matches!(**door.admits("app", "secret").await.unwrap().0.load(), Shown::Password(_)));
    let refused = "28P01: password authentication failed for user \"app\"";
    assert_eq!(door.admits("app", "Secret").await.unwrap_err(), refused);
    assert_eq!(door.admits("nobody", "secret").await.unwrap_err(), refused.replace("app", "nobody"));
}

#[tokio::test]
async fn the_cluster_role_gets_in_too() {
    let mut config = config(&[("app", "secret")]);
    config.cluster.user = "pgweir".into();
    config.cluster.password = Some(Secret("own".into()));
    assert!(Door::new(config).admits("pgweir", "own").await.is_ok());
}

#[tokio::test]
async fn a_user_configured_by_verifier_passes_through() {
    let verifier = scram::Keys::derive("secret", b"0123456789abcdef", 4096).verifier().to_string();
    let door = Door::new(config(&[("app", &verifier)]));
    let learned = door.admits("app", "secret").await.unwrap();
    assert!(matches!(**learned.0.load(), Shown::Scram(_)));
    let again = door.admits("app", "secret").await.unwrap();
    assert!(Arc::ptr_eq(&learned, &again), "the same user keeps the same credentials");
    // Another door with the same verifier lets these keys in, one with another salt does not.
    let same = Door::new(config(&[("app", &verifier)]));
    let (admitted, outcome) = same.visit("app", &learned, None, pair()).await;
    assert!(admitted.is_ok() && outcome.is_ok());
    let other = Door::new(config(&[("app", "secret")]));
    let (_, outcome) = other.visit("app", &learned, None, pair()).await;
    assert!(outcome.unwrap_err().to_string().starts_with("28P01: password authentication failed"));
}

#[tokio::test]
async fn a_session_gets_at_servers_by_what_a_later_log_in_taught() {
    let verifier = |password| scram::Keys::derive(password, b"0123456789abcdef", 4096).verifier().to_string();
    let mut door = Door::new(config(&[("app", &verifier("old"))]));
    let early = door.admits("app", "old").await.unwrap();
    door.config = config(&[("app", &verifier("new"))]);
    door.directory.apply(&door.config);
    assert!(door.admits("app", "old").await.is_err());
    let node = Door::new(config(&[("app", &verifier("new"))]));
    assert!(node.visit("app", &early, None, pair()).await.1.is_err());
    door.admits("app", "new").await.unwrap();
    assert!(node.visit("app", &early, None, pair()).await.1.is_ok());
}

#[tokio::test]
async fn an_unknown_user_sees_the_same_salt_each_time() {
    let door = Door::new(config(&[("app", "secret")]));
    let [first, again, other] = ["ghost", "ghost", "spectre"].map(|user| door.directory.mock(user));
    assert_eq!(first.salt, again.salt);
    assert_ne!(first.salt, other.salt);
    assert_eq!((first.salt.len(), first.iterations), (16, 4096));
}

#[tokio::test]
async fn md5_is_spoken_where_a_rule_or_the_stored_form_says_so() {
    let by_rule = Door::new(with_method(config(&[("app", "secret")]), AuthMethod::Md5));
    assert!(by_rule.admits("app", "secret").await.is_ok());
    assert!(by_rule.admits("app", "wrong").await.is_err());
    assert!(by_rule.admits("nobody", "secret").await.is_err());

    let by_form = Door::new(config(&[("app", &md5::stored("secret", "app"))]));
    let learned = by_form.admits("app", "secret").await.unwrap();
    assert!(matches!(**learned.0.load(), Shown::Md5(_)));
    let (admitted, outcome) = by_form.visit("app", &learned, None, pair()).await;
    assert!(admitted.is_ok() && outcome.is_ok(), "the stored form itself is enough for md5");
}

#[tokio::test]
async fn a_clear_text_password_is_not_asked_for_where_somebody_may_listen() {
    let door = Door::new(with_method(config(&[("app", "secret")]), AuthMethod::Password));
    assert!(door.admits("app", "secret").await.is_ok());
    assert!(door.admits("app", "wrong").await.is_err());
    let credentials = Credentials::password(Secret("secret".into()));
    let (admitted, _) = door.visit("app", &credentials, REMOTE, pair()).await;
    let error = admitted.unwrap_err().to_string();
    assert_eq!(error, "28000: pgweir takes clear-text passwords over TLS only");
}

#[tokio::test]
async fn trust_asks_nothing_and_reject_listens_to_nothing() {
    let trusting = Door::new(with_method(config(&[("app", "secret")]), AuthMethod::Trust));
    let (admitted, outcome) = trusting.visit("app", &Credentials::none(), REMOTE, pair()).await;
    assert!(matches!(**admitted.unwrap().0.load(), Shown::Password(_)));
    assert!(outcome.is_ok());
    let closed = Door::new(with_method(config(&[("app", "secret")]), AuthMethod::Reject));
    let error = closed.admits("app", "secret").await.unwrap_err();
    assert!(error.starts_with("28000: a rule of pgweir rejects connection for host \"[local]\""), "{error}");
}

#[tokio::test]
async fn when_nobody_can_be_looked_up_the_client_is_told() {
    let error = Door::new(nobody()).admits("app", "secret").await.unwrap_err();
    assert_eq!(error, "57P03: pgweir cannot reach any node of the cluster");
}

#[tokio::test]
async fn a_servers_own_refusal_passes_byte_for_byte() {
    let (mut outside, mut inside) = pair();
    frame::put(&mut inside.output, b'E', |out| out.put_slice(b"SFATAL\0C3D000\0Mno\0\0"));
    inside.flush().await.unwrap();
    match log_in(&mut outside, "app", &Credentials::none(), &any_proof()).await {
        Err(LoginError::ByServer(body)) => assert_eq!(&body[..], b"SFATAL\0C3D000\0Mno\0\0"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_follows_authentication_ok_is_left_for_the_caller() {
    let (mut outside, mut inside) = pair();
    frame::put(&mut inside.output, b'R', |out| out.put_u32(0));
    inside.output.put_slice(b"S\0\0\0\x08a\0b\0");
    inside.flush().await.unwrap();
    log_in(&mut outside, "app", &Credentials::none(), &any_proof()).await.unwrap();
    assert_eq!(&outside.input[..], b"S\0\0\0\x08a\0b\0");
}

#[tokio::test]
async fn a_server_that_asks_for_what_we_lack_is_told_so() {
    for (request, wanted) in [(&b"\0\0\0\x03"[..], "a password"), (b"\0\0\0\x05salt", "md5")] {
        let (mut outside, mut inside) = pair();
        frame::put(&mut inside.output, b'R', |out| out.put_slice(request));
        inside.flush().await.unwrap();
        let error =
            log_in(&mut outside, "app", &Credentials::none(), &any_proof()).await.unwrap_err().to_string();
        assert!(error.contains(&format!("asks for {wanted} of user \"app\"")), "{error}");
    }
}

/// Certificates in files, gone when dropped.
struct Files(PathBuf);

impl Drop for Files {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl Files {
    /// A CA, a server certificate for `localhost` and a client certificate for `app`.
    fn new() -> Self {
        let name: String = scram::random::<8>().map(|b| format!("{b:02x}")).concat();
        let files = Self(std::env::temp_dir().join(format!("pgweir-tls-{name}")));
        std::fs::create_dir(&files.0).unwrap();
        files.issue();
        files
    }

    fn issue(&self) {
        let key = || rcgen::KeyPair::generate().unwrap();
        let named = |common: &str, names: &[&str]| {
            let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
            let mut parameters = rcgen::CertificateParams::new(names).unwrap();
            parameters.distinguished_name.push(rcgen::DnType::CommonName, common);
            parameters
        };
        let mut authority = named("authority", &[]);
        authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let authority_key = key();
        let authority_certificate = authority.self_signed(&authority_key).unwrap();
        std::fs::write(self.path("ca"), authority_certificate.pem()).unwrap();
        let issuer = rcgen::Issuer::new(authority, authority_key);
        for (file, mut parameters) in [
            ("server", named("server", &["localhost"])),
            ("common", named("localhost", &[])),
            ("client", named("app", &[])),
        ] {
            let key = key();
            parameters.serial_number = Some(rcgen::SerialNumber::from(file.len() as u64));
            let certificate = parameters.signed_by(&key, &issuer).unwrap();
            std::fs::write(self.path(file), certificate.pem()).unwrap();
            std::fs::write(self.path(&format!("{file}.key")), key.serialize_pem()).unwrap();
        }
        // Numbers are the lengths of the names: that of `client`, and one that nobody has.
        for (file, number) in [("revoked", "client".len() as u64), ("unrevoked", 1_000)] {
            let revoked = rcgen::RevokedCertParams {
                serial_number: number.into(),
                revocation_time: rcgen::date_time_ymd(2024, 1, 1),
                reason_code: None,
                invalidity_date: None,
            };
            let list = rcgen::CertificateRevocationListParams {
                this_update: rcgen::date_time_ymd(2024, 1, 1),
                next_update: rcgen::date_time_ymd(4000, 1, 1),
                crl_number: 1.into(),
                issuing_distribution_point: None,
                revoked_certs: vec![revoked],
                key_identifier_method: rcgen::KeyIdMethod::Sha256,
            };
            std::fs::write(self.path(file), list.signed_by(&issuer).unwrap().pem().unwrap()).unwrap();
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn listen(&self, certificate: &str) -> ListenTls {
        ListenTls {
            required: true,
            certificate: self.path(certificate),
            key: self.path(&format!("{certificate}.key")),
            is_made: false,
            client_ca: Some(self.path("ca")),
            client_crl: None,
            requires_certificate: false,
        }
    }

    fn connect(&self, mode: SslMode, ca: Option<&Path>, with_certificate: bool) -> ServerTls {
        let file = |name| with_certificate.then(|| self.path(name));
        ServerTls {
            mode,
            ca: ca.map(Path::to_owned),
            certificate: file("client"),
            key: file("client.key"),
            auth: Default::default(),
        }
    }
}

/// A TCP connection's two ends.
async fn tcp() -> (Stream, Stream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (outside, inside) = tokio::join!(TcpStream::connect(address), listener.accept());
    (Stream::Tcp(outside.unwrap()), Stream::Tcp(inside.unwrap().0))
}

/// The answer to an SSLRequest, and what follows.
async fn serve(stream: Stream, acceptor: &Acceptor) -> std::io::Result<Connection> {
    let mut inside = Connection::new(stream);
    inside.fill_to(8).await?;
    assert_eq!(inside.input.split_to(8)[..], [0, 0, 0, 8, 4, 210, 22, 47]);
    inside.output.put_slice(b"S");
    inside.flush().await?;
    acceptor.accept(inside).await
}

/// A TLS connection's two ends, or what each says about it.
async fn under_tls(
    listen: &ListenTls,
    connect: &ServerTls,
    host: &str,
) -> (std::io::Result<Connection>, std::io::Result<Connection>) {
    let acceptor = Acceptor::new(listen).unwrap();
    let connector = Connector::new(connect).unwrap();
    let (outside, inside) = tcp().await;
    let client = async {
        let mut client = connector.connect(outside, host).await?;
        // With TLS 1.3 the client is done before the server has seen its certificate.
        client.flush().await?;
        Ok(client)
    };
    tokio::join!(client, serve(inside, &acceptor))
}

#[tokio::test]
async fn scram_binds_itself_to_the_certificate_under_tls() {
    let files = Files::new();
    let ca = files.path("ca");
    let connect = files.connect(SslMode::VerifyFull, Some(&ca), false);
    let (outside, inside) = under_tls(&files.listen("server"), &connect, "localhost").await;
    let (outside, inside) = (outside.unwrap(), inside.unwrap());
    assert_eq!(outside.stream().peer_end_point(), inside.stream().own_end_point());
    assert!(outside.stream().peer_end_point().is_some());
    let door = Door::new(config(&[("app", "secret")]));
    let credentials = Credentials::password(Secret("secret".into()));
    let (admitted, outcome) = door.visit("app", &credentials, REMOTE, (outside, inside)).await;
    assert!(admitted.is_ok() && outcome.is_ok());
}

#[tokio::test]
async fn tokio_postgres_logs_in_with_channel_binding_required() {
    let files = Files::new();
    let acceptor = Acceptor::new(&files.listen("server")).unwrap();
    let connector = Connector::new(&files.connect(SslMode::Require, None, false)).unwrap();
    let door = Door::new(config(&[("app", "secret")]));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = async {
        let stream = Stream::Tcp(listener.accept().await.unwrap().0);
        let mut client = serve(stream, &acceptor).await.unwrap();
        client.fill_to(4).await.unwrap();
        let length = u32::from_be_bytes(client.input[..4].try_into().unwrap()) as usize;
        client.fill_to(length).await.unwrap();
        let _ = client.input.split_to(length);
        let (outcome, mut client) = door.admit(client, "app", REMOTE).await;
        frame::put(&mut client.output, b'Z', |out| out.put_u8(b'I'));
        client.flush().await.unwrap();
        outcome
    };
    let mut settings = tokio_postgres::Config::new();
    settings.host("localhost").hostaddr(Ipv4Addr::LOCALHOST.into()).port(port).user("app").password("secret");
    settings.ssl_mode(tokio_postgres::config::SslMode::Require);
    settings.channel_binding(tokio_postgres::config::ChannelBinding::Require);
    let connecting = async {
        let stream = crate::net::dial::dial(&format!("127.0.0.1:{port}")).await;
        connector.connect_own(&settings, "localhost", stream).await
    };
    let (outcome, client) = tokio::join!(server, connecting);
    assert!(outcome.is_ok());
    assert!(client.is_ok());
}

#[tokio::test]
async fn a_client_certificate_lets_in_whom_it_names() {
    let files = Files::new();
    let door = Door::new(with_method(config(&[("app", "a"), ("other", "b")]), AuthMethod::Certificate));
    let visit = async |user, with_certificate| {
        let connect = files.connect(SslMode::Require, None, with_certificate);
        let (outside, inside) = under_tls(&files.listen("server"), &connect, "localhost").await;
        let ends = (outside.unwrap(), inside.unwrap());
        let (admitted, _) = door.visit(user, &Credentials::none(), REMOTE, ends).await;
        admitted.map(|_| ()).map_err(|error| error.to_string())
    };
    assert_eq!(visit("app", true).await, Ok(()));
    assert_eq!(
        visit("other", true).await.unwrap_err(),
        "28000: certificate authentication failed for user \"other\""
    );
    assert_eq!(
        visit("app", false).await.unwrap_err(),
        "28000: connection requires a valid client certificate"
    );
}

#[tokio::test]
async fn a_certificate_and_a_password_may_both_be_demanded() {
    let files = Files::new();
    let visit = async |listen: &ListenTls, door: &Door, with_certificate, password: &str| {
        let connect = files.connect(SslMode::Require, None, with_certificate);
        let (outside, inside) = under_tls(listen, &connect, "localhost").await;
        let (Ok(outside), Ok(inside)) = (outside, inside) else { return false };
        let credentials = Credentials::password(Secret(password.into()));
        let (admitted, _) = door.visit("app", &credentials, REMOTE, (outside, inside)).await;
        admitted.is_ok()
    };
    // From everybody, in the handshake; or by a rule, at the log-in.
    let everybody = ListenTls { requires_certificate: true, ..files.listen("server") };
    let door = Door::new(config(&[("app", "secret")]));
    let mut by_rule = with_method(config(&[("app", "secret")]), AuthMethod::ScramSha256);
    by_rule.auth.rules[0].client_certificate = Some(CertificateCheck::Full);
    let by_rule = Door::new(by_rule);
    for (listen, door) in [(&everybody, &door), (&files.listen("server"), &by_rule)] {
        assert!(visit(listen, door, true, "secret").await);
        assert!(!visit(listen, door, false, "secret").await);
        assert!(!visit(listen, door, true, "wrong").await);
    }
}

#[tokio::test]
async fn a_client_certificate_that_was_revoked_is_refused() {
    let files = Files::new();
    let is_taken = async |list: &str| {
        let listen = ListenTls { client_crl: Some(files.path(list)), ..files.listen("server") };
        let connect = files.connect(SslMode::Require, None, true);
        under_tls(&listen, &connect, "localhost").await.1.is_ok()
    };
    assert!(is_taken("unrevoked").await);
    assert!(!is_taken("revoked").await);
    assert!(
        Acceptor::new(&ListenTls { client_crl: Some(files.path("ca")), ..files.listen("server") }).is_err()
    );
}

#[tokio::test]
async fn a_server_is_given_no_other_proof_than_is_allowed() {
    for (code, rest, allowed) in [(3_u32, &b""[..], false), (5, &b"salt"[..], true), (0, &b""[..], true)] {
        let (mut outside, mut inside) = pair();
        let server = async {
            frame::put(&mut inside.output, b'R', |out| {
                out.put_u32(code);
                out.put_slice(rest);
            });
            inside.flush().await.unwrap();
            frame::put(&mut inside.output, b'R', |out| out.put_u32(0));
            inside.flush().await.unwrap();
            let _ = inside.fill().await;
            inside.input.clone()
        };
        let client = async {
            let credentials = Credentials::password(Secret("swordfish".into()));
            let outcome = log_in(&mut outside, "app", &credentials, &ServerAuth::default()).await;
            drop(outside);
            outcome
        };
        let (heard, outcome) = tokio::join!(server, client);
        assert_eq!(outcome.is_ok(), allowed, "request {code}: {outcome:?}");
        assert!(!heard.windows(9).any(|window| window == b"swordfish"), "request {code}");
    }
}

#[tokio::test]
async fn a_client_certificate_of_another_authority_is_refused() {
    let (files, others) = (Files::new(), Files::new());
    let connect = others.connect(SslMode::Require, None, true);
    let (_, inside) = under_tls(&files.listen("server"), &connect, "localhost").await;
    assert!(inside.is_err());
}

#[tokio::test]
async fn each_sslmode_checks_as_much_as_it_says() {
    let (files, others) = (Files::new(), Files::new());
    let (ca, other_ca) = (files.path("ca"), others.path("ca"));
    let connects = async |certificate: &str, mode, ca: Option<&Path>, host: &str| {
        let connect = files.connect(mode, ca, false);
        let (outside, _) = under_tls(&files.listen(certificate), &connect, host).await;
        outside.is_ok()
    };
    assert!(connects("server", SslMode::Prefer, None, "elsewhere").await);
    assert!(connects("server", SslMode::Require, None, "elsewhere").await);
    assert!(connects("server", SslMode::Require, Some(&ca), "elsewhere").await);
    assert!(!connects("server", SslMode::Require, Some(&other_ca), "localhost").await);
    assert!(connects("server", SslMode::VerifyCa, Some(&ca), "elsewhere").await);
    assert!(!connects("server", SslMode::VerifyCa, Some(&other_ca), "localhost").await);
    assert!(connects("server", SslMode::VerifyFull, Some(&ca), "localhost").await);
    assert!(!connects("server", SslMode::VerifyFull, Some(&ca), "elsewhere").await);
    assert!(!connects("server", SslMode::VerifyFull, Some(&other_ca), "localhost").await);
    assert!(connects("common", SslMode::VerifyFull, Some(&ca), "localhost").await, "by common name");
    assert!(!connects("common", SslMode::VerifyFull, Some(&ca), "elsewhere").await);
    assert!(Connector::new(&files.connect(SslMode::VerifyCa, None, false)).is_err());
}

#[tokio::test]
async fn a_server_without_tls_is_taken_by_prefer_only() {
    for (mode, expected) in [(SslMode::Prefer, true), (SslMode::Require, false)] {
        let connector = Connector::new(&ServerTls { mode, ..ServerTls::default() }).unwrap();
        let (outside, inside) = tcp().await;
        let mut inside = Connection::new(inside);
        inside.output.put_slice(b"N");
        inside.flush().await.unwrap();
        assert_eq!(connector.connect(outside, "localhost").await.is_ok(), expected, "{mode:?}");
    }
}

#[tokio::test]
async fn bytes_sent_in_the_clear_before_the_handshake_end_the_connection() {
    let files = Files::new();
    let acceptor = Acceptor::new(&files.listen("server")).unwrap();
    let (outside, inside) = tcp().await;
    let mut outside = Connection::new(outside);
    outside.output.put_slice(&[0, 0, 0, 8, 4, 210, 22, 47]);
    outside.output.put_slice(b"injected");
    outside.flush().await.unwrap();
    let mut inside = Connection::new(inside);
    inside.fill_to(16).await.unwrap();
    let _ = inside.input.split_to(8);
    let error = acceptor.accept(inside).await.unwrap_err();
    assert_eq!(error.to_string(), "received unencrypted data after SSL request");
}

#[tokio::test]
async fn a_client_that_starts_tls_without_asking_must_mean_postgres() {
    let files = Files::new();
    let acceptor = Acceptor::new(&files.listen("server")).unwrap();
    let visit = async |protocols: &[&[u8]]| {
        let mut roots = rustls::RootCertStore::empty();
        let pem = std::fs::read(files.path("ca")).unwrap();
        use rustls_pki_types::pem::PemObject;
        roots.add(rustls_pki_types::CertificateDer::from_pem_slice(&pem).unwrap()).unwrap();
        let mut config =
            rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_root_certificates(roots)
                .with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|p| p.to_vec()).collect();
        let (outside, inside) = tcp().await;
        let name = rustls_pki_types::ServerName::try_from("localhost").unwrap();
        let client = tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, Box::new(outside));
        let server = async {
            let mut inside = Connection::new(inside);
            inside.fill_to(1).await?;
            assert_eq!(inside.input[0], Acceptor::DIRECT);
            let mut inside = acceptor.accept_direct(inside).await?;
            inside.fill_to(5).await?;
            Ok::<_, std::io::Error>(inside.input.to_vec())
        };
        let client = async {
            let mut client = client.await?;
            tokio::io::AsyncWriteExt::write_all(&mut client, b"hello").await?;
            tokio::io::AsyncWriteExt::flush(&mut client).await?;
            Ok::<_, std::io::Error>(client)
        };
        let (server, _client) = tokio::join!(server, client);
        server
    };
    assert_eq!(visit(&[b"postgresql"]).await.unwrap(), b"hello");
    assert!(visit(&[b"http/1.1"]).await.is_err());
    let error = visit(&[]).await.unwrap_err().to_string();
    assert_eq!(error, "received direct SSL connection request without ALPN protocol negotiation extension");
}

#[tokio::test]
async fn a_replaced_certificate_is_shown_after_a_reload_and_a_broken_one_is_not() {
    let files = Files::new();
    let acceptor = Acceptor::new(&files.listen("server")).unwrap();
    let connector = Connector::new(&files.connect(SslMode::Require, None, false)).unwrap();
    let shown = async || {
        let (outside, inside) = tcp().await;
        let (outside, inside) =
            tokio::join!(connector.connect(outside, "localhost"), serve(inside, &acceptor));
        let inside = inside.unwrap().stream().own_end_point();
        assert_eq!(outside.unwrap().stream().peer_end_point(), inside);
        inside
    };
    let first = shown().await;
    files.issue();
    assert_eq!(shown().await, first);
    acceptor.apply(&files.listen("server")).unwrap();
    let second = shown().await;
    assert_ne!(second, first);
    std::fs::write(files.path("server"), "no certificate").unwrap();
    assert!(acceptor.apply(&files.listen("server")).is_err());
    assert_eq!(shown().await, second);
}

#[tokio::test]
async fn clients_without_tls_stay_outside_where_it_is_required() {
    let files = Files::new();
    let mut config = config(&[("app", "secret")]);
    config.listen.tls = Some(files.listen("server"));
    let door = Door::new(config);
    let credentials = Credentials::password(Secret("secret".into()));
    let (admitted, _) = door.visit("app", &credentials, REMOTE, pair()).await;
    assert_eq!(admitted.unwrap_err().to_string(), "28000: pgweir accepts connections over TLS only");
    assert!(door.admits("app", "secret").await.is_ok(), "a Unix socket needs none");
}

/// Bytes that look like a conversation about passwords, and bytes that do not.
fn babble(tag: u8) -> impl proptest::strategy::Strategy<Value = Vec<u8>> {
    use proptest::prelude::*;
    let raw = proptest::collection::vec(any::<u8>(), 0..100);
    let message = (prop_oneof![4 => Just(tag), 1 => any::<u8>()], 0u8..14, "[ -~]{0,40}").prop_map(
        |(tag, code, text)| {
            let mut out = bytes::BytesMut::new();
            frame::put(&mut out, tag, |out| {
                out.put_u32(code.into());
                out.put_slice(text.as_bytes());
            });
            out.to_vec()
        },
    );
    let sasl = Just([&b"R\0\0\0\x17\0\0\0\x0aSCRAM-SHA-256\0\0"[..]].concat());
    let first = Just(b"p\0\0\0\x21SCRAM-SHA-256\0\0\0\0\x0bn,,n=,r=abc".to_vec());
    let parts = proptest::collection::vec(prop_oneof![raw, message, sasl, first], 1..5);
    parts.prop_map(|parts| parts.concat())
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(300))]

    #[test]
    fn no_babble_lets_a_client_in_or_makes_us_panic(bytes in babble(b'p'), method in 0usize..4) {
        let methods = [AuthMethod::ScramSha256, AuthMethod::Md5, AuthMethod::Password, AuthMethod::Certificate];
        let config = with_method(config(&[("app", "SCRAM-SHA-256$1:AAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")]), methods[method]);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let door = Door::new(config);
            let (mut outside, inside) = pair();
            outside.output.put_slice(&bytes);
            outside.flush().await.unwrap();
            let client = async { drop(outside) };
            let ((outcome, _), ()) = tokio::join!(door.admit(inside, "app", None), client);
            assert!(outcome.is_err());
        });
    }

    #[test]
    fn no_babble_of_a_server_makes_us_panic(bytes in babble(b'R')) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (mut outside, mut inside) = pair();
            inside.output.put_slice(&bytes);
            inside.flush().await.unwrap();
            drop(inside);
            // It may well say "come in": then we are in.
            let _ = log_in(&mut outside, "app", &Credentials::password(Secret("x".into())), &any_proof()).await;
        });
    }
}
