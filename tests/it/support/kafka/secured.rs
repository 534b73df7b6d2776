//! One broker that asks who is there, for all tests of a binary: TLS with a CA of the test's own, logins, client certificates, and rights.
//!
//! Nobody may do anything but who is [allowed](Secured::allow) to; who comes through the plaintext listener may do everything. A test takes
//! a user, topics and groups that no other test has.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::ops::Deref;
use std::sync::OnceLock;

use rcgen::{CertificateParams, CertifiedIssuer, DnType, IsCa, Issuer, KeyPair, date_time_ymd};

use super::process::{KafkaProcess, Layout, random_id};
use super::single::ALONE;
use super::{RealKafka, given, missing};
use crate::support::free_ports;

/// Who may log in with SCRAM-SHA-256, SCRAM-SHA-512 and PLAIN, each with the password `secret`.
pub const USERS: [&str; 6] = ["one", "two", "three", "four", "five", "six"];

pub struct Secured {
    kafka: RealKafka,
    clients: u16,
    login: u16,
    certificates: u16,
    expired: u16,
    /// PEM: who signed the broker's certificates.
    pub ca: String,
    /// PEM: another one, who signed nothing.
    pub stranger: String,
    /// PEM: certificate and key of the user `certified`.
    pub client: (String, String),
    _process: KafkaProcess,
}

/// What a right is about. `All` names stand in the protocol's order.
#[derive(Debug, Clone, Copy)]
pub enum Of<'a> {
    Topic(&'a str),
    Group(&'a str),
    TransactionalId(&'a str),
}

/// What may be done, as the protocol numbers it.
#[derive(Debug, Clone, Copy)]
pub enum Right {
    Read = 3,
    Write = 4,
    Create = 5,
    Describe = 8,
}

impl Deref for Secured {
    type Target = RealKafka;

    fn deref(&self) -> &RealKafka {
        &self.kafka
    }
}

impl Secured {
    /// The one that the tests of this binary share. `None`: the test is skipped, which has been noted.
    pub fn shared() -> Option<&'static Self> {
        static SHARED: OnceLock<Result<Secured, String>> = OnceLock::new();
        let hint = match given() {
            Some(_) => "; LOGFERRY_TEST_BROKERS has no listeners that ask who is there",
            None => "",
        };
        let shared = SHARED.get_or_init(Self::start);
        shared
            .as_ref()
            .map_err(|why| missing::skip(&format!("{why}{hint}")))
            .ok()
    }

    /// TLS and SASL, for a client that trusts [`ca`](Self::ca). `host` has to be `localhost`, or it is not whom the certificate names.
    pub fn login_at(&self, host: &str) -> String {
        format!("{host}:{}", self.login)
    }

    /// TLS, for a client with a certificate.
    pub fn certificates(&self) -> String {
        format!("localhost:{}", self.certificates)
    }

    /// TLS and SASL with a certificate whose time is over.
    pub fn expired(&self) -> String {
        format!("localhost:{}", self.expired)
    }

    /// From now on `user` may.
    pub fn allow(&self, user: &str, of: Of<'_>, rights: &[Right]) {
        for right in rights {
            let mut acl = Words::default();
            acl.about(of, user, *right);
            self.order(30, &acl);
        }
    }

    /// Takes back what was allowed.
    pub fn withdraw(&self, user: &str, of: Of<'_>, rights: &[Right]) {
        for right in rights {
            let mut filter = Words::default();
            filter.about(of, user, *right);
            self.order(31, &filter);
        }
    }

    /// Asks for the making (30) or the deletion (31) of one right: both requests of version 1 have the same form.
    fn order(&self, request: i16, acl: &Words) {
        let mut words = Words::default();
        words.0.extend(request.to_be_bytes());
        words.0.extend([0, 1, 0, 0, 0, 7]);
        words.text("tests");
        words.0.extend(1_i32.to_be_bytes());
        words.0.extend(&acl.0);
        let mut broker =
            TcpStream::connect((Ipv4Addr::LOCALHOST, self.clients)).expect("the broker is there");
        let length = (words.0.len() as i32).to_be_bytes();
        broker
            .write_all(&[&length[..], &words.0].concat())
            .expect("to ask");
        let mut length = [0; 4];
        broker.read_exact(&mut length).expect("an answer");
        let mut answer = vec![0; u32::from_be_bytes(length) as usize];
        broker.read_exact(&mut answer).expect("an answer");
        // The request's number, the throttle time, how many results; the code of the first.
        assert_eq!(
            answer.get(8..14),
            Some(&[0, 0, 0, 1, 0, 0][..]),
            "{request}: {answer:?}"
        );
    }

    fn start() -> Result<Self, String> {
        let [clients, login, certificates, expired, controller] = free_ports();
        let pki = Pki::make().map_err(|error| format!("certificates: {error}"))?;
        let passwords = USERS
            .map(|user| format!("user_{user}=\"secret\""))
            .join(" ");
        let logins: String = ["login", "expired"]
            .map(|listener| {
                format!(
                    "listener.name.{listener}.sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER
listener.name.{listener}.oauthbearer.sasl.jaas.config=org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required;
listener.name.{listener}.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required {passwords};
listener.name.{listener}.scram-sha-256.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.{listener}.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
"
                )
            })
            .concat();
        let properties = format!(
            "process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
controller.listener.names=CONTROLLER
inter.broker.listener.name=CLIENTS
listeners=CLIENTS://127.0.0.1:{clients},LOGIN://127.0.0.1:{login},CERTIFICATES://127.0.0.1:{certificates},EXPIRED://127.0.0.1:{expired},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=CLIENTS://127.0.0.1:{clients},LOGIN://localhost:{login},CERTIFICATES://localhost:{certificates},EXPIRED://localhost:{expired}
listener.security.protocol.map=CLIENTS:PLAINTEXT,LOGIN:SASL_SSL,CERTIFICATES:SSL,EXPIRED:SASL_SSL,CONTROLLER:PLAINTEXT
ssl.keystore.type=PEM
ssl.keystore.location=broker.pem
ssl.truststore.type=PEM
ssl.truststore.location=ca.pem
listener.name.expired.ssl.keystore.type=PEM
listener.name.expired.ssl.keystore.location=expired.pem
listener.name.certificates.ssl.client.auth=required
listener.name.certificates.ssl.principal.mapping.rules=RULE:^CN=(.*)$/$1/
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS
{logins}{ALONE}"
        );
        let scram = |user| {
            ["SCRAM-SHA-256", "SCRAM-SHA-512"].map(|mechanism| {
                [
                    "--add-scram".to_owned(),
                    format!("{mechanism}=[name={user},password=secret]"),
                ]
            })
        };
        let mut process = KafkaProcess::new(Layout {
            properties,
            cluster_id: random_id(),
            format: Some(USERS.into_iter().flat_map(scram).flatten().collect()),
            node: 1,
            java: &["-Xmx200m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"],
            port: clients,
            files: vec![
                ("broker.pem", pki.broker),
                ("expired.pem", pki.expired),
                ("ca.pem", pki.ca.clone()),
            ],
        })?;
        process.run()?;
        let kafka = RealKafka {
            brokers: format!("127.0.0.1:{clients}"),
            replicas: 1,
            own: None,
        };
        kafka.answers();
        Ok(Self {
            kafka,
            clients,
            login,
            certificates,
            expired,
            ca: pki.ca,
            stranger: pki.stranger,
            client: pki.client,
            _process: process,
        })
    }
}

/// What a request says.
#[derive(Default)]
struct Words(Vec<u8>);

impl Words {
    fn text(&mut self, text: &str) {
        self.0.extend((text.len() as i16).to_be_bytes());
        self.0.extend(text.as_bytes());
    }

    /// Exactly this name; this user from anywhere; allowed.
    fn about(&mut self, of: Of<'_>, user: &str, right: Right) {
        let (kind, name) = match of {
            Of::Topic(name) => (2, name),
            Of::Group(name) => (3, name),
            Of::TransactionalId(name) => (5, name),
        };
        self.0.push(kind);
        self.text(name);
        self.0.push(3);
        self.text(&format!("User:{user}"));
        self.text("*");
        self.0.extend([right as u8, 3]);
    }
}

/// PEM of everything that is needed.
struct Pki {
    ca: String,
    stranger: String,
    /// Key and certificate.
    broker: String,
    expired: String,
    client: (String, String),
}

impl Pki {
    fn make() -> Result<Self, rcgen::Error> {
        let authority = |name: &str| {
            let mut params = named(name)?;
            params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
            CertifiedIssuer::self_signed(params, KeyPair::generate()?)
        };
        let (ca, stranger) = (authority("the tests")?, authority("a stranger")?);
        let signed = |params: CertificateParams| {
            let key = KeyPair::generate()?;
            let certificate = params.signed_by(&key, &ca as &Issuer<'_, KeyPair>)?;
            Ok::<_, rcgen::Error>((certificate.pem(), key.serialize_pem()))
        };
        let (broker, broker_key) = signed(named("localhost")?)?;
        let mut expired = named("localhost")?;
        expired.not_before = date_time_ymd(2020, 1, 1);
        expired.not_after = date_time_ymd(2021, 1, 1);
        let (expired, expired_key) = signed(expired)?;
        Ok(Self {
            ca: ca.pem(),
            stranger: stranger.pem(),
            broker: broker_key + &broker,
            expired: expired_key + &expired,
            client: signed(named("certified")?)?,
        })
    }
}

fn named(name: &str) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(vec![name.replace(' ', "-")])?;
    params.distinguished_name.push(DnType::CommonName, name);
    Ok(params)
}
