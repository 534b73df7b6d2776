//! Kafka's error codes, in one table: what each means for the records it was given for.
//!
//! A code is about the moment, about a record, about the topic, the rights or the cluster, or about the client. Only the second can ever cost
//! a record its place: whatever is unknown or in doubt is sent again, which can cost time but no record.
//!
//! Invariant: every code that librdkafka has stands in the table, by name. A test walks all of them, so that a new one cannot be forgotten.

use rdkafka::types::RDKafkaErrorCode;

/// What is done about records that came back with an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Nobody is to blame: send them again.
    Again,
    /// One of the records that travelled together is itself at fault: find it, and set aside the one that is refused alone. One word for
    /// counting.
    Record(&'static str),
    /// The topic, the rights or the cluster are at fault: keep the records, wait, send them again.
    Wait(&'static str),
    /// The client is at its end: build a new one and send them again from memory.
    Client,
}

/// A batch or a record is larger than the broker takes.
pub const TOO_LARGE: &str = "too_large";

/// What `code` means. A code that is not in the table is nobody's fault.
pub fn verdict(code: RDKafkaErrorCode) -> Verdict {
    table(code).unwrap_or(Verdict::Again)
}

/// Whether the broker answered that there is no such topic. Anything else that is wrong with a topic says nothing about whether it is there.
pub fn is_missing_topic(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(code, Code::UnknownTopic | Code::UnknownTopicOrPartition)
}

/// What to tell people about a topic of which the broker answers with `code`.
pub fn of_topic(code: RDKafkaErrorCode) -> &'static str {
    match verdict(code) {
        Verdict::Wait(why) => why,
        _ => "the broker does not tell about the topic",
    }
}

/// The table.
fn table(code: RDKafkaErrorCode) -> Option<Verdict> {
    use RDKafkaErrorCode as Code;
    use Verdict::{Again, Client, Record, Wait};
    Some(match code {
        // The record.
        Code::MessageSizeTooLarge | Code::MessageBatchTooLarge => Record(TOO_LARGE),
        Code::InvalidMessageSize => Record("invalid_size"),
        Code::InvalidTimestamp => Record("invalid_timestamp"),
        Code::InvalidRecord => Record("invalid_record"),

        // Another record of its batch: this one is without fault.
        Code::InvalidDifferentRecord => Again,

        // The topic.
        Code::UnknownTopic | Code::UnknownTopicOrPartition | Code::UnknownTopicId => {
            Wait("the topic does not exist; create it")
        }
        Code::UnknownPartition => Wait("the partition does not exist any more"),
        Code::InvalidTopic => Wait("the broker refuses the topic's name"),
        Code::InvalidConfig | Code::InvalidPartitions | Code::InvalidReplicationFactor => {
            Wait("the broker cannot make the topic as it is set to; create it by hand")
        }
        Code::PolicyViolation => Wait("a policy of the broker refuses the topic or its settings"),
        Code::InvalidMessage => Wait(
            "the broker finds the batch damaged; before Kafka 2.4 that is also its answer to records without a key in a compacted topic",
        ),
        Code::UnsupportedForMessageFormat => {
            Wait("the topic's message format is too old; raise its message.format.version")
        }
        Code::UnsupportedCompressionType => {
            Wait("the broker does not know this compression; choose another `compression`")
        }

        // The rights.
        Code::TopicAuthorizationFailed => {
            Wait("no permission to write to the topic; grant WRITE to this user")
        }
        Code::ClusterAuthorizationFailed => Wait(
            "no permission for idempotent writes; grant IDEMPOTENT_WRITE or use a newer broker",
        ),
        Code::TransactionalIdAuthorizationFailed => {
            Wait("no permission for the transactional id; grant WRITE on it to this user")
        }
        Code::SaslAuthenticationFailed | Code::Authentication => {
            Wait("the broker refuses the credentials")
        }
        Code::UnsupportedSASLMechanism | Code::IllegalSASLState | Code::SecurityDisabled => {
            Wait("the broker does not take this way of logging in; look at `sasl.mechanism`")
        }
        Code::DelegationTokenAuthDisabled
        | Code::DelegationTokenNotFound
        | Code::DelegationTokenOwnerMismatch
        | Code::DelegationTokenRequestNotAllowed
        | Code::DelegationTokenAuthorizationFailed
        | Code::DelegationTokenExpired
        | Code::InvalidPrincipalType
        | Code::PrincipalDeserializationFailure
        | Code::UnacceptableCredential => Wait("the broker refuses the credentials"),
        Code::SSL => Wait("TLS fails; look at `tls` and at the broker's certificate"),

        // The cluster, and how we talk to it.
        Code::InvalidRequiredAcks => Wait("the broker does not take these `acks`"),
        Code::InvalidTransactionTimeout => Wait(
            "the broker's transaction.max.timeout.ms is smaller than the `timeout` of `exactly_once`",
        ),
        Code::UnsupportedVersion | Code::UnsupportedFeature | Code::NotImplemented => {
            Wait("the broker is too old for what is asked of it")
        }
        Code::UnknownProtocol | Code::InvalidRequest => {
            Wait("the broker does not understand what it is sent; is it Kafka, and is `tls` right?")
        }

        // The client. What it held is sent again by the next one.
        Code::Fatal
        | Code::Fenced
        | Code::State
        | Code::Inconsistent
        | Code::GaplessGuarantee
        | Code::PurgeQueue
        | Code::PurgeInflight
        | Code::CriticalSystemResource
        | Code::OutOfOrderSequenceNumber
        | Code::InvalidProducerEpoch
        | Code::InvalidProducerIdMapping
        | Code::InvalidTransactionalState
        | Code::ProducerFenced
        | Code::UnknownProducerId => Client,

        // The moment: somebody is away, busy, moving or slow.
        Code::BrokerDestroy
        | Code::DestroyBroker
        | Code::BrokerTransportFailure
        | Code::Resolve
        | Code::MessageTimedOut
        | Code::AllBrokersDown
        | Code::OperationTimedOut
        | Code::QueueFull
        | Code::ISRInsufficient
        | Code::NodeUpdate
        | Code::WaitingForCoordinator
        | Code::InProgress
        | Code::PreviousInProgress
        | Code::Conflict
        | Code::Outdated
        | Code::TimedOutQueue
        | Code::WaitCache
        | Code::Interrupted
        | Code::Partial
        | Code::Retry
        | Code::UnknownBroker
        | Code::LeaderNotAvailable
        | Code::NotLeaderForPartition
        | Code::RequestTimedOut
        | Code::BrokerNotAvailable
        | Code::ReplicaNotAvailable
        | Code::NetworkException
        | Code::CoordinatorLoadInProgress
        | Code::CoordinatorNotAvailable
        | Code::NotCoordinator
        | Code::NotController
        | Code::NotEnoughReplicas
        | Code::NotEnoughReplicasAfterAppend
        | Code::KafkaStorageError
        | Code::LogDirNotFound
        | Code::ListenerNotFound
        | Code::FencedLeaderEpoch
        | Code::UnknownLeaderEpoch
        | Code::StaleBrokerEpoch
        | Code::StaleControllerEpoch
        | Code::ConcurrentTransactions
        | Code::TransactionCoordinatorFenced
        | Code::OperationNotAttempted
        | Code::ReassignmentInProgress
        | Code::PreferredLeaderNotAvailable
        | Code::EligibleLeadersNotAvailable
        | Code::ThrottlingQuotaExceeded
        | Code::RebootstrapRequired => Again,

        // An answer that says nothing, or that a producer should not meet: no reason to give a record up.
        Code::BadMessage
        | Code::BadCompression
        | Code::Fail
        | Code::FileSystem
        | Code::InvalidArgument
        | Code::ReadOnly
        | Code::NoEnt
        | Code::Underflow
        | Code::InvalidType
        | Code::NotConfigured
        | Code::Application
        | Code::Noop
        | Code::Unknown
        | Code::NoError
        | Code::DuplicateSequenceNumber
        | Code::KeySerialization
        | Code::ValueSerialization
        | Code::ResourceNotFound
        | Code::DuplicateResource => Again,

        // What only consumers, groups and administrators are told.
        Code::PartitionEOF
        | Code::UnknownGroup
        | Code::ExistingSubscription
        | Code::AssignPartitions
        | Code::RevokePartitions
        | Code::NoOffset
        | Code::KeyDeserialization
        | Code::ValueDeserialization
        | Code::PollExceeded
        | Code::AssignmentLost
        | Code::AutoOffsetReset
        | Code::LogTruncation
        | Code::OffsetOutOfRange
        | Code::OffsetMetadataTooLarge
        | Code::IllegalGeneration
        | Code::InconsistentGroupProtocol
        | Code::InvalidGroupId
        | Code::UnknownMemberId
        | Code::InvalidSessionTimeout
        | Code::RebalanceInProgress
        | Code::InvalidCommitOffsetSize
        | Code::GroupAuthorizationFailed
        | Code::TopicAlreadyExists
        | Code::InvalidReplicaAssignment
        | Code::NonEmptyGroup
        | Code::GroupIdNotFound
        | Code::FetchSessionIdNotFound
        | Code::InvalidFetchSessionEpoch
        | Code::TopicDeletionDisabled
        | Code::OffsetNotAvailable
        | Code::MemberIdRequired
        | Code::GroupMaxSizeReached
        | Code::FencedInstanceId
        | Code::ElectionNotNeeded
        | Code::NoReassignmentInProgress
        | Code::GroupSubscribedToTopic
        | Code::UnstableOffsetCommit
        | Code::InconsistentVoterSet
        | Code::InvalidUpdateVersion
        | Code::FeatureUpdateFailed
        | Code::FencedMemberEpoch
        | Code::UnreleasedInstanceId
        | Code::UnsupportedAssignor
        | Code::StaleMemberEpoch
        | Code::UnknownSubscriptionId
        | Code::TelemetryTooLarge => Again,

        // The enumeration cannot be matched to its end outside of its crate; the test below does that.
        _ => return None,
    })
}

/// What to do about what librdkafka tells in words alone, as the end of a sentence: about a transaction that cannot go on it gives the words of
/// the broker's code, and not the code.
pub fn advice(words: &str) -> &'static str {
    // As `rd_kafka_err2str` has them.
    const KNOWN: [(&str, &str); 3] = [
        (
            "Transactional Id authorization failed",
            "; grant WRITE and DESCRIBE on the transactional id to this user",
        ),
        (
            "Topic authorization failed",
            "; grant WRITE on the topic to this user",
        ),
        (
            "Cluster authorization failed",
            "; grant IDEMPOTENT_WRITE on the cluster to this user",
        ),
    ];
    let known = KNOWN.iter().find(|(known, _)| words.contains(known));
    known.map_or("", |(_, advice)| advice)
}

#[cfg(test)]
mod tests {
    use super::*;
    use RDKafkaErrorCode as Code;
    use rdkafka::types::RDKafkaRespErr;

    /// Every code that librdkafka has, by its number.
    fn all() -> impl Iterator<Item = Code> {
        (-1000..1000)
            .filter_map(|number| RDKafkaRespErr::try_from(number).ok())
            .map(Code::from)
            // They mark where the numbers begin and end; nobody is ever given one.
            .filter(|code| !matches!(code, Code::Begin | Code::End | Code::EndAll))
    }

    #[test]
    fn every_code_of_librdkafka_stands_in_the_table() {
        let codes: Vec<Code> = all().collect();
        assert!(codes.len() >= 170, "{}", codes.len());
        let forgotten: Vec<_> = codes
            .iter()
            .filter(|code| table(**code).is_none())
            .collect();
        assert!(forgotten.is_empty(), "{forgotten:?}");
    }

    #[test]
    fn the_words_that_advice_goes_by_are_librdkafkas() {
        use RDKafkaErrorCode as Code;
        for code in [
            Code::TransactionalIdAuthorizationFailed,
            Code::TopicAuthorizationFailed,
            Code::ClusterAuthorizationFailed,
        ] {
            assert!(advice(&code.to_string()).contains("grant"), "{code}");
        }
    }

    #[test]
    fn only_faults_of_a_record_itself_can_set_it_aside() {
        let guilty: Vec<(Code, &str)> = all()
            .filter_map(|code| match verdict(code) {
                Verdict::Record(reason) => Some((code, reason)),
                _ => None,
            })
            .collect();
        let expected = [
            (Code::InvalidMessageSize, "invalid_size"),
            (Code::MessageSizeTooLarge, "too_large"),
            (Code::MessageBatchTooLarge, "too_large"),
            (Code::InvalidTimestamp, "invalid_timestamp"),
            (Code::InvalidRecord, "invalid_record"),
        ];
        assert_eq!(guilty, expected);
    }

    #[test]
    fn the_neighbours_of_an_invalid_record_are_sent_again() {
        assert_eq!(verdict(Code::InvalidDifferentRecord), Verdict::Again);
    }

    #[test]
    fn what_waits_says_what_to_do_and_what_is_missing_waits() {
        for code in all() {
            if let Verdict::Wait(why) = verdict(code) {
                assert!(why.len() > 20 && !why.ends_with('.'), "{code:?}: {why}");
            }
            if is_missing_topic(code) {
                assert!(matches!(verdict(code), Verdict::Wait(_)), "{code:?}");
            }
        }
        for rights in [
            Code::TopicAuthorizationFailed,
            Code::ClusterAuthorizationFailed,
            Code::SaslAuthenticationFailed,
        ] {
            assert!(matches!(verdict(rights), Verdict::Wait(_)), "{rights:?}");
            assert!(!is_missing_topic(rights), "{rights:?}");
        }
    }

    #[test]
    fn a_producer_that_lost_its_place_is_built_anew() {
        for code in [
            Code::Fatal,
            Code::OutOfOrderSequenceNumber,
            Code::InvalidProducerEpoch,
            Code::UnknownProducerId,
        ] {
            assert_eq!(verdict(code), Verdict::Client, "{code:?}");
        }
    }
}
