//! What clusters, producers and consumers can be told.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::value::SecretSource;

/// One entry of `clusters:`, resolved.
#[derive(Debug, Clone, PartialEq)]
pub struct ClusterSettings {
    pub name: String,
    pub brokers: Brokers,
    pub tls: Option<TlsSettings>,
    pub sasl: Option<SaslSettings>,
    /// librdkafka properties that logferry does not own.
    pub options: BTreeMap<String, String>,
}

/// Where a cluster is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Brokers {
    /// `HOST:PORT`, one or more.
    Addresses(Vec<String>),
    /// The in-process broker: memory only.
    Embedded,
}

/// `tls:` of a cluster. System CAs are trusted when `ca_file` is absent.
#[derive(Debug, Clone, PartialEq)]
pub struct TlsSettings {
    pub ca_file: Option<String>,
    pub cert_file: Option<String>,
    pub key_file: Option<String>,
    pub key_password: Option<SecretSource>,
    pub verify: bool,
}

/// `sasl:` of a cluster.
#[derive(Debug, Clone, PartialEq)]
pub struct SaslSettings {
    /// `PLAIN`, `SCRAM-SHA-256`, `SCRAM-SHA-512` or `OAUTHBEARER`.
    pub mechanism: String,
    /// With `token_url` the client's id.
    pub username: Option<SecretSource>,
    /// With `token_url` the client's secret.
    pub password: Option<SecretSource>,
    /// Where tokens are asked for (OIDC, client credentials).
    pub token_url: Option<String>,
    /// What tokens are asked for, in words of whoever gives them.
    pub scope: Option<String>,
}

/// What makes two inputs share one producer: equal settings.
#[derive(Debug, Clone, PartialEq)]
pub struct ProducerSettings {
    pub cluster: ClusterSettings,
    pub acks: Acks,
    pub compression: Compression,
    pub linger: Linger,
    /// Largest batch on the wire, in bytes.
    pub batch_size: u64,
    /// Largest record, in bytes, key and headers included.
    pub max_record: u64,
    /// Absent: a record counts when it is confirmed.
    pub exactly_once: Option<ExactlyOnce>,
}

/// `delivery: exactly_once` of one input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExactlyOnce {
    /// This daemon's name in Kafka.
    pub id: String,
    /// The input.
    pub pipeline: String,
    /// A transaction is committed when it is so old.
    pub commit: Duration,
    /// `transaction.timeout.ms`: the broker aborts a transaction that is older.
    pub timeout: Duration,
}

impl ExactlyOnce {
    /// Neither the daemon's name nor the input's can have the slash.
    pub fn transactional_id(&self) -> String {
        format!("{}/{}", self.id, self.pipeline)
    }
}

/// `delivery:` of an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Delivery {
    #[default]
    AtLeastOnce,
    ExactlyOnce {
        commit: Duration,
        timeout: Duration,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Acks {
    #[default]
    All,
    Leader,
    None,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Compression {
    pub codec: Codec,
    /// The codec's own scale; absent: the codec's default.
    pub level: Option<i32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Codec {
    #[default]
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Linger {
    /// What waits for a partition is sent when the batch before it is acknowledged, and not sooner than 5 ms after it came.
    #[default]
    Auto,
    Fixed(Duration),
}

/// How a record's partition is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Partitioner {
    #[default]
    Murmur2Random,
    Murmur2,
    ConsistentRandom,
    Consistent,
    Fnv1aRandom,
    Fnv1a,
    SaramaReference,
    Random,
    RoundRobin,
    Sticky,
    /// The number that [`RouteSettings::place`] makes.
    Manual,
    /// The hash of the text that [`RouteSettings::place`] makes.
    Hash(Hash),
}

/// What a text is hashed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hash {
    Crc32,
    Murmur2,
    Fnv1a,
}

impl Partitioner {
    /// Those that have a name, which is all but `{ hash, of }`.
    pub const NAMED: [(&'static str, Self); 11] = [
        ("murmur2_random", Self::Murmur2Random),
        ("murmur2", Self::Murmur2),
        ("consistent_random", Self::ConsistentRandom),
        ("consistent", Self::Consistent),
        ("fnv1a_random", Self::Fnv1aRandom),
        ("fnv1a", Self::Fnv1a),
        ("sarama_reference", Self::SaramaReference),
        ("random", Self::Random),
        ("round_robin", Self::RoundRobin),
        ("sticky", Self::Sticky),
        ("manual", Self::Manual),
    ];

    /// By the name that users know it by.
    pub fn named(name: &str) -> Option<Self> {
        let found = Self::NAMED.iter().find(|(known, _)| *known == name);
        found.map(|(_, partitioner)| *partitioner)
    }

    /// Whether a text of the record's own decides, which is not its key.
    pub fn asks_for_place(self) -> bool {
        matches!(self, Self::Manual | Self::Hash(_))
    }
}

impl Hash {
    /// By the name that users know it by.
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "crc32" => Self::Crc32,
            "murmur2" => Self::Murmur2,
            "fnv1a" => Self::Fnv1a,
            _ => return None,
        })
    }
}

/// Where and how the records of one input go.
#[derive(Debug, Clone, PartialEq)]
pub struct RouteSettings {
    /// Template without parts that differ from record to record.
    pub topic: String,
    /// Template; absent: a null key.
    pub key: Option<String>,
    pub partitioner: Partitioner,
    /// Template of what decides the partition where the key does not; absent also where the input makes it.
    pub place: Option<String>,
    pub on_refused: OnRefused,
    /// After so long a record for a topic that does not exist is set aside. Absent: it waits.
    pub dead_letter_after: Option<Duration>,
    /// Lines become records of up to so many bytes; absent: a line is a record.
    pub pack: Option<u32>,
}

/// What becomes of a record that Kafka refuses for the record's own sake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnRefused {
    #[default]
    DeadLetter,
    Stop,
    Drop,
}

/// `from:` of an output.
#[derive(Debug, Clone, PartialEq)]
pub struct ConsumerSettings {
    pub cluster: ClusterSettings,
    /// Names, or regular expressions that begin with `^`.
    pub topics: Vec<String>,
    /// Exactly these partitions, by topic, without a group's balancing. Absent: as the group says.
    pub partitions: Option<BTreeMap<String, BTreeSet<i32>>>,
    pub group: String,
    pub start_at: ConsumeFrom,
    pub on_out_of_range: OutOfRange,
    pub protocol: GroupProtocol,
    pub isolation: Isolation,
    pub options: BTreeMap<String, String>,
}

/// Where a group without an offset begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ConsumeFrom {
    #[default]
    Earliest,
    Latest,
    /// The first record that is not older than this, in milliseconds since 1970.
    Time(i64),
}

/// How members of a group agree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum GroupProtocol {
    /// Among themselves.
    #[default]
    Classic,
    /// As the brokers say (KIP-848).
    Consumer,
}

/// What is done when retention took the next offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OutOfRange {
    #[default]
    Earliest,
    Latest,
    /// The output stops.
    Stop,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Isolation {
    #[default]
    ReadCommitted,
    ReadUncommitted,
}
