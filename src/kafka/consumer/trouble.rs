//! What goes wrong with a cluster or a group, told once and with what to do about it.
//!
//! Nothing here ends the consumer: librdkafka tries again until it succeeds, and a trouble that comes back after the cluster answered is told
//! again.

use rdkafka::types::RDKafkaErrorCode as Code;

use super::Worker;
use super::session::Session;
use crate::kafka::cluster::client_config;
use crate::kafka::tls_files::TLS_CHANGED;
use crate::kafka::trouble::{Kind, Trouble};

impl Worker {
    /// The cluster answered something.
    pub(super) fn answers(&mut self, session: &mut Session) {
        if session.connected {
            return;
        }
        session.connected = true;
        session.heard = Trouble::default();
        session.told.clear();
        self.consumer.state.change(|status| {
            status.connected = true;
            status.last_error = None;
        });
        tracing::info!(output = %self.consumer.name, brokers = %self.consumer.bootstrap, "the cluster answers");
    }

    /// Something is wrong. Said once, until the cluster is back or the group gives something.
    pub(super) fn trouble(&mut self, session: &mut Session, topic: &str, code: Code, text: &str) {
        match code {
            // One broker. When it is all of them, that is said.
            Code::BrokerTransportFailure | Code::Resolve | Code::OperationTimedOut => {
                tracing::debug!(output = %self.consumer.name, "{text}");
                session.unreached = Some(text.to_owned());
                return;
            }
            Code::AllBrokersDown => {
                session.connected = false;
                self.consumer
                    .state
                    .change(|status| status.connected = false);
            }
            _ => {}
        }
        // Who refused us was told already.
        let is_known = code == Code::AllBrokersDown && session.heard.is_final();
        if is_known || !session.told.insert((topic.to_owned(), code as i32)) {
            return;
        }
        let reason = match (code, &session.unreached) {
            (Code::AllBrokersDown, Some(reason)) => format!(": {reason}"),
            _ => String::new(),
        };
        let text = match code {
            Code::AllBrokersDown => "no broker of the cluster answers".to_owned(),
            Code::SSL | Code::Authentication => {
                session.heard.told().unwrap_or_else(|| text.to_owned())
            }
            _ => text.to_owned(),
        };
        let text = format!("{text}{}{reason}", advice(code));
        tracing::warn!(output = %self.consumer.name, brokers = %self.consumer.bootstrap, "{text}; tried again until it succeeds");
        self.consumer
            .state
            .change(|status| status.last_error = Some(text));
    }

    /// When the login or a certificate is refused, the next try takes what the secrets are by now.
    pub(super) fn log_in(&self, session: &mut Session) {
        if session.heard.kind() < Some(Kind::Tls) {
            return;
        }
        let consumer = &self.consumer;
        let config = client_config(
            &consumer.settings.cluster,
            &consumer.bootstrap,
            &consumer.client_id,
        );
        if let Ok(config) = config {
            let native = session.member.native();
            native.log_in_as(&config);
            if native.is_outdated(&config) {
                session.fatal.get_or_insert_with(|| TLS_CHANGED.to_owned());
            }
        }
    }
}

/// Why a group takes no offsets from an output that names its partitions.
pub(super) fn refused_by(group: &str) -> String {
    format!(
        "the group {group} has members that balance its partitions, and takes offsets from them only; stop them, or give this output a group of its own"
    )
}

/// What to do about an error, as the end of a sentence.
pub(super) fn advice(code: Code) -> &'static str {
    match code {
        Code::TopicAuthorizationFailed => "; grant READ and DESCRIBE on the topic to this user",
        Code::GroupAuthorizationFailed => "; grant READ on the group to this user",
        Code::UnknownTopicOrPartition | Code::UnknownTopic => {
            "; create the topic, it is picked up within seconds"
        }
        Code::SaslAuthenticationFailed | Code::Authentication => {
            "; check `sasl` of the cluster: the broker refuses the credentials"
        }
        Code::SSL => "; check `tls` of the cluster",
        Code::InconsistentGroupProtocol => {
            "; other members of the group use another assignment strategy; give this output a group of its own"
        }
        Code::OffsetMetadataTooLarge => {
            "; raise the broker's `offset.metadata.max.bytes` to its default of 4096"
        }
        _ => "",
    }
}
