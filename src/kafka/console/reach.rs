//! The topics that a command reads or writes: the first thing that it asks, and so whether Kafka answers.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::types::RDKafkaErrorCode;

use crate::kafka::admin::AdminError;
use crate::kafka::admin::reach::{FIRST_ANSWER, reach};
use crate::kafka::native::Native;

/// How long a topic that was just made may have no leader.
const SETTLING: Duration = Duration::from_secs(5);

/// Why a command cannot begin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unreached {
    /// No broker answers; the text has addresses and reasons.
    #[error("{0}")]
    Nobody(String),
    /// A broker answers, and does not do what is asked.
    #[error("{0}")]
    Refused(String),
    /// The client cannot be made.
    #[error("librdkafka refuses the settings: {0}")]
    Settings(String),
}

impl From<AdminError> for Unreached {
    fn from(error: AdminError) -> Self {
        match error {
            AdminError::Config(why) => Self::Settings(why),
            AdminError::Unreachable(why) => Self::Nobody(why),
            AdminError::Failed(why) => Self::Refused(why),
        }
    }
}

/// The topics that there are, with their numbers of partitions. `topic`: only this one.
///
/// # Errors
/// When no broker answers within seconds, or the topic is not to be had.
pub fn topics(
    native: &Native,
    topic: Option<&str>,
    brokers: &str,
) -> Result<BTreeMap<String, u32>, Unreached> {
    let begun = Instant::now();
    loop {
        let metadata = reach(native, topic, brokers, FIRST_ANSWER)?;
        let mut found = BTreeMap::new();
        let mut refused = None;
        for known in metadata.topics() {
            match known.error().map(RDKafkaErrorCode::from) {
                Some(code) if topic.is_some() => refused = Some(code),
                Some(_) => {}
                None => drop(found.insert(
                    known.name().to_owned(),
                    u32::try_from(known.partitions().len()).unwrap_or(0),
                )),
            }
        }
        let Some(name) = topic else { return Ok(found) };
        if found.get(name).is_some_and(|partitions| *partitions > 0) {
            return Ok(found);
        }
        // A topic that the broker makes because it was named, or that was just made, needs a moment.
        let settling = matches!(
            refused,
            None | Some(RDKafkaErrorCode::LeaderNotAvailable | RDKafkaErrorCode::UnknownTopic)
                | Some(RDKafkaErrorCode::UnknownTopicOrPartition)
        );
        if !settling || begun.elapsed() > SETTLING {
            return Err(Unreached::Refused(words(name, refused)));
        }
        // Waits on the client's queue, which nobody else reads.
        drop(native.poll(Duration::from_millis(200)));
    }
}

/// Why a topic cannot be used.
pub fn words(topic: &str, code: Option<RDKafkaErrorCode>) -> String {
    match code {
        None | Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => {
            format!(
                "topic {topic} does not exist; make it with `logferry topics create {topic} --partitions N`"
            )
        }
        Some(RDKafkaErrorCode::TopicAuthorizationFailed) => {
            format!("topic {topic}: no permission; grant it to this user")
        }
        Some(code) => format!("topic {topic}: {code}"),
    }
}

/// The addresses of `brokers:`, for messages and for librdkafka.
pub fn addresses(brokers: &crate::kafka::settings::Brokers) -> String {
    match brokers {
        crate::kafka::settings::Brokers::Addresses(addresses) => addresses.join(","),
        crate::kafka::settings::Brokers::Embedded => String::new(),
    }
}
