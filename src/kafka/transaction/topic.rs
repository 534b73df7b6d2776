//! The positions topic is there and is what it has to be, or is made, or it is said what to do.

use std::time::{Duration, Instant};

use rdkafka::types::RDKafkaErrorCode;

use super::{PARTITIONS, TOPIC};
use crate::kafka::native::{Native, NewTopic};

/// How long one question may take.
const QUESTION: Duration = Duration::from_secs(2);
/// How long making the topic may take.
const MAKING: Duration = Duration::from_secs(10);

/// Only the newest record of each key is kept, and soon: every start reads the whole partition.
const SETTINGS: &[(&str, &str)] = &[
    ("cleanup.policy", "compact"),
    ("segment.bytes", "4194304"),
    ("min.cleanable.dirty.ratio", "0.1"),
];

/// Makes sure that the topic can be used.
///
/// # Errors
/// Words for the operator; it is worth trying again.
pub fn ensure(client: &Native) -> Result<(), String> {
    match partitions(client)? {
        Some(partitions) if partitions >= PARTITIONS as usize => Ok(()),
        Some(partitions) => Err(format!(
            "the topic {TOPIC} has {partitions} partitions and needs {PARTITIONS}: add partitions to it"
        )),
        None => {
            make(client)?;
            // Brokers know of it a little later than the controller that made it.
            let until = Instant::now() + MAKING;
            while !matches!(partitions(client), Ok(Some(_))) {
                if Instant::now() > until {
                    return Err(format!("the topic {TOPIC} was made and is not there yet"));
                }
                client.poll(Duration::from_millis(100));
            }
            Ok(())
        }
    }
}

/// How many partitions the topic has; `None` when it does not exist.
fn partitions(client: &Native) -> Result<Option<usize>, String> {
    let metadata = client
        .client()
        .fetch_metadata(Some(TOPIC), QUESTION)
        .map_err(|error| {
            let code = error.rdkafka_error_code();
            code.map_or(error.to_string(), |code| code.to_string())
        })?;
    let topic = metadata.topics().iter().find(|it| it.name() == TOPIC);
    let code = topic.and_then(|topic| topic.error()).map(Into::into);
    match (code, topic) {
        (Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic), _)
        | (None, None) => Ok(None),
        (Some(RDKafkaErrorCode::TopicAuthorizationFailed), _) => Err(format!(
            "no permission for the topic {TOPIC}: grant READ, WRITE and DESCRIBE on it to this user, and CREATE if it does not exist"
        )),
        (Some(code), _) => Err(format!("the topic {TOPIC}: {code}")),
        (None, Some(topic)) if topic.partitions().iter().all(|it| it.leader() >= 0) => {
            Ok(Some(topic.partitions().len()))
        }
        (None, Some(_)) => Err(format!("the topic {TOPIC} has partitions without a leader")),
    }
}

fn make(client: &Native) -> Result<(), String> {
    let brokers = client
        .client()
        .fetch_metadata(None, QUESTION)
        .map_or(1, |metadata| metadata.brokers().len());
    let replication = brokers.clamp(1, 3);
    let mut settings = SETTINGS.to_vec();
    if replication == 3 {
        settings.push(("min.insync.replicas", "2"));
    }
    let topic = NewTopic {
        name: TOPIC,
        partitions: PARTITIONS as i32,
        replication: replication as i32,
        settings: &settings,
    };
    let Err((code, words)) = client.create_topic(&topic, MAKING) else {
        tracing::info!(
            topic = TOPIC,
            partitions = PARTITIONS,
            replication,
            "the topic for positions was made"
        );
        return Ok(());
    };
    if code == RDKafkaErrorCode::TopicAlreadyExists {
        return Ok(());
    }
    let settings: Vec<String> = settings
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    Err(format!(
        "the topic {TOPIC}, in which `delivery: exactly_once` keeps positions, is missing and cannot be made ({code}: {words}); let this user \
         CREATE it, or make it: {PARTITIONS} partitions, replication {replication}, {}",
        settings.join(", ")
    ))
}
