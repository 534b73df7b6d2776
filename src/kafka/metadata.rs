//! What topics there are, asked for on a thread and a client of its own: asking blocks, and the producer must not.
//!
//! Topics are asked for when they are first met, again soon while they are missing, and now and then for ever: partitions are added
//! and leaders move.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode;

use super::errors::is_missing_topic;
use super::native::{Kind as ClientKind, Native};
use super::trouble::{Kind, Trouble};
use crate::flow::{Bell, Ring, Stop};

/// How long one question may take.
const QUESTION: Duration = Duration::from_secs(2);
/// How often a topic that is missing or has a partition without leader is asked for again.
const SOON: Duration = Duration::from_secs(1);
/// When a topic that is missing was asked for so long ago, nobody answered in between.
const OUTAGE: Duration = Duration::from_secs(10);
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
    /// Why the cluster is not reached, as far as that was said.
    told: HashSet<Kind>,
    /// Topics that do not exist: for how long brokers say so, and when one said it last.
    missing: HashMap<Arc<str>, (Duration, Instant)>,
    /// Of each topic's partitions: how many of how many replicas are in sync.
    replicas: HashMap<Arc<str>, Vec<(usize, usize)>>,
}

/// Why a question was not answered.
struct Unanswered {
    text: String,
    kind: Option<Kind>,
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

    /// For how long brokers say that `topic` does not exist. Time in which nobody answers does not count.
    pub fn missing_for(&self, topic: &str) -> Option<Duration> {
        self.lock().missing.get(topic).map(|(missing, _)| *missing)
    }

    /// Nobody sends to `topic` any more: it is not asked for until somebody does.
    pub fn forget(&self, topic: &str) {
        let mut known = self.lock();
        known.topics.remove(topic);
        known.asked.remove(topic);
        known.replicas.remove(topic);
        known.missing.remove(topic);
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
    ///
    /// It is said again when it turns out that it is not the network: that somebody has to mend.
    fn turned(&self, state: &mut State, answer: Result<(), Unanswered>) {
        let (before, cluster) = (state.reached, &self.cluster);
        state.reached = Some(answer.is_ok());
        match &answer {
            Ok(()) if before != Some(true) => tracing::info!(%cluster, "the cluster answers"),
            Ok(()) => {}
            Err(Unanswered { text, kind }) => {
                let found_out =
                    kind.is_some_and(|kind| kind != Kind::Network && state.told.insert(kind));
                if before != Some(false) || found_out {
                    let advice = kind.map_or("", Kind::advice);
                    tracing::warn!(%cluster, "the cluster is not reached: {text}{advice}; lines wait, and it is tried again until it answers");
                }
            }
        }
        if answer.is_ok() {
            state.told.clear();
        }
        state.last_error = answer.err().map(|why| why.text);
    }

    /// How many of how many replicas of a partition are in sync, as far as anybody knows.
    pub fn replicas(&self, topic: &str, partition: i32) -> Option<(usize, usize)> {
        let state = self.lock();
        let of_topic = state.replicas.get(topic)?;
        of_topic.get(usize::try_from(partition).ok()?).copied()
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
    /// `config` makes the client's properties, reading secrets anew: it is asked again when a login or a certificate is refused.
    ///
    /// # Errors
    /// When no client can be made of `config`.
    pub fn run(
        self: &Arc<Self>,
        config: &dyn Fn() -> Result<ClientConfig, String>,
        listener: &dyn Ring,
        stop: &Stop,
        over: &dyn Fn() -> bool,
    ) -> Result<(), String> {
        let mut native = Native::new(&config()?, ClientKind::Producer)?;
        let mut trouble = Trouble::default();
        stop.rings(&(self.bell.clone() as Arc<dyn Ring>));
        while !stop.is_hard() && !over() {
            hear(&native, config, &mut trouble);
            if trouble.kind() == Some(Kind::Tls) {
                renew(&mut native, config);
            }
            match self.next_due() {
                Ok(topic) => {
                    self.ask(&native, &topic, config, &mut trouble);
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

    fn ask(
        &self,
        native: &Native,
        topic: &Option<Arc<str>>,
        config: &dyn Fn() -> Result<ClientConfig, String>,
        trouble: &mut Trouble,
    ) {
        let begun = Instant::now();
        let mut replicas = Vec::new();
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
                            replicas = vec![(0, 0); leaders.len()];
                            for partition in found.partitions() {
                                let at = partition.id() as usize;
                                leaders[at] = partition.leader() >= 0;
                                replicas[at] = (partition.isr().len(), partition.replicas().len());
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
        if let Some(topic) = topic
            && !replicas.is_empty()
        {
            self.lock().replicas.insert(topic.clone(), replicas);
        }
        hear(native, config, trouble);
        let answer = answer.map_err(|error| Unanswered {
            kind: trouble.kind(),
            text: self.words(trouble).unwrap_or_else(|| {
                let code = error.rdkafka_error_code();
                code.map_or(error.to_string(), |code| code.to_string())
            }),
        });
        if answer.is_ok() {
            *trouble = Trouble::default();
        }
        self.learn(topic, begun, answer, cluster_id);
    }

    /// Why nobody answers. A connection that ends without a word means something only where none was ever good.
    fn words(&self, trouble: &Trouble) -> Option<String> {
        let never = self.lock().cluster_id.is_none();
        let silence = never.then(|| trouble.reason()).flatten();
        trouble.told().or(silence)
    }

    fn learn(
        &self,
        topic: &Option<Arc<str>>,
        begun: Instant,
        answer: Result<TopicState, Unanswered>,
        cluster_id: Option<String>,
    ) {
        let now = Instant::now();
        let mut state = self.lock();
        let state = &mut *state;
        state.cluster_id = cluster_id.or(state.cluster_id.take());
        let answer = match answer {
            Ok(answer) => {
                self.turned(state, Ok(()));
                Some(answer)
            }
            Err(why) => {
                self.turned(state, Err(why));
                None
            }
        };
        if let (Some(topic), Some(TopicState::Known(_))) = (topic, &answer) {
            state.asked.insert(topic.clone(), begun);
        }
        match (topic, &answer) {
            (Some(topic), Some(TopicState::Refused(code))) if is_missing_topic(*code) => {
                let missing = state.missing.entry(topic.clone());
                let (missing, last) = missing.or_insert((Duration::ZERO, now));
                let since = now - std::mem::replace(last, now);
                *missing += Some(since)
                    .filter(|since| *since < OUTAGE)
                    .unwrap_or_default();
            }
            (Some(topic), Some(_)) => drop(state.missing.remove(topic)),
            _ => {}
        }
        // What was doubted while it was being asked for is asked for again.
        let known = topic
            .as_ref()
            .and_then(|topic| state.topics.get_mut(topic))
            .map(|(known, due)| (known, (*due <= begun).then_some(due)));
        match answer {
            Some(answer) => {
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
            None => {
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

/// Certificates that do not do may have been replaced meanwhile: only a new client reads them. As long as none can be made the old one stays.
fn renew(native: &mut Native, config: &dyn Fn() -> Result<ClientConfig, String>) {
    let changed = config().ok().filter(|config| native.is_outdated(config));
    let new = changed.and_then(|config| Native::new(&config, ClientKind::Producer).ok());
    if let Some(new) = new {
        *native = new;
    }
}

/// Reads what the client says, which nobody else does. A login that is refused is tried with what the secrets are by now.
fn hear(native: &Native, config: &dyn Fn() -> Result<ClientConfig, String>, trouble: &mut Trouble) {
    let mut heard = Trouble::default();
    while let Some(event) = native.poll(Duration::ZERO) {
        heard.hear(&event.kind());
    }
    if heard.reason().is_some() {
        *trouble = heard;
    }
    if trouble.kind() == Some(Kind::Login)
        && let Ok(config) = config()
    {
        native.log_in_as(&config);
    }
}
