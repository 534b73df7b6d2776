//! Kafka's error codes, in one table: what each means for the records it was given for.

use rdkafka::types::RDKafkaErrorCode;

/// What is done about records that came back with an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Nobody is to blame: send them again.
    Again,
    /// One of the records that travelled together is itself at fault: send them one by one, and set aside the one that is refused alone.
    Record(&'static str),
    /// The topic, the rights or the cluster are at fault: keep the records, wait, send them again.
    Wait(&'static str),
    /// The client is at its end: build a new one and send them again from memory.
    Client,
}

/// The table. A code that is not in it is nobody's fault: it is tried again, which can cost time but no record.
pub fn verdict(code: RDKafkaErrorCode) -> Verdict {
    use RDKafkaErrorCode as Code;
    match code {
        Code::MessageSizeTooLarge => Verdict::Record("too_large"),
        Code::InvalidMessageSize => Verdict::Record("invalid_size"),
        Code::InvalidTimestamp => Verdict::Record("invalid_timestamp"),
        Code::InvalidRecord => Verdict::Record("invalid_record"),
        Code::UnsupportedCompressionType => {
            Verdict::Wait("the broker does not know this compression; choose another `compression`")
        }
        Code::TopicAuthorizationFailed => {
            Verdict::Wait("no permission to write to the topic; grant WRITE to this user")
        }
        Code::ClusterAuthorizationFailed => Verdict::Wait(
            "no permission for idempotent writes; grant IDEMPOTENT_WRITE or use a newer broker",
        ),
        Code::UnknownTopic | Code::UnknownTopicOrPartition => {
            Verdict::Wait("the topic does not exist; create it")
        }
        Code::UnknownPartition => Verdict::Wait("the partition does not exist any more"),
        Code::InvalidTopic => Verdict::Wait("the broker refuses the topic's name"),
        Code::SaslAuthenticationFailed | Code::Authentication => {
            Verdict::Wait("the broker refuses the credentials")
        }
        Code::PolicyViolation => {
            Verdict::Wait("a policy of the broker refuses the topic or its settings")
        }
        Code::Fatal | Code::Fenced | Code::State | Code::PurgeQueue | Code::PurgeInflight => {
            Verdict::Client
        }
        _ => Verdict::Again,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_faults_of_a_record_itself_can_set_it_aside() {
        use RDKafkaErrorCode as Code;
        for code in [
            Code::UnknownTopicOrPartition,
            Code::TopicAuthorizationFailed,
            Code::NotEnoughReplicas,
            Code::MessageTimedOut,
            Code::Fail,
        ] {
            assert!(!matches!(verdict(code), Verdict::Record(_)), "{code:?}");
        }
        assert_eq!(
            verdict(Code::MessageSizeTooLarge),
            Verdict::Record("too_large")
        );
    }
}
