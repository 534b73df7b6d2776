//! Where a partition goes on: what an output knows to be durable, against what the group has committed.
//!
//! An output makes records durable, writes down how far it came ([`Place`]), and only then lets the consumer commit. After a crash its
//! own word is therefore never behind a commit that it allowed, and often ahead of it. The commit's metadata names the journal that
//! allowed it: only a commit that names this journal may be overruled by it. Everything else is somebody's decision: an operator's reset,
//! another host's work, a topic that was made again.

/// How far an output has made a partition durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Records below this offset are durable.
    pub next: i64,
    /// Leader epoch of the last durable record; -1 when it is not known.
    pub leader_epoch: i32,
}

/// An output that remembers how far it came.
pub trait Durable: Send + Sync {
    /// Names the journal, for [`metadata`].
    fn id(&self) -> &str;

    /// How far the output has made this partition durable. Ask when all receipts of an earlier assignment of it are settled or
    /// dropped: what is still on its way is not in the answer.
    fn place(&self, topic: &str, partition: i32) -> Option<Place>;

    /// The group decided otherwise: what the journal says is forgotten, the consumer starts at `next`. The consumer commits `next` with
    /// this journal's [`metadata`] before or with its first records; from then on the journal decides again.
    fn adopt(&self, topic: &str, partition: i32, next: i64);
}

/// What the group has committed for a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Committed<'a> {
    pub offset: i64,
    pub metadata: &'a str,
    /// -1 when it is not known.
    pub leader_epoch: i32,
}

/// Where to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    Offset(i64),
    /// As the configuration says for a group without an offset.
    GroupDefault,
}

/// Whose word counts, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The journal's: records below its place are durable, at most their commit was lost.
    Journal,
    /// The group's: this journal has no place for the partition.
    Group,
    /// The group's: somebody committed another offset without naming a journal.
    Reset,
    /// The group's: another host's journal stands behind the commit.
    OtherHost,
    /// The group's: it is ahead of the journal that it names, so the journal is an old copy.
    OldJournal,
    /// The group's: the journal's place lies beyond the end of the topic, or its leader epoch beyond the commit's.
    TopicMadeAgain,
    /// Neither knows the partition.
    NoPlace,
}

/// Where a partition begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Begin {
    pub at: Start,
    pub why: Reason,
}

/// What words the metadata of a commit begins with.
const NAME: &str = "logferry journal=";

/// The metadata of a commit that `journal` allowed.
pub fn metadata(journal: &str) -> String {
    format!("{NAME}{journal}")
}

/// The journal that a commit's metadata names.
pub fn named_journal(metadata: &str) -> Option<&str> {
    let id = metadata.strip_prefix(NAME)?.split(' ').next()?;
    (!id.is_empty()).then_some(id)
}

/// Decides where a partition begins. `end`: the offset after the partition's last record, when it is known.
///
/// When `why` is not [`Reason::Journal`] and `at` is an offset, the consumer tells the output so with [`Durable::adopt`].
pub fn begin(
    group: Option<Committed<'_>>,
    place: Option<Place>,
    journal: &str,
    end: Option<i64>,
) -> Begin {
    let beyond_end = |place: Place| end.is_some_and(|end| place.next > end);
    match (group, place) {
        (None, None) => Begin {
            at: Start::GroupDefault,
            why: Reason::NoPlace,
        },
        (None, Some(place)) if beyond_end(place) => Begin {
            at: Start::GroupDefault,
            why: Reason::TopicMadeAgain,
        },
        (None, Some(place)) => from_journal(place),
        (Some(group), None) => Begin {
            at: Start::Offset(group.offset),
            why: match named_journal(group.metadata) {
                Some(named) if named != journal => Reason::OtherHost,
                _ => Reason::Group,
            },
        },
        (Some(group), Some(place)) => between(group, place, journal, beyond_end(place)),
    }
}

fn between(group: Committed<'_>, place: Place, journal: &str, beyond_end: bool) -> Begin {
    let from_group = |why| Begin {
        at: Start::Offset(group.offset),
        why,
    };
    if beyond_end {
        return from_group(Reason::TopicMadeAgain);
    }
    match named_journal(group.metadata) {
        Some(named) if named == journal => {
            if group.offset <= place.next {
                from_journal(place)
            } else {
                from_group(Reason::OldJournal)
            }
        }
        // The same offset: nobody decided anything else, whoever wrote it down.
        _ if group.offset == place.next => from_journal(place),
        Some(_) => from_group(Reason::OtherHost),
        // A commit of this journal may carry an older epoch than its place, a stranger's may not.
        None if (0..place.leader_epoch).contains(&group.leader_epoch) => {
            from_group(Reason::TopicMadeAgain)
        }
        None => from_group(Reason::Reset),
    }
}

fn from_journal(place: Place) -> Begin {
    Begin {
        at: Start::Offset(place.next),
        why: Reason::Journal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: &str = "00ff";

    fn committed(offset: i64, metadata: &str) -> Option<Committed<'_>> {
        Some(Committed {
            offset,
            metadata,
            leader_epoch: -1,
        })
    }

    fn place(next: i64) -> Option<Place> {
        Some(Place {
            next,
            leader_epoch: 5,
        })
    }

    fn decide(group: Option<Committed<'_>>, place: Option<Place>) -> (Start, Reason) {
        let begin = begin(group, place, OURS, Some(1000));
        (begin.at, begin.why)
    }

    #[test]
    fn a_lost_commit_does_not_bring_durable_records_again() {
        let ours = metadata(OURS);
        assert_eq!(
            decide(committed(10, &ours), place(25)),
            (Start::Offset(25), Reason::Journal)
        );
        assert_eq!(
            decide(None, place(25)),
            (Start::Offset(25), Reason::Journal)
        );
    }

    #[test]
    fn an_operators_reset_wins_in_both_directions() {
        for offset in [0, 900] {
            assert_eq!(
                decide(committed(offset, ""), place(25)),
                (Start::Offset(offset), Reason::Reset)
            );
        }
    }

    #[test]
    fn the_work_of_another_host_is_not_done_again() {
        let other = metadata("beef");
        assert_eq!(
            decide(committed(40, &other), place(25)),
            (Start::Offset(40), Reason::OtherHost)
        );
        assert_eq!(
            decide(committed(40, &other), None),
            (Start::Offset(40), Reason::OtherHost)
        );
    }

    #[test]
    fn an_old_copy_of_the_journal_does_not_go_back_behind_the_group() {
        let ours = metadata(OURS);
        assert_eq!(
            decide(committed(40, &ours), place(25)),
            (Start::Offset(40), Reason::OldJournal)
        );
    }

    #[test]
    fn a_topic_that_was_made_again_is_read_from_its_beginning() {
        assert_eq!(
            decide(None, place(1001)),
            (Start::GroupDefault, Reason::TopicMadeAgain)
        );
        let group = Committed {
            offset: 3,
            metadata: "",
            leader_epoch: 4,
        };
        assert_eq!(
            decide(Some(group), place(25)),
            (Start::Offset(3), Reason::TopicMadeAgain)
        );
        let ours = metadata(OURS);
        assert_eq!(
            decide(committed(3, &ours), place(1001)),
            (Start::Offset(3), Reason::TopicMadeAgain)
        );
    }

    #[test]
    fn without_a_place_the_group_decides_and_without_both_the_configuration() {
        assert_eq!(
            decide(committed(7, "anything"), None),
            (Start::Offset(7), Reason::Group)
        );
        assert_eq!(decide(None, None), (Start::GroupDefault, Reason::NoPlace));
    }

    #[test]
    fn an_equal_offset_is_nobodys_decision() {
        assert_eq!(
            decide(committed(25, ""), place(25)),
            (Start::Offset(25), Reason::Journal)
        );
    }

    #[test]
    fn metadata_names_its_journal_and_nothing_else_does() {
        assert_eq!(named_journal(&metadata(OURS)), Some(OURS));
        assert_eq!(
            named_journal("logferry journal=00ff and more"),
            Some("00ff")
        );
        assert_eq!(named_journal("logferry journal="), None);
        assert_eq!(named_journal("somebody else"), None);
    }
}
