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
        let (user, password) = match &sasl.token_url {
            None => ("sasl.username", "sasl.password"),
            Some(url) => {
                config.set("sasl.oauthbearer.method", "oidc");
                config.set("sasl.oauthbearer.token.endpoint.url", url);
                (
                    "sasl.oauthbearer.client.id",
                    "sasl.oauthbearer.client.secret",
                )
            }
        };
        if let Some(scope) = &sasl.scope {
            config.set("sasl.oauthbearer.scope", scope);
        }
        if let Some(username) = &sasl.username {
            config.set(user, username.resolve()?.reveal());
        }
        if let Some(secret) = &sasl.password {
            config.set(password, secret.resolve()?.reveal());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::kafka::settings::Brokers;
    use crate::value::{Secret, SecretSource};

    fn cluster(token_url: Option<&str>) -> ClusterSettings {
        let secret = |text: &str| Some(SecretSource::Text(Secret::new(text)));
        ClusterSettings {
            name: "main".into(),
            brokers: Brokers::Addresses(vec!["kafka-1:9092".into()]),
            tls: None,
            sasl: Some(SaslSettings {
                mechanism: "X".into(),
                username: secret("who"),
                password: secret("what"),
                token_url: token_url.map(str::to_owned),
                scope: token_url.map(|_| "kafka".to_owned()),
            }),
            options: BTreeMap::new(),
        }
    }

    #[test]
    fn who_logs_in_with_tokens_is_the_client_that_asks_for_them() {
        let config = client_config(&cluster(Some("https://login")), "kafka-1:9092", "me").unwrap();
        for (name, value) in [
            ("sasl.oauthbearer.method", "oidc"),
            ("sasl.oauthbearer.token.endpoint.url", "https://login"),
            ("sasl.oauthbearer.client.id", "who"),
            ("sasl.oauthbearer.client.secret", "what"),
            ("sasl.oauthbearer.scope", "kafka"),
        ] {
            assert_eq!(config.get(name), Some(value), "{name}");
        }
        assert_eq!(config.get("sasl.password"), None);
        let config = client_config(&cluster(None), "kafka-1:9092", "me").unwrap();
        assert_eq!(config.get("sasl.username"), Some("who"));
        assert_eq!(config.get("sasl.password"), Some("what"));
        assert_eq!(config.get("sasl.oauthbearer.method"), None);
    }
}
