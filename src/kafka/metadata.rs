//! What topics there are, asked for on a thread and a client of its own: asking blocks, and the producer must not.
//!
//! Topics are asked for when they are first met, again soon while they are missing, and now and then for ever: partitions are added
//! and leaders move.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode;

use super::native::{Kind, Native};
use crate::flow::{Bell, Ring, Stop};

/// How long one question may take.
const QUESTION: Duration = Duration::from_secs(2);
/// How often a topic that is missing or has a partition without leader is asked for again.
const SOON: Duration = Duration::from_secs(1);
/// How often a topic that is well is asked for again.
const REGULAR: Duration = Duration::from_secs(60);

/// What is known of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TopicState {
    /// It was not asked for yet, or nobody answered.
    Unknown,
    /// For each partition, whether it has a leader.
    Known(Arc<[bool]>),
    /// The broker answered with an error.
    Refused(RDKafkaErrorCode),
}

/// What is known of the cluster, shared between the thread that asks and those who want to know.
pub struct Metadata {
    /// As the configuration calls it.
    cluster: String,
    state: Mutex<State>,
    bell: Arc<Bell>,
}

#[derive(Default)]
struct State {
    topics: HashMap<Arc<str>, (TopicState, Instant)>,
    /// When the last question for a topic was put that was answered with its partitions.
    asked: HashMap<Arc<str>, Instant>,
    cluster_id: Option<String>,
    reached: Option<bool>,
    last_error: Option<String>,
}

impl Metadata {
    /// What is known of the cluster of that name: nothing yet.
    pub fn new(cluster: &str) -> Arc<Self> {
        Arc::new(Self {
            cluster: cluster.to_owned(),
            state: Mutex::default(),
            bell: Arc::new(Bell::new()),
        })
    }

    /// What is known of `topic`. One that was never met is asked for from now on.
    pub fn topic(&self, topic: &Arc<str>) -> TopicState {
        let mut state = self.lock();
        if let Some((known, _)) = state.topics.get(topic) {
            return known.clone();
        }
        state
            .topics
            .insert(topic.clone(), (TopicState::Unknown, Instant::now()));
        drop(state);
        self.bell.ring();
        TopicState::Unknown
    }

    /// How old at most what is known of `topic` is: since when. To be asked for before [`Metadata::topic`].
    pub fn asked(&self, topic: &str) -> Option<Instant> {
        self.lock().asked.get(topic).copied()
    }

    /// Nobody sends to `topic` any more: it is not asked for until somebody does.
    pub fn forget(&self, topic: &str) {
        let mut known = self.lock();
        known.topics.remove(topic);
        known.asked.remove(topic);
    }

    /// What is known of `topic` may be wrong: ask again now.
    pub fn doubt(&self, topic: &str) {
        if let Some((_, due)) = self.lock().topics.get_mut(topic) {
            *due = Instant::now();
        }
        self.bell.ring();
    }

    /// The cluster may be away: ask again now. Only an answer, or none, decides: a broker that closes an idle connection is there.
    pub fn doubt_all(&self) {
        let now = Instant::now();
        for (_, due) in self.lock().topics.values_mut() {
            *due = now;
        }
        self.bell.ring();
    }

    /// The cluster has just answered somebody else.
    pub fn answered(&self) {
        self.turned(&mut self.lock(), Ok(()));
    }

    /// Takes note of whether the cluster answers, and says it when that has changed.
    fn turned(&self, state: &mut State, answer: Result<(), String>) {
        let (before, cluster) = (state.reached, &self.cluster);
        state.reached = Some(answer.is_ok());
        match &answer {
            Ok(()) if before != Some(true) => tracing::info!(%cluster, "the cluster answers"),
            Err(why) if before != Some(false) => {
                tracing::warn!(%cluster, "the cluster is not reached: {why}; lines wait, and it is tried again until it answers");
            }
            _ => {}
        }
        state.last_error = answer.err();
    }

    /// The id of the cluster, once it was reached.
    pub fn cluster_id(&self) -> Option<String> {
        self.lock().cluster_id.clone()
    }

    /// Whether the last question was answered, and the last error's text. `None` before the first answer or time-out.
    pub fn reached(&self) -> (Option<bool>, Option<String>) {
        let state = self.lock();
        (state.reached, state.last_error.clone())
    }

    /// Asks until `stop` is soft and nobody but this thread holds the metadata, or `stop` is hard. Answers ring `listener`.
    ///
    /// # Errors
    /// When no client can be made of `config`.
    pub fn run(
        self: &Arc<Self>,
        config: &ClientConfig,
        listener: &dyn Ring,
        stop: &Stop,
        over: &dyn Fn() -> bool,
    ) -> Result<(), String> {
        let native = Native::new(config, Kind::Producer)?;
        stop.rings(&(self.bell.clone() as Arc<dyn Ring>));
        while !stop.is_hard() && !over() {
            // Nobody else reads this client's logs and errors.
            while native.poll(Duration::ZERO).is_some() {}
            match self.next_due() {
                Ok(topic) => {
                    self.ask(&native, &topic);
                    listener.ring();
                }
                Err(wait) => {
                    self.bell.wait(wait.min(SOON));
                }
            }
        }
        Ok(())
    }

    /// Wakes the asking thread, so that it looks whether it is over.
    pub fn wake(&self) {
        self.bell.ring();
    }

    fn next_due(&self) -> Result<Option<Arc<str>>, Duration> {
        let state = self.lock();
        if state.cluster_id.is_none() && state.topics.is_empty() {
            return Ok(None);
        }
        let now = Instant::now();
        let next = state.topics.iter().min_by_key(|(_, (_, due))| *due);
        match next {
            Some((topic, (_, due))) if *due <= now => Ok(Some(topic.clone())),
            Some((_, (_, due))) => Err(*due - now),
            None => Err(REGULAR),
        }
    }

    fn ask(&self, native: &Native, topic: &Option<Arc<str>>) {
        let begun = Instant::now();
        let answer = match topic {
            // No topic was met yet: only whether the cluster is there, and its id. Naming a topic could create it.
            None => Ok(TopicState::Unknown),
            Some(topic) => native
                .client()
                .fetch_metadata(Some(topic), QUESTION)
                .map(|metadata| {
                    let found = metadata
                        .topics()
                        .iter()
                        .find(|found| found.name() == &**topic);
                    found.map_or(TopicState::Unknown, |found| match found.error() {
                        Some(error) => TopicState::Refused(error.into()),
                        None if found.partitions().is_empty() => TopicState::Unknown,
                        None => {
                            let most = found
                                .partitions()
                                .iter()
                                .map(|partition| partition.id() + 1)
                                .max()
                                .unwrap_or(0);
                            let mut leaders = vec![false; most.max(0) as usize];
                            for partition in found.partitions() {
                                leaders[partition.id() as usize] = partition.leader() >= 0;
                            }
                            TopicState::Known(leaders.into())
                        }
                    })
                }),
        };
        let cluster_id = answer
            .is_ok()
            .then(|| native.cluster_id(QUESTION))
            .flatten();
        let answer = match cluster_id {
            None if topic.is_none() => Err(KafkaError::MetadataFetch(
                RDKafkaErrorCode::BrokerTransportFailure,
            )),
            _ => answer,
        };
        self.learn(topic, begun, answer, cluster_id);
    }

    fn learn(
        &self,
        topic: &Option<Arc<str>>,
        begun: Instant,
        answer: Result<TopicState, KafkaError>,
        cluster_id: Option<String>,
    ) {
        let now = Instant::now();
        let mut state = self.lock();
        let state = &mut *state;
        state.cluster_id = cluster_id.or(state.cluster_id.take());
        let reached = answer.as_ref().map(|_| ()).map_err(|error| {
            error
                .rdkafka_error_code()
                .map_or(error.to_string(), |code| code.to_string())
        });
        self.turned(state, reached);
        if let (Some(topic), Ok(TopicState::Known(_))) = (topic, &answer) {
            state.asked.insert(topic.clone(), begun);
        }
        // What was doubted while it was being asked for is asked for again.
        let known = topic
            .as_ref()
            .and_then(|topic| state.topics.get_mut(topic))
            .map(|(known, due)| (known, (*due <= begun).then_some(due)));
        match answer {
            Ok(answer) => {
                if let Some((known, due)) = known {
                    let well = matches!(&answer, TopicState::Known(leaders) if leaders.iter().all(|leader| *leader));
                    if let Some(due) = due {
                        *due = now + if well { REGULAR } else { SOON };
                    }
                    // What was known stays while nobody knows better: its partitions will come back.
                    if answer != TopicState::Unknown || *known == TopicState::Unknown {
                        *known = answer;
                    }
                }
            }
            Err(_) => {
                if let Some((_, Some(due))) = known {
                    *due = now + SOON;
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
