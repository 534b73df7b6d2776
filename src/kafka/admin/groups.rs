//! The consumer groups of a cluster: who is in them, what they have committed, and putting that elsewhere.
//!
//! A group's committed offsets are asked for and written by a client with the group's name that never joins it: see
//! [`crate::kafka::native::Member`]. The broker takes such a commit only while the group has no members.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::types::RDKafkaErrorCode;

use super::reach::{FIRST_ANSWER, reach};
use super::topics::{SLACK, TopicView, measure, of_metadata, settled, unexpected};
use super::{AdminError, PATIENCE, addresses, answer, assignment, brokers, short_lived};
use crate::flow::{Bell, Ring};
use crate::kafka::native::{
    Answer, EventKind, GroupListing, Kind, Member, Native, NativeGroup, PartitionOffset,
};
use crate::kafka::settings::ClusterSettings;
use crate::kafka::trouble::Trouble;

/// How long the client may sleep between two looks for what it waits for: its bell wakes it.
const NAP: Duration = Duration::from_millis(100);

/// How long is waited for every broker: one that is away must not keep what the others tell for long.
const EVERYBODY: Duration = Duration::from_secs(3);

/// How long a group's coordinator may take.
const COORDINATOR: Duration = Duration::from_secs(5);

/// How many offsets before a committed one are looked at for a record.
const FURTHEST: i64 = 1024;

/// Where Kafka keeps groups: the leader of a partition of it is the coordinator of the groups in it.
const OFFSETS: &str = "__consumer_offsets";

/// A partition, by topic and number.
pub type Place = (String, i32);

/// A group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupView {
    pub name: String,
    /// `Stable`, `Empty`, `PreparingRebalance` ...
    pub state: String,
    /// `classic` or `consumer` (KIP-848).
    pub protocol: &'static str,
    /// `consumer` for groups that consume; empty when it never had members.
    pub protocol_type: String,
    /// How partitions are shared out, like `cooperative-sticky`.
    pub assignor: String,
    /// A broker's number and, when it is known, address.
    pub coordinator: Option<(i32, Option<String>)>,
    /// Absent: nobody told.
    pub members: Option<Vec<MemberView>>,
}

/// A member of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberView {
    pub id: String,
    pub client_id: String,
    pub host: String,
    /// Absent when they are told in a form that is not known.
    pub partitions: Option<Vec<Place>>,
}

/// What a group has committed for a partition, and what is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    pub topic: String,
    pub partition: i32,
    /// Absent: nothing was committed.
    pub committed: Option<i64>,
    pub beginning: Option<i64>,
    pub end: Option<i64>,
}

/// A partition whose last record before a committed offset is looked for.
struct Looked {
    place: Place,
    committed: i64,
    beginning: i64,
}

impl GroupView {
    /// Those that are known.
    pub fn members(&self) -> &[MemberView] {
        self.members.as_deref().unwrap_or_default()
    }
}

impl Standing {
    /// How many offsets lie between what was committed and the end. Absent when one of them is not known.
    pub fn lag(&self) -> Option<u64> {
        let lag = self.end?.saturating_sub(self.committed?);
        Some(u64::try_from(lag).unwrap_or(0))
    }
}

/// All groups, by name, and whether every broker has answered.
///
/// # Errors
/// When nobody answers, or the properties are wrong.
pub fn list(cluster: &ClusterSettings) -> Result<(Vec<GroupView>, bool), AdminError> {
    let native = Native::new(&short_lived(cluster)?, Kind::Producer).map_err(AdminError::Config)?;
    let address = addresses(cluster);
    let metadata = reach(&native, None, &address, FIRST_ANSWER)?;
    let coordinators = brokers(&metadata);
    let (found, mut whole) = match asked(&native, None) {
        Ok(found) => found,
        // One broker that is away can be enough for that.
        Err(_) if coordinators.len() > 1 => (Vec::new(), false),
        Err(error) => return Err(error),
    };
    let mut groups: Vec<GroupView> = found
        .into_iter()
        .map(|group| view(group, &coordinators))
        .collect();
    // Of groups of the new protocol the old question tells only that they are not its own; and of several brokers it may forget one
    // that does not answer.
    if coordinators.len() > 1 || groups.iter().any(is_unknown) {
        let (listed, errors) = listings(&native, &address)?;
        whole &= errors.is_empty();
        for listing in listed {
            match groups.iter_mut().find(|group| group.name == listing.group) {
                Some(group) if is_unknown(group) => take_listing(group, &listing),
                Some(_) => {}
                None => groups.push(of_listing(listing)),
            }
        }
    }
    // A broker that is known to be away is not even asked; then nobody leads what it keeps.
    whole &= of_metadata(&metadata)
        .iter()
        .filter(|topic| topic.name == OFFSETS)
        .all(|topic| topic.without_leader() == 0);
    groups.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    Ok((groups, whole))
}

/// What the brokers tell. One that is just taking groups over is asked again.
fn asked(native: &Native, group: Option<&str>) -> Result<(Vec<NativeGroup>, bool), AdminError> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = native.groups(group, EVERYBODY);
        let trouble = match &answer {
            Ok((groups, _)) => groups
                .iter()
                .filter_map(|group| group.error.as_ref())
                .find(|(code, _)| passes(*code)),
            Err(error) => Some(error).filter(|(code, _)| passes(*code)),
        };
        if trouble.is_none() || Instant::now() >= deadline {
            return answer.map_err(|(_, text)| {
                AdminError::Failed(format!("the groups are not told: {text}"))
            });
        }
        // Nothing of what comes meanwhile is an answer.
        drop(native.poll(NAP));
    }
}

/// Whether a coordinator is only being chosen, or reads what it takes over.
fn passes(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::CoordinatorLoadInProgress
            | RDKafkaErrorCode::CoordinatorNotAvailable
            | RDKafkaErrorCode::NotCoordinator
    )
}

fn view(group: NativeGroup, coordinators: &BTreeMap<i32, String>) -> GroupView {
    let consumes = group.protocol_type == "consumer";
    let members = group.members.into_iter().map(|member| MemberView {
        id: member.id,
        client_id: member.client_id,
        host: without_slash(&member.host),
        partitions: consumes
            .then(|| assignment::partitions(&member.assignment))
            .flatten(),
    });
    GroupView {
        name: group.name,
        state: group.state,
        protocol: "classic",
        protocol_type: group.protocol_type,
        assignor: group.protocol,
        coordinator: Some((
            group.coordinator,
            coordinators.get(&group.coordinator).cloned(),
        )),
        members: Some(members.collect()),
    }
}

/// Java writes an address without a name with a slash before it.
fn without_slash(host: &str) -> String {
    host.strip_prefix('/').unwrap_or(host).to_owned()
}

fn is_unknown(group: &GroupView) -> bool {
    group.state == "Dead" && group.members.as_ref().is_none_or(Vec::is_empty)
}

fn listings(
    native: &Native,
    address: &str,
) -> Result<(Vec<GroupListing>, Vec<String>), AdminError> {
    native
        .ask_for_groups(EVERYBODY)
        .map_err(AdminError::Failed)?;
    match answer(native, address, EVERYBODY + SLACK)? {
        Answer::Groups(groups, errors) => Ok((groups, errors)),
        other => Err(unexpected(&other)),
    }
}

fn of_listing(listing: GroupListing) -> GroupView {
    let mut group = GroupView {
        name: listing.group.clone(),
        state: String::new(),
        protocol: "classic",
        protocol_type: "consumer".to_owned(),
        assignor: String::new(),
        coordinator: None,
        members: None,
    };
    take_listing(&mut group, &listing);
    group
}

/// What the list knows better: the state, and which protocol the group has. Its members are not in it.
fn take_listing(group: &mut GroupView, listing: &GroupListing) {
    group.state.clone_from(&listing.state);
    if listing.kind == "Consumer" {
        group.protocol = "consumer";
        group.protocol_type = "consumer".to_owned();
    }
    group.members = (listing.state == "Empty").then(Vec::new);
}

/// A client with a group's name.
pub struct Group {
    name: String,
    address: String,
    member: Member,
    bell: Arc<Bell>,
    topics: Vec<TopicView>,
    coordinators: BTreeMap<i32, String>,
}

impl Group {
    /// Connects, and learns which topics there are.
    ///
    /// # Errors
    /// When nobody answers, or the properties are wrong.
    pub fn connect(cluster: &ClusterSettings, name: &str) -> Result<Self, AdminError> {
        let mut config = short_lived(cluster)?;
        config
            .set("group.id", name)
            .set("group.protocol", "classic")
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("allow.auto.create.topics", "false")
            .set("auto.offset.reset", "error")
            // Only the first record of a fetch is looked at. That there is none is news too: transactions end with marks that are no records.
            .set("enable.partition.eof", "true")
            .set("fetch.message.max.bytes", "1000")
            .set("fetch.wait.max.ms", "10");
        let bell = Arc::new(Bell::new());
        let ring = bell.clone() as Arc<dyn Ring>;
        let member = Member::new(&config, &ring).map_err(AdminError::Config)?;
        let address = addresses(cluster);
        let metadata = reach(member.native(), None, &address, FIRST_ANSWER)?;
        Ok(Self {
            name: name.to_owned(),
            address,
            topics: of_metadata(&metadata),
            coordinators: brokers(&metadata),
            member,
            bell,
        })
    }

    /// The group itself; `None` when no broker knows it.
    ///
    /// # Errors
    /// When brokers do not answer, or refuse to tell.
    pub fn view(&self) -> Result<Option<GroupView>, AdminError> {
        let native = self.member.native();
        let is_alone = self.coordinators.len() < 2;
        let found = match asked(native, Some(&self.name)) {
            Ok((found, _)) => found.into_iter().find(|group| group.name == self.name),
            // One broker that is away can be enough for that.
            Err(_) if !is_alone => None,
            Err(error) => return Err(error),
        };
        if let Some((_, text)) = found.as_ref().and_then(|group| group.error.as_ref()) {
            return Err(AdminError::Failed(text.clone()));
        }
        let mut group = found.map(|group| view(group, &self.coordinators));
        if group.as_ref().is_none_or(is_unknown) && !(group.is_none() && is_alone) {
            let (listed, errors) = listings(native, &self.address)?;
            match listed.into_iter().find(|one| one.group == self.name) {
                Some(listing) => {
                    let known = group.get_or_insert_with(|| of_listing(listing.clone()));
                    take_listing(known, &listing);
                    self.take_members(known)?;
                }
                None if errors.is_empty() => {}
                None => {
                    return Err(AdminError::Failed(format!(
                        "those brokers that answer do not know the group {}, but others do not answer: {}",
                        self.name,
                        errors.join("; ")
                    )));
                }
            }
        }
        if group.is_none() {
            // Only the coordinator knows that there is none.
            let any = self
                .topics
                .iter()
                .find_map(|topic| Some((&topic.name, topic.partitions.first()?.id)));
            if let Some((topic, partition)) = any {
                self.committed(&[PartitionOffset::bare(topic, partition)])?;
            }
        }
        if let Some(members) = group.as_mut().and_then(|group| group.members.as_mut()) {
            members.sort_unstable_by(|a, b| (&a.client_id, &a.id).cmp(&(&b.client_id, &b.id)));
        }
        Ok(group)
    }

    fn take_members(&self, group: &mut GroupView) -> Result<(), AdminError> {
        let native = self.member.native();
        native
            .ask_group(&self.name, PATIENCE)
            .map_err(AdminError::Failed)?;
        let (assignor, coordinator, members) =
            match answer(native, &self.address, PATIENCE + SLACK)? {
                Answer::Group {
                    assignor,
                    coordinator,
                    members,
                } => (assignor, coordinator, members),
                other => return Err(unexpected(&other)),
            };
        group.assignor = assignor;
        group.coordinator = coordinator.map(|id| (id, self.coordinators.get(&id).cloned()));
        let members = members.into_iter().map(|member| {
            let partitions = member.partitions.into_iter();
            let mut partitions: Vec<Place> =
                partitions.map(|one| (one.topic, one.partition)).collect();
            partitions.sort_unstable();
            MemberView {
                id: member.id,
                client_id: member.client_id,
                host: without_slash(&member.host),
                partitions: Some(partitions),
            }
        });
        group.members = Some(members.collect());
        Ok(())
    }

    /// The topics of the cluster, by name, without offsets.
    pub fn topics(&self) -> &[TopicView] {
        &self.topics
    }

    /// What was committed, and what is there, of these partitions; those that are not there are left out.
    ///
    /// # Errors
    /// When the coordinator or the leaders do not answer.
    pub fn standings(&self, places: &[Place]) -> Result<Vec<Standing>, AdminError> {
        let asked: Vec<PartitionOffset> = places
            .iter()
            .map(|(topic, partition)| PartitionOffset::bare(topic, *partition))
            .collect();
        let committed = self.committed(&asked)?;
        let mut topics: Vec<TopicView> = Vec::new();
        for topic in &self.topics {
            let mut topic = topic.clone();
            topic.partitions.retain(|one| {
                places
                    .iter()
                    .any(|place| *place == (topic.name.clone(), one.id))
            });
            if !topic.partitions.is_empty() {
                topics.push(topic);
            }
        }
        measure(self.member.native(), &mut topics)?;
        let standings = topics.iter().flat_map(|topic| {
            topic.partitions.iter().map(|one| Standing {
                topic: topic.name.clone(),
                partition: one.id,
                committed: committed.get(&(topic.name.clone(), one.id)).copied(),
                beginning: one.beginning,
                end: one.end,
            })
        });
        Ok(standings.collect())
    }

    /// Every partition for which the group has committed something.
    ///
    /// # Errors
    /// When the coordinator does not answer.
    pub fn committed_places(&self) -> Result<Vec<Place>, AdminError> {
        let all: Vec<PartitionOffset> = self
            .topics
            .iter()
            .flat_map(|topic| {
                let ids = topic.partitions.iter().map(|one| one.id);
                ids.map(|id| PartitionOffset::bare(&topic.name, id))
            })
            .collect();
        Ok(self.committed(&all)?.into_keys().collect())
    }

    fn committed(&self, asked: &[PartitionOffset]) -> Result<BTreeMap<Place, i64>, AdminError> {
        if asked.is_empty() {
            return Ok(BTreeMap::new());
        }
        let told = self
            .member
            .committed(asked, COORDINATOR)
            .map_err(|(code, text)| match code {
                RDKafkaErrorCode::OperationTimedOut
                | RDKafkaErrorCode::BrokerTransportFailure
                | RDKafkaErrorCode::WaitingForCoordinator => AdminError::Unreachable(format!(
                    "the coordinator of group {} does not answer within {} s; the broker that keeps the group may be away",
                    self.name,
                    COORDINATOR.as_secs()
                )),
                code => Trouble::default().explain(code, &text, &self.address),
            })?;
        Ok(told
            .into_iter()
            .filter(|one| one.error.is_none())
            .filter_map(|one| Some(((one.topic, one.partition), one.offset?)))
            .collect())
    }

    /// The first offset of each partition whose record is not older than `time` (milliseconds since 1970). Those without one are left out.
    ///
    /// # Errors
    /// When the leaders do not answer.
    pub fn since(&self, places: &[Place], time: i64) -> Result<BTreeMap<Place, i64>, AdminError> {
        let asked: Vec<PartitionOffset> = places
            .iter()
            .map(|(topic, partition)| PartitionOffset::bare(topic, *partition))
            .collect();
        let native = self.member.native();
        let told = settled(native, || native.since(&asked, time, PATIENCE))?;
        Ok(told
            .into_iter()
            .filter(|one| one.error.is_none())
            .filter_map(|one| Some(((one.topic, one.partition), one.offset?)))
            .collect())
    }

    /// When the last record before each committed offset was written, in milliseconds since 1970. One that is not there any more is left out.
    ///
    /// The place before an offset can be the mark of a transaction, or have been compacted away: then it is looked further back, twice as far
    /// each time.
    ///
    /// # Errors
    /// When librdkafka does not take the partitions.
    pub fn times(&mut self, standings: &[Standing]) -> Result<BTreeMap<Place, i64>, AdminError> {
        let mut open: Vec<Looked> = standings
            .iter()
            .filter_map(|one| {
                let (committed, beginning) = (one.committed?, one.beginning?);
                (committed > beginning).then(|| Looked {
                    place: (one.topic.clone(), one.partition),
                    committed,
                    beginning,
                })
            })
            .collect();
        let mut found = BTreeMap::new();
        let deadline = Instant::now() + PATIENCE;
        let mut back = 1;
        while !open.is_empty() && back <= FURTHEST && Instant::now() < deadline {
            self.look_back(&open, back, deadline, &mut found)?;
            open.retain(|one| {
                !found.contains_key(&one.place) && one.committed - back > one.beginning
            });
            back *= 2;
        }
        Ok(found)
    }

    /// What came to the wrong queue is read again from where the look begins.
    fn fetch_back(&self, event: &EventKind, from: &[PartitionOffset]) -> Result<(), AdminError> {
        let EventKind::Strayed { topic, partition } = event else {
            return Ok(());
        };
        let is_it =
            |place: &&PartitionOffset| place.topic == *topic && place.partition == *partition;
        let place = from.iter().find(is_it);
        place
            .map_or(Ok(()), |place| self.member.fetch_back(place))
            .map_err(AdminError::Failed)
    }

    /// Reads the last `back` offsets before each committed one, and notes the time of the last record in them.
    fn look_back(
        &mut self,
        looked: &[Looked],
        back: i64,
        deadline: Instant,
        found: &mut BTreeMap<Place, i64>,
    ) -> Result<(), AdminError> {
        let from: Vec<PartitionOffset> = looked
            .iter()
            .map(|one| PartitionOffset {
                offset: Some((one.committed - back).max(one.beginning)),
                ..PartitionOffset::bare(&one.place.0, one.place.1)
            })
            .collect();
        let mut open: BTreeMap<&Place, i64> = looked
            .iter()
            .map(|one| (&one.place, one.committed))
            .collect();
        self.member.assign(&from).map_err(AdminError::Failed)?;
        while !open.is_empty() && Instant::now() < deadline {
            let Some(batch) = self.member.take() else {
                while let Some(event) = self.member.event() {
                    self.fetch_back(&event.kind(), &from)?;
                }
                self.bell.wait(NAP);
                continue;
            };
            for message in (0..batch.len()).map(|at| batch.get(at)) {
                let place = (message.topic().to_owned(), message.partition());
                let Some(committed) = open.get(&place).copied() else {
                    continue;
                };
                let (time, _) = message.timestamp();
                let error = message.error();
                if error.is_some_and(|code| code != RDKafkaErrorCode::PartitionEOF) {
                    // Such as a leader that is looked for: librdkafka goes on by itself.
                    continue;
                }
                let is_before = error.is_none() && message.offset() < committed;
                if is_before && time >= 0 {
                    found.insert(place.clone(), time);
                }
                if !is_before || message.offset() + 1 == committed {
                    open.remove(&place);
                }
            }
        }
        self.member.unassign(&from).map_err(AdminError::Failed)
    }

    /// Commits `offsets` for the group, and gives the partitions for which it failed, with the reason.
    ///
    /// # Errors
    /// When the coordinator does not answer, or refuses all of them.
    pub fn commit(&self, offsets: &[(Place, i64)]) -> Result<Vec<(Place, String)>, AdminError> {
        let offsets: Vec<PartitionOffset> = offsets
            .iter()
            .map(|((topic, partition), offset)| PartitionOffset {
                offset: Some(*offset),
                ..PartitionOffset::bare(topic, *partition)
            })
            .collect();
        self.member
            .commit(&offsets, COMMIT)
            .map_err(AdminError::Failed)?;
        let deadline = Instant::now() + PATIENCE;
        let mut trouble = Trouble::default();
        while Instant::now() < deadline {
            let Some(event) = self.member.event() else {
                self.bell.wait(NAP);
                continue;
            };
            match event.kind() {
                EventKind::Committed(error) if event.token() == COMMIT => {
                    let failed: Vec<_> = event
                        .partitions()
                        .into_iter()
                        .filter_map(|one| Some(((one.topic, one.partition), reason(one.error?))))
                        .collect();
                    return match error {
                        Some(code) if failed.is_empty() || failed.len() == offsets.len() => {
                            Err(AdminError::Failed(reason(code)))
                        }
                        _ => Ok(failed),
                    };
                }
                kind => trouble.hear(&kind),
            }
        }
        Err(trouble.unreachable(&self.address, PATIENCE))
    }
}

/// What the one commit of a command is known by.
const COMMIT: u64 = 1;

fn reason(code: RDKafkaErrorCode) -> String {
    match code {
        RDKafkaErrorCode::UnknownMemberId
        | RDKafkaErrorCode::IllegalGeneration
        | RDKafkaErrorCode::RebalanceInProgress => {
            format!("somebody joined the group in the meantime ({code})")
        }
        other => other.to_string(),
    }
}
