//! Which Kafka a command talks to, and how it logs in: the flags that all Kafka commands share.
//!
//! | given | then |
//! |---|---|
//! | `-b BROKERS` | these, with the properties of `-X` and of the environment |
//! | `-c FILE`, `--cluster NAME` | a cluster of the configuration; `-X` changes it |
//! | `LOGFERRY_BROKERS` | as `-b` |
//! | nothing | the configuration where the daemon has it |
//!
//! `-X key=@FILE` reads a value from a file, `-X key=@@text` is a value that begins with `@`. `LOGFERRY_X_SASL_PASSWORD` in the environment
//! is `-X sasl.password`; it goes with brokers that are named, not with a configured cluster.
//!
//! Invariant: credentials become [`SecretSource`]s, never options: they do not print.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;

use super::Refusal;
use crate::cli::CONFIG;
use crate::cli::load::load;
use crate::kafka::properties::probe_property;
use crate::kafka::settings::{Brokers, ClusterSettings, SaslSettings, TlsSettings};
use crate::value::{Secret, SecretSource};

/// Names the brokers when no flag does.
const BROKERS: &str = "LOGFERRY_BROKERS";
/// What the environment's properties begin with.
const PROPERTY: &str = "LOGFERRY_X_";
/// The port of a broker for which none is written.
const PORT: &str = "9092";

/// Where Kafka is, and how to log in.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct ConnectArgs {
    /// Brokers as HOST:PORT, with commas between several; $LOGFERRY_BROKERS when left out
    #[arg(
        short,
        long,
        value_name = "BROKERS",
        conflicts_with_all = ["config", "cluster"]
    )]
    brokers: Vec<String>,
    /// A librdkafka property; `key=@FILE` reads the value from a file, $LOGFERRY_X_SASL_PASSWORD is `-X sasl.password=...`
    #[arg(short = 'X', value_name = "KEY=VALUE", value_parser = property)]
    properties: Vec<Property>,
    /// The configuration that has the cluster
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The cluster of the configuration; may be left out when there is one
    #[arg(long, value_name = "NAME")]
    cluster: Option<String>,
}

/// A property of `-X` or of the environment.
#[derive(Clone, PartialEq, Eq)]
struct Property {
    name: String,
    value: SecretSource,
}

/// Only the name: the value may be a secret.
impl std::fmt::Debug for Property {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}=***", self.name)
    }
}

fn property(text: &str) -> Result<Property, String> {
    let (name, value) = text
        .split_once('=')
        .ok_or("`key=value` is expected, like sasl.username=me")?;
    let name = name.trim();
    if name.is_empty() {
        return Err("the property has no name".to_owned());
    }
    if matches!(name, "bootstrap.servers" | "metadata.broker.list") {
        return Err("`-b BROKERS` names the brokers".to_owned());
    }
    Ok(Property {
        name: name.to_owned(),
        value: source(value),
    })
}

/// What stands for a value: itself, or the file that has it.
fn source(value: &str) -> SecretSource {
    match value.strip_prefix('@') {
        Some(text) if text.starts_with('@') => SecretSource::Text(Secret::new(text)),
        Some(path) => SecretSource::File(path.into()),
        None => SecretSource::Text(Secret::new(value)),
    }
}

impl ConnectArgs {
    /// The cluster that is meant. Reads the configuration when it is asked for, and the environment.
    ///
    /// # Errors
    /// 2 when nothing says where Kafka is or a property does not fit, 78 when the configuration has problems.
    pub fn cluster(&self) -> Result<ClusterSettings, Refusal> {
        self.with(&std::env::vars().collect())
    }

    fn with(&self, environment: &BTreeMap<String, String>) -> Result<ClusterSettings, Refusal> {
        let given = environment.get(BROKERS).filter(|given| !given.is_empty());
        let brokers = match given {
            _ if !self.brokers.is_empty() => Some(self.brokers.join(",")),
            Some(given) if self.config.is_none() && self.cluster.is_none() => Some(given.clone()),
            _ => None,
        };
        let mut cluster = match brokers {
            Some(brokers) => {
                let mut cluster = named(&brokers)?;
                for (name, value) in environment {
                    if let Some(name) = name.strip_prefix(PROPERTY) {
                        let name = name.to_lowercase().replace('_', ".");
                        let value = source(value);
                        set(&mut cluster, &Property { name, value })?;
                    }
                }
                cluster
            }
            None => self.configured()?,
        };
        for property in &self.properties {
            set(&mut cluster, property)?;
        }
        finish(&mut cluster)?;
        Ok(cluster)
    }

    fn configured(&self) -> Result<ClusterSettings, Refusal> {
        let file = match &self.config {
            Some(file) => file.as_path(),
            None if Path::new(CONFIG).exists() => Path::new(CONFIG),
            None => {
                return Err(Refusal::usage(format!(
                    "which Kafka is meant? Name it: `-b HOST:PORT`, ${BROKERS}, or `-c FILE` with a configuration ({CONFIG} does not exist)"
                )));
            }
        };
        let (plan, _) = load(file).map_err(|errors| Refusal::config(errors.to_string()))?;
        let names: Vec<&str> = plan
            .clusters
            .iter()
            .map(|cluster| cluster.name.as_str())
            .collect();
        let found = match (&self.cluster, plan.clusters.as_slice()) {
            (None, [only]) => Some(only),
            (None, _) => {
                return Err(Refusal::usage(format!(
                    "{} has several clusters; say which with --cluster: {}",
                    file.display(),
                    names.join(", ")
                )));
            }
            (Some(name), clusters) => clusters.iter().find(|cluster| cluster.name == *name),
        };
        let Some(cluster) = found else {
            return Err(Refusal::usage(format!(
                "{} has no cluster {}; there is {}",
                file.display(),
                self.cluster.as_deref().unwrap_or_default(),
                names.join(", ")
            )));
        };
        if cluster.brokers == Brokers::Embedded {
            return Err(Refusal::usage(format!(
                "the cluster {} is `embedded`: it lives inside the daemon's process, and nobody else reaches it",
                cluster.name
            )));
        }
        Ok(cluster.clone())
    }
}

/// A cluster of brokers that were named by hand.
fn named(brokers: &str) -> Result<ClusterSettings, Refusal> {
    let addresses: Vec<String> = brokers
        .split(',')
        .map(str::trim)
        .filter(|address| !address.is_empty())
        .map(with_port)
        .collect();
    if addresses.is_empty() {
        return Err(Refusal::usage(
            "`-b` names no broker; HOST:PORT is expected",
        ));
    }
    Ok(ClusterSettings {
        name: addresses.join(","),
        brokers: Brokers::Addresses(addresses),
        tls: None,
        sasl: None,
        options: BTreeMap::new(),
    })
}

fn with_port(address: &str) -> String {
    let has_port = match address.rsplit_once(':') {
        Some((host, _)) => !host.contains(':') || host.ends_with(']'),
        None => false,
    };
    if has_port {
        address.to_owned()
    } else if address.contains(':') && !address.starts_with('[') {
        format!("[{address}]:{PORT}")
    } else {
        format!("{address}:{PORT}")
    }
}

/// Sets one property. How to log in has fields of its own, which take secrets.
fn set(cluster: &mut ClusterSettings, property: &Property) -> Result<(), Refusal> {
    let Property { name, value } = property;
    let text = || {
        value
            .resolve()
            .map(|secret| secret.reveal().to_owned())
            .map_err(|error| Refusal::usage(format!("-X {name}: {error}")))
    };
    // Read now, so that a file that is not there is told as what it is.
    value
        .resolve()
        .map_err(|error| Refusal::usage(format!("-X {name}: {error}")))?;
    match name.as_str() {
        "sasl.mechanism" | "sasl.mechanisms" => sasl(cluster).mechanism = text()?,
        "sasl.username" => sasl(cluster).username = Some(value.clone()),
        "sasl.password" => sasl(cluster).password = Some(value.clone()),
        "ssl.ca.location" => tls(cluster).ca_file = Some(text()?),
        "ssl.certificate.location" => tls(cluster).cert_file = Some(text()?),
        "ssl.key.location" => tls(cluster).key_file = Some(text()?),
        "ssl.key.password" => tls(cluster).key_password = Some(value.clone()),
        "enable.ssl.certificate.verification" => {
            tls(cluster).verify = match text()?.as_str() {
                "true" => true,
                "false" => false,
                other => {
                    return Err(Refusal::usage(format!(
                        "-X {name}: true or false is expected, not {other}"
                    )));
                }
            };
        }
        _ => {
            if name.starts_with("sasl.") {
                sasl(cluster);
            }
            if name.starts_with("ssl.") || name.starts_with("ssl_") {
                tls(cluster);
            }
            let text = text()?;
            // `security.protocol` is not passed on: what it says is looked at in `finish`.
            if name != "security.protocol" {
                probe_property(name, &text)
                    .map_err(|error| Refusal::usage(format!("-X {name}: {error}")))?;
            }
            cluster.options.insert(name.clone(), text);
        }
    }
    Ok(())
}

fn sasl(cluster: &mut ClusterSettings) -> &mut SaslSettings {
    cluster.sasl.get_or_insert_with(|| SaslSettings {
        mechanism: String::new(),
        username: None,
        password: None,
        token_url: None,
        scope: None,
    })
}

fn tls(cluster: &mut ClusterSettings) -> &mut TlsSettings {
    cluster.tls.get_or_insert(TlsSettings {
        ca_file: None,
        cert_file: None,
        key_file: None,
        key_password: None,
        verify: true,
    })
}

/// `security.protocol` follows from what is set, as in the configuration; who sets it by hand decides, and is kept from logging in nowhere.
fn finish(cluster: &mut ClusterSettings) -> Result<(), Refusal> {
    if let Some(protocol) = cluster.options.remove("security.protocol") {
        let (with_tls, with_sasl) = match protocol.to_lowercase().as_str() {
            "plaintext" => (false, false),
            "ssl" => (true, false),
            "sasl_plaintext" => (false, true),
            "sasl_ssl" => (true, true),
            other => {
                return Err(Refusal::usage(format!(
                    "-X security.protocol: plaintext, ssl, sasl_plaintext or sasl_ssl is expected, not {other}"
                )));
            }
        };
        if with_tls {
            tls(cluster);
        } else {
            cluster.tls = None;
        }
        if with_sasl {
            sasl(cluster);
        } else {
            cluster.sasl = None;
        }
    }
    match &cluster.sasl {
        Some(sasl) if sasl.mechanism.is_empty() => Err(Refusal::usage(
            "how to log in is not said: -X sasl.mechanism=PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER",
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::exit::ExitStatus;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        connect: ConnectArgs,
    }

    fn cluster(line: &[&str], environment: &[(&str, &str)]) -> Result<ClusterSettings, Refusal> {
        let environment = environment
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        Line::try_parse_from([&["logferry"], line].concat())
            .unwrap()
            .connect
            .with(&environment)
    }

    #[test]
    fn brokers_are_named_with_or_without_port_once_or_often() {
        let cluster = cluster(&["-b", "a,b:19092", "-b", "[::1]"], &[]).unwrap();
        let expected = ["a:9092", "b:19092", "[::1]:9092"].map(str::to_owned);
        assert_eq!(cluster.brokers, Brokers::Addresses(expected.to_vec()));
        assert_eq!(cluster.name, "a:9092,b:19092,[::1]:9092");
    }

    #[test]
    fn credentials_never_print_and_turn_logging_in_on() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("password");
        std::fs::write(&file, "hunter2\n").unwrap();
        let line = Line::try_parse_from([
            "logferry".to_owned(),
            "-ba".to_owned(),
            "-Xsasl.mechanism=PLAIN".to_owned(),
            "-Xsasl.username=me".to_owned(),
            "-Xssl.key.password=hunter3".to_owned(),
            format!("-Xsasl.password=@{}", file.display()),
        ])
        .unwrap();
        let cluster = line.connect.with(&BTreeMap::new()).unwrap();
        let sasl = cluster.sasl.clone().unwrap();
        assert_eq!(sasl.mechanism, "PLAIN");
        let password = sasl.password.unwrap().resolve().unwrap();
        assert_eq!(password.reveal(), "hunter2");
        assert!(cluster.tls.as_ref().unwrap().verify);
        let printed = format!("{line:?} {cluster:?}");
        assert!(!printed.contains("hunter"), "{printed}");
    }

    #[test]
    fn the_environment_names_brokers_and_properties() {
        let environment = [
            (BROKERS, "k:1"),
            ("LOGFERRY_X_SASL_MECHANISM", "PLAIN"),
            ("LOGFERRY_X_SASL_PASSWORD", "hunter2"),
            ("LOGFERRY_X_CLIENT_RACK", "r1"),
        ];
        let found = cluster(&["-X", "client.rack=r2"], &environment).unwrap();
        assert_eq!(found.name, "k:1");
        assert_eq!(found.options["client.rack"], "r2");
        assert!(found.sasl.unwrap().password.is_some());
    }

    #[test]
    fn the_command_line_is_stronger_than_the_environment() {
        let environment = [(BROKERS, "k:1")];
        assert_eq!(cluster(&["-b", "x:2"], &environment).unwrap().name, "x:2");
        let error = cluster(&["-c", "/nowhere.yaml"], &environment).unwrap_err();
        assert_eq!(error.status, ExitStatus::Config);
        assert!(error.text.contains("/nowhere.yaml"), "{}", error.text);
    }

    #[test]
    fn a_cluster_is_taken_from_the_configuration_and_changed_by_properties() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.yaml");
        let path = file.to_str().unwrap();
        let write = |clusters: &str| {
            let text = format!(
                "data_dir: data\nclusters: {clusters}\ninputs: {{ p: {{ from: {{ type: stdin }}, to: {{ topic: t, cluster: one }} }} }}\n"
            );
            std::fs::write(&file, text).unwrap();
        };
        write("{ one: { brokers: [a:1], options: { client.rack: r } } }");
        let found = cluster(&["-c", path, "-X", "client.rack=s"], &[]).unwrap();
        assert_eq!(
            (found.name.as_str(), found.options["client.rack"].as_str()),
            ("one", "s")
        );
        let error = cluster(&["-c", path, "--cluster", "two"], &[]).unwrap_err();
        assert!(error.text.ends_with("there is one"), "{}", error.text);

        write("{ one: { brokers: [a:1] }, two: { brokers: embedded } }");
        let error = cluster(&["-c", path], &[]).unwrap_err();
        assert_eq!(error.status, ExitStatus::Usage);
        assert!(error.text.contains("one, two"), "{}", error.text);
        let error = cluster(&["-c", path, "--cluster", "two"], &[]).unwrap_err();
        assert!(error.text.contains("embedded"), "{}", error.text);
    }

    #[test]
    fn what_would_not_log_in_is_refused() {
        for line in [
            &["-b", "a", "-X", "sasl.username=me"][..],
            &["-b", "a", "-X", "security.protocol=https"],
            &["-b", "a", "-X", "enable.ssl.certificate.verification=no"],
            &["-b", "a", "-X", "sasl.password=@/nowhere"],
            &["-b", "a", "-X", "no.such.property=1"],
            &["-b", ","],
        ] {
            let error = cluster(line, &[]).unwrap_err();
            assert_eq!(error.status, ExitStatus::Usage, "{line:?}");
        }
        for line in [
            &["-X", "novalue"][..],
            &["-X", "bootstrap.servers=a"],
            &["-b", "a", "-c", "x"],
        ] {
            let line = [&["logferry"], line].concat();
            assert!(Line::try_parse_from(&line).is_err(), "{line:?}");
        }
    }
}
