//! From a cluster's settings to librdkafka's properties: what every client of that cluster shares.

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;

use super::settings::{ClusterSettings, SaslSettings, TlsSettings};
use crate::value::SecretError;

/// The properties of any client of `cluster`, which is reached at `bootstrap` (`HOST:PORT,...`).
///
/// `name` is told to the broker as `client.id` and appears in its logs and quotas. The cluster's own `options` are set last but may
/// not name what logferry owns; the plan has refused that. Secrets are read anew at every call.
///
/// # Errors
/// When a secret's file, variable or credential cannot be read.
pub fn client_config(
    cluster: &ClusterSettings,
    bootstrap: &str,
    name: &str,
) -> Result<ClientConfig, SecretError> {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", bootstrap)
        .set("client.id", name)
        // An idle connection that the broker closes is opened again on use: no news to anybody.
        .set("log.connection.close", "false")
        .set("socket.keepalive.enable", "true")
        .set("reconnect.backoff.ms", "100")
        .set("reconnect.backoff.max.ms", "2000")
        // Whoever sets librdkafka's `debug` wants to read what it says.
        .set_log_level(if cluster.options.contains_key("debug") {
            RDKafkaLogLevel::Debug
        } else {
            RDKafkaLogLevel::Info
        });
    security(&mut config, cluster.tls.as_ref(), cluster.sasl.as_ref())?;
    for (name, value) in &cluster.options {
        config.set(name, value);
    }
    Ok(config)
}

fn security(
    config: &mut ClientConfig,
    tls: Option<&TlsSettings>,
    sasl: Option<&SaslSettings>,
) -> Result<(), SecretError> {
    config.set(
        "security.protocol",
        match (tls, sasl) {
            (None, None) => "plaintext",
            (Some(_), None) => "ssl",
            (None, Some(_)) => "sasl_plaintext",
            (Some(_), Some(_)) => "sasl_ssl",
        },
    );
    if let Some(tls) = tls {
        let files = [
            ("ssl.ca.location", &tls.ca_file),
            ("ssl.certificate.location", &tls.cert_file),
            ("ssl.key.location", &tls.key_file),
        ];
        for (property, file) in files {
            if let Some(file) = file {
                config.set(property, file);
            }
        }
        if let Some(password) = &tls.key_password {
            config.set("ssl.key.password", password.resolve()?.reveal());
        }
        config.set(
            "enable.ssl.certificate.verification",
            if tls.verify { "true" } else { "false" },
        );
    }
    if let Some(sasl) = sasl {
        config.set("sasl.mechanism", &sasl.mechanism);
        if let Some(username) = &sasl.username {
            config.set("sasl.username", username.resolve()?.reveal());
        }
        if let Some(password) = &sasl.password {
            config.set("sasl.password", password.resolve()?.reveal());
        }
    }
    Ok(())
}
