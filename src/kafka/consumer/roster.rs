//! Partitions that the configuration names: who plays the group's part when nobody balances.
//!
//! Every so often brokers are asked which of them exist. Those that do are begun as if a group had given them, those that are gone are given
//! back, and those that are not there yet are waited for. What a partition begins with, and when it may go, is decided where it always is
//! (`jobs`), so an output without balancing keeps what it promises for the same reasons as one with it.
//!
//! Invariant: a partition is begun only while nobody holds it here, no job is about it, and a broker has said that it has a leader.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::types::RDKafkaErrorCode as Code;

use super::Worker;
use super::session::{Session, names};
use crate::kafka::commit::Key;
use crate::kafka::errors::is_missing_topic;
use crate::kafka::native::Native;
use crate::kafka::rebalance::{Job, Why};
use crate::kafka::settings::Brokers;

/// How often brokers are asked when everything is there.
const REGULAR: Duration = Duration::from_secs(10);
/// The same while something is missing, or nobody answers.
const SOON: Duration = Duration::from_secs(2);
/// The same of the embedded broker, which makes topics when somebody first produces, and whoever tries it out waits for it.
const EMBEDDED: Duration = Duration::from_secs(1);
/// How long an answer is waited for at the first try; up to three times as long later. A stop does not notice it.
const PATIENCE: Duration = Duration::from_millis(250);

/// The partitions that are named, and what is known of them.
pub(super) struct Roster {
    named: BTreeMap<Arc<str>, BTreeSet<i32>>,
    /// When brokers are asked again.
    due: Instant,
    /// How often nobody answered, one after another.
    failures: u32,
    /// Whether a broker said of one of the topics that it is not to be had.
    refused: bool,
    /// Partitions that are waited for, and why.
    absent: BTreeMap<Key, Absence>,
}

/// Why a partition is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Absence {
    /// The topic does not exist.
    Topic,
    /// The topic has fewer partitions.
    Partition,
    /// Nobody leads it at the moment.
    Leader,
}

/// What a broker says about a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Topic {
    Missing,
    /// Its partitions, each with whether it has a leader.
    There(BTreeMap<i32, bool>),
    /// Nothing that helps: the topic is being made, or brokers are between two states.
    Unsaid,
}

impl Topic {
    /// Why one of its partitions cannot be begun.
    fn lacks(&self, partition: i32) -> Option<Absence> {
        match self {
            Self::Missing => Some(Absence::Topic),
            Self::Unsaid => None,
            Self::There(partitions) => match partitions.get(&partition) {
                None => Some(Absence::Partition),
                Some(false) => Some(Absence::Leader),
                Some(true) => None,
            },
        }
    }
}

impl Absence {
    /// A partition without a leader is there: one that is held is kept.
    fn is_gone(self) -> bool {
        self != Self::Leader
    }

    fn words(self) -> &'static str {
        match self {
            Self::Topic => "the topic does not exist; create it, it is picked up within seconds",
            Self::Partition => {
                "the topic has fewer partitions; add them, they are picked up within seconds"
            }
            Self::Leader => "no broker leads them at the moment",
        }
    }
}

impl Roster {
    pub fn new(partitions: &BTreeMap<String, BTreeSet<i32>>) -> Self {
        let of = |(topic, numbers): (&String, &BTreeSet<i32>)| {
            (Arc::from(topic.as_str()), numbers.clone())
        };
        Self {
            named: partitions.iter().map(of).collect(),
            due: Instant::now(),
            failures: 0,
            refused: false,
            absent: BTreeMap::new(),
        }
    }

    /// All of them.
    pub fn named(&self) -> Vec<Key> {
        let of = |(topic, numbers): (&Arc<str>, &BTreeSet<i32>)| {
            let topic = topic.clone();
            let keys = numbers.iter().map(move |number| (topic.clone(), *number));
            keys.collect::<Vec<_>>()
        };
        self.named.iter().flat_map(of).collect()
    }

    /// What is known may be wrong: brokers are asked at once.
    pub fn doubt(&mut self) {
        self.due = Instant::now();
    }

    /// Takes note of what brokers say. `is_ours`: the partition is held, or about to be. Gives those that come, and those that go.
    fn note(
        &mut self,
        answers: &BTreeMap<Arc<str>, Topic>,
        is_ours: impl Fn(&Key) -> bool,
    ) -> (Vec<Key>, Vec<Key>) {
        let (mut come, mut go) = (Vec::new(), Vec::new());
        for key in self.named() {
            let Some(answer) = answers.get(&key.0).filter(|it| **it != Topic::Unsaid) else {
                continue;
            };
            let ours = is_ours(&key);
            match answer.lacks(key.1) {
                Some(absence) if absence.is_gone() || !ours => {
                    self.absent.insert(key.clone(), absence);
                    if ours {
                        go.push(key);
                    }
                }
                _ => {
                    self.absent.remove(&key);
                    if !ours {
                        come.push(key);
                    }
                }
            }
        }
        (come, go)
    }
}

impl Worker {
    /// Asks which of the named partitions exist, when it is time, and begins and gives back accordingly. Does nothing where a group balances.
    pub(super) fn call_the_roll(&mut self, session: &mut Session) {
        let Some(mut roster) = session.roster.take() else {
            return;
        };
        if Instant::now() >= roster.due && !session.has_enough() {
            let answered = self.ask_topics(session, &mut roster);
            let again = match self.consumer.settings.cluster.brokers {
                Brokers::Embedded => EMBEDDED,
                _ if answered && roster.absent.is_empty() && session.jobs.is_empty() => REGULAR,
                Brokers::Addresses(_) => SOON,
            };
            roster.due = Instant::now() + again;
        }
        session.roster = Some(roster);
    }

    /// `true` when all of it was answered.
    fn ask_topics(&mut self, session: &mut Session, roster: &mut Roster) -> bool {
        let patience = PATIENCE.saturating_mul((roster.failures + 1).min(3));
        let mut answers = BTreeMap::new();
        let mut refused = false;
        for topic in roster.named.keys() {
            match ask(session.member.native(), topic, patience) {
                Ok(answer) => drop(answers.insert(topic.clone(), answer)),
                Err((code, text)) if is_silence(code) => {
                    roster.failures = roster.failures.saturating_add(1);
                    // The client tells why itself.
                    tracing::debug!(output = %self.consumer.name, "the partitions of {topic}: {text}");
                    return false;
                }
                Err((code, text)) => {
                    self.answers(session);
                    let text = format!("topic {topic} cannot be consumed: {text}");
                    self.trouble(session, topic, code, &text);
                    refused = true;
                }
            }
        }
        roster.failures = 0;
        self.answers(session);
        session.joined = true;
        if std::mem::replace(&mut roster.refused, refused) && !refused {
            session.told.clear();
            self.consumer
                .state
                .change(|status| status.last_error = None);
        }
        self.roll(session, roster, &answers);
        !refused
    }

    fn roll(
        &mut self,
        session: &mut Session,
        roster: &mut Roster,
        answers: &BTreeMap<Arc<str>, Topic>,
    ) {
        let before = roster.absent.clone();
        let held = self.assignment.keys();
        let jobs = &session.jobs;
        let is_ours =
            |key: &Key| held.contains(key) || jobs.iter().any(|job| job.keys().contains(key));
        let (come, gone) = roster.note(answers, is_ours);
        for absence in [Absence::Topic, Absence::Partition, Absence::Leader] {
            let new = roster
                .absent
                .iter()
                .filter(|(key, why)| **why == absence && before.get(key) != Some(why));
            let new: Vec<Key> = new.map(|(key, _)| key.clone()).collect();
            if !new.is_empty() {
                tracing::warn!(output = %self.consumer.name, partitions = %names(&new), "waits for partitions: {}", absence.words());
            }
        }
        self.withdraw(session, &gone);
        if !come.is_empty() {
            session.jobs.push_back(Job::take(come, Instant::now()));
        }
        let absent: Vec<Key> = roster.absent.keys().cloned().collect();
        self.consumer.state.change(|status| {
            status.joined = true;
            status.absent = absent;
        });
    }

    /// Partitions are gone: what was read of them becomes durable, what was to be begun is not.
    fn withdraw(&mut self, session: &mut Session, gone: &[Key]) {
        if gone.is_empty() {
            return;
        }
        let begun = |key: &Key| {
            self.assignment.iter().any(|(topic, number, held)| {
                *topic == key.0 && number == key.1 && !held.is_leaving()
            })
        };
        let leaving: Vec<Key> = gone.iter().filter(|key| begun(key)).cloned().collect();
        session.jobs.retain_mut(|job| {
            if let Job::Take(take) = job {
                take.keys.retain(|key| !gone.contains(key));
                return !take.keys.is_empty();
            }
            true
        });
        if !leaving.is_empty() {
            self.let_go(&leaving);
            Self::drop_out_of_range(session, &leaving);
            let give = Job::give(leaving, Why::Revoked, Instant::now());
            session.jobs.push_back(give);
        }
    }
}

/// The partitions of a topic. Waits for a broker, at most `patience`.
fn ask(client: &Native, topic: &str, patience: Duration) -> Result<Topic, (Code, String)> {
    let metadata = client
        .client()
        .fetch_metadata(Some(topic), patience)
        .map_err(|error| {
            let code = error.rdkafka_error_code().unwrap_or(Code::Fail);
            (code, code.to_string())
        })?;
    let found = metadata.topics().iter().find(|it| it.name() == topic);
    let Some(found) = found else {
        return Ok(Topic::Unsaid);
    };
    match found.error().map(Code::from) {
        Some(code) if is_missing_topic(code) => Ok(Topic::Missing),
        Some(Code::LeaderNotAvailable) => Ok(Topic::Unsaid),
        Some(code) => Err((code, code.to_string())),
        None if found.partitions().is_empty() => Ok(Topic::Unsaid),
        None => Ok(Topic::There(
            found
                .partitions()
                .iter()
                .map(|it| (it.id(), it.leader() >= 0))
                .collect(),
        )),
    }
}

/// Whether nobody answered at all.
fn is_silence(code: Code) -> bool {
    matches!(
        code,
        Code::OperationTimedOut
            | Code::BrokerTransportFailure
            | Code::AllBrokersDown
            | Code::Resolve
            | Code::Authentication
            | Code::SSL
            | Code::Fail
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roster() -> Roster {
        Roster::new(&BTreeMap::from([("t".to_owned(), BTreeSet::from([0, 3]))]))
    }

    fn key(partition: i32) -> Key {
        ("t".into(), partition)
    }

    fn said(answer: Topic) -> BTreeMap<Arc<str>, Topic> {
        BTreeMap::from([("t".into(), answer)])
    }

    fn there(partitions: &[(i32, bool)]) -> BTreeMap<Arc<str>, Topic> {
        said(Topic::There(partitions.iter().copied().collect()))
    }

    #[test]
    fn what_is_named_and_there_comes_and_nothing_else() {
        let mut roster = roster();
        let all = there(&[(0, true), (1, true), (2, true), (3, true)]);
        assert_eq!(
            roster.note(&all, |_| false),
            (vec![key(0), key(3)], Vec::new())
        );
        assert_eq!(roster.note(&all, |_| true), (Vec::new(), Vec::new()));
        assert!(roster.absent.is_empty());
    }

    #[test]
    fn what_is_not_there_is_waited_for_until_it_is() {
        let mut roster = roster();
        assert_eq!(
            roster.note(&said(Topic::Missing), |_| false),
            (Vec::new(), Vec::new())
        );
        assert_eq!(roster.absent.get(&key(3)), Some(&Absence::Topic));
        let one = there(&[(0, true)]);
        assert_eq!(roster.note(&one, |_| false), (vec![key(0)], Vec::new()));
        let waited: Vec<_> = roster.absent.clone().into_iter().collect();
        assert_eq!(waited, [(key(3), Absence::Partition)]);
        let both = there(&[(0, true), (3, true)]);
        let is_ours = |it: &Key| it.1 == 0;
        assert_eq!(roster.note(&both, is_ours), (vec![key(3)], Vec::new()));
        assert!(roster.absent.is_empty());
    }

    #[test]
    fn what_is_gone_goes_and_what_has_no_leader_stays() {
        let mut roster = roster();
        let answer = there(&[(0, false)]);
        assert_eq!(roster.note(&answer, |_| true), (Vec::new(), vec![key(3)]));
        let waited: Vec<_> = roster.absent.clone().into_iter().collect();
        assert_eq!(waited, [(key(3), Absence::Partition)]);
    }

    #[test]
    fn what_has_no_leader_does_not_hold_up_the_others() {
        let mut roster = roster();
        let answer = there(&[(0, false), (3, true)]);
        assert_eq!(roster.note(&answer, |_| false), (vec![key(3)], Vec::new()));
        assert_eq!(roster.absent.get(&key(0)), Some(&Absence::Leader));
    }

    #[test]
    fn an_answer_that_says_nothing_changes_nothing() {
        let mut roster = roster();
        roster.note(&there(&[(0, true)]), |_| false);
        let before = roster.absent.clone();
        let unsaid = said(Topic::Unsaid);
        assert_eq!(roster.note(&unsaid, |_| true), (Vec::new(), Vec::new()));
        assert_eq!(roster.note(&BTreeMap::new(), |_| true).1, []);
        assert_eq!(roster.absent, before);
    }
}
