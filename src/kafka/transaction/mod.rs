//! Where the marks of exactly-once pipelines are kept: the compacted topic [`TOPIC`].
//!
//! ```text
//!  begin ─► lines ─► marks ─► stamp ─► commit          (producer::transact)
//!                      │        │
//!                      └────────┴──► logferry-positions, the partition of the transactional id
//!                                         │
//!  init_transactions ─► read up to the high watermark ─► seek, or judge      (read)
//! ```
//!
//! `record` is what the records look like, `topic` makes the topic when it is missing, `read` finds what was committed. The partition is
//! chosen by the transactional id and nothing else, so that a reader knows it, and does not wait for transactions of most other daemons.
//!
//! Invariant: what a mark says is opaque here.

pub mod read;
pub mod record;
pub mod topic;

use std::sync::Arc;

use rdkafka::ClientConfig;

use super::cluster::client_config;
use super::native::{Member, PartitionOffset};
use super::settings::{ClusterSettings, ExactlyOnce, Isolation};
use crate::flow::{Bell, Ring};

/// The topic's name.
pub const TOPIC: &str = "logferry-positions";

/// How many partitions the topic is made with, and how many it must have: more of them change nothing.
pub const PARTITIONS: u32 = 32;

/// What a transaction needs to know of its place: a pipeline's name in Kafka, and the partition that its marks are in.
#[derive(Debug, Clone)]
pub struct Home {
    pub exactly_once: ExactlyOnce,
    pub partition: i32,
}

impl Home {
    pub fn new(exactly_once: &ExactlyOnce) -> Self {
        let hash = crc32fast::hash(exactly_once.transactional_id().as_bytes());
        Self {
            partition: (hash % PARTITIONS) as i32,
            exactly_once: exactly_once.clone(),
        }
    }

    fn place(&self) -> PartitionOffset {
        PartitionOffset::bare(TOPIC, self.partition)
    }
}

/// A client that only looks: it joins no group and commits nothing.
fn onlooker(
    cluster: &ClusterSettings,
    bootstrap: &str,
    name: &str,
    isolation: Isolation,
    bell: &Arc<Bell>,
) -> Result<Member, String> {
    let config = onlooker_config(cluster, bootstrap, name, isolation)?;
    let ring: Arc<dyn Ring> = bell.clone();
    Member::new(&config, &ring)
}

fn onlooker_config(
    cluster: &ClusterSettings,
    bootstrap: &str,
    name: &str,
    isolation: Isolation,
) -> Result<ClientConfig, String> {
    let mut config = client_config(cluster, bootstrap, name).map_err(|error| error.to_string())?;
    config
        // librdkafka wants a name even of those that join nothing.
        .set("group.id", format!("{name}-positions"))
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("allow.auto.create.topics", "false")
        .set("auto.offset.reset", "earliest")
        // The news of an end tells how far transaction markers reach.
        .set("enable.partition.eof", "true")
        .set("fetch.wait.max.ms", "50")
        .set("fetch.queue.backoff.ms", "5")
        .set(
            "isolation.level",
            match isolation {
                Isolation::ReadCommitted => "read_committed",
                Isolation::ReadUncommitted => "read_uncommitted",
            },
        );
    Ok(config)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_pipeline_finds_its_partition_again_for_ever() {
        let home = |id: &str, pipeline: &str| {
            Home::new(&ExactlyOnce {
                id: id.into(),
                pipeline: pipeline.into(),
                commit: Duration::from_secs(1),
                timeout: Duration::from_secs(30),
            })
        };
        // A number that changes here makes every daemon forget its positions.
        assert_eq!(home("web-1", "nginx").partition, 22);
        assert_eq!(home("web-2", "nginx").partition, 11);
    }
}
