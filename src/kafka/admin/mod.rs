//! What an operator asks a cluster, and has it do: clients that live for one command.
//!
//! `reach` makes sure that somebody answers, and says why nobody does; `topics` and `groups` ask; `assignment` reads what a group's members
//! tell each other; `sizes` asks by itself what librdkafka cannot.
//!
//! Invariant: nothing here joins a group or names a topic to the broker that is not there, which could make one.

pub mod assignment;
pub mod groups;
pub mod reach;
mod sizes;
pub mod topics;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::metadata::Metadata;

use super::cluster::client_config;
use super::native::{Answer, Native};
use super::settings::{Brokers, ClusterSettings};
use super::trouble::Trouble;

/// How long a cluster that answers may take for one question.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// What the broker calls us in its logs.
const CLIENT_ID: &str = "logferry";

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AdminError {
    /// librdkafka takes the properties, or a secret cannot be read: the user has to change something.
    #[error("{0}")]
    Config(String),
    /// Nobody answers; says where, and why.
    #[error("{0}")]
    Unreachable(String),
    /// The cluster answered, and did not do it.
    #[error("{0}")]
    Failed(String),
}

/// `HOST:PORT` of each broker, by its number.
fn brokers(metadata: &Metadata) -> BTreeMap<i32, String> {
    metadata
        .brokers()
        .iter()
        .map(|broker| (broker.id(), format!("{}:{}", broker.host(), broker.port())))
        .collect()
}

/// `HOST:PORT,...` of a cluster that is not embedded.
pub fn addresses(cluster: &ClusterSettings) -> String {
    match &cluster.brokers {
        Brokers::Addresses(addresses) => addresses.join(","),
        Brokers::Embedded => String::new(),
    }
}

/// The properties of a client that lives for one command.
///
/// # Errors
/// When a secret cannot be read.
pub fn short_lived(cluster: &ClusterSettings) -> Result<ClientConfig, AdminError> {
    let mut config = client_config(cluster, &addresses(cluster), CLIENT_ID)
        .map_err(|error| AdminError::Config(error.to_string()))?;
    let mut unless_set = |name: &str, value: &str| {
        if !cluster.options.contains_key(name) {
            config.set(name, value);
        }
    };
    // Less than the time in which somebody has to answer, so that its end is told as the reason.
    unless_set("socket.connection.setup.timeout.ms", "4000");
    unless_set("reconnect.backoff.ms", "50");
    // Offsets are counted to what is there, not to where a transaction is still open. Also a producer that asks goes by this.
    unless_set("isolation.level", "read_uncommitted");
    unless_set("reconnect.backoff.max.ms", "500");
    Ok(config)
}

/// Waits for the answer to what was asked, and listens to what goes wrong meanwhile.
fn answer(native: &Native, address: &str, patience: Duration) -> Result<Answer, AdminError> {
    let deadline = Instant::now() + patience;
    let mut trouble = Trouble::default();
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match native.poll(left) {
            Some(event) => match event.answer() {
                Some(Answer::Failed(code, text)) => {
                    return Err(trouble.explain(code, &text, address));
                }
                Some(answer) => return Ok(answer),
                None => trouble.hear(&event.kind()),
            },
            None if left.is_zero() => return Err(trouble.unreachable(address, patience)),
            None => {}
        }
    }
}
