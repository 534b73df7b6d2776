//! Where one partition begins, as an offset: what group and journal say, brought into what the broker still has.

use crate::flow::durable::{self, Committed, Place, Reason, Start};
use crate::kafka::settings::{ConsumeFrom, OutOfRange};

/// What is known about a partition before it begins.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    pub group: Option<Committed<'a>>,
    pub place: Option<Place>,
    pub journal: &'a str,
    /// Offset of the first record that the broker has.
    pub first: i64,
    /// Offset after the last one.
    pub end: i64,
    /// Of the first record that is not older than `start_at`, when that is a time and there is one.
    pub since: Option<i64>,
    pub start_at: ConsumeFrom,
    pub on_out_of_range: OutOfRange,
}

/// Where it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Begun {
    pub next: i64,
    pub why: Reason,
    /// The offset that was wanted but is not there any more (or not yet).
    pub out_of_range: Option<i64>,
    /// It does not begin: `on_out_of_range: stop`.
    pub stops: bool,
    /// The output is to forget its own place.
    pub adopt: bool,
}

impl Begun {
    /// How many offsets lie between what was wanted and where it begins.
    pub fn skipped(&self) -> u64 {
        self.out_of_range
            .and_then(|wanted| u64::try_from(self.next - wanted).ok())
            .unwrap_or(0)
    }
}

/// Decides.
pub fn begun(facts: &Facts<'_>) -> Begun {
    let begin = durable::begin(facts.group, facts.place, facts.journal, Some(facts.end));
    match begin.at {
        // Beyond the end only as far as an open transaction holds the end back, or for another reason that the broker knows better.
        Start::Offset(wanted) if wanted > facts.end => Begun {
            next: wanted,
            why: begin.why,
            out_of_range: None,
            stops: false,
            adopt: begin.why != Reason::Journal,
        },
        Start::Offset(wanted) => within(facts, wanted, begin.why),
        Start::GroupDefault => Begun {
            next: match facts.start_at {
                ConsumeFrom::Earliest => facts.first,
                ConsumeFrom::Latest => facts.end,
                ConsumeFrom::Time(_) => facts.since.unwrap_or(facts.end),
            },
            why: begin.why,
            out_of_range: None,
            stops: false,
            adopt: facts.place.is_some(),
        },
    }
}

/// Brings `wanted` into what the broker has.
pub fn within(facts: &Facts<'_>, wanted: i64, why: Reason) -> Begun {
    if (facts.first..=facts.end).contains(&wanted) {
        return Begun {
            next: wanted,
            why,
            out_of_range: None,
            stops: false,
            adopt: why != Reason::Journal,
        };
    }
    Begun {
        next: match facts.on_out_of_range {
            OutOfRange::Earliest => facts.first,
            OutOfRange::Latest => facts.end,
            OutOfRange::Stop => wanted,
        },
        why,
        out_of_range: Some(wanted),
        stops: facts.on_out_of_range == OutOfRange::Stop,
        adopt: true,
    }
}

/// The reason in words, for the log.
pub fn words(why: Reason) -> &'static str {
    match why {
        Reason::Journal => "the output's journal",
        Reason::Group => "the group's offset",
        Reason::Reset => "the group's offset, which somebody set",
        Reason::OtherHost => "the group's offset, which another host's output stands behind",
        Reason::OldJournal => "the group's offset; the output's journal is an older copy",
        Reason::TopicMadeAgain => {
            "the topic was made again; the output's journal is of the old one"
        }
        Reason::NoPlace => "`start_at`: neither the group nor the output knows the partition",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> Facts<'static> {
        Facts {
            group: None,
            place: None,
            journal: "j",
            first: 100,
            end: 200,
            since: None,
            start_at: ConsumeFrom::Earliest,
            on_out_of_range: OutOfRange::Earliest,
        }
    }

    fn group(offset: i64) -> Option<Committed<'static>> {
        Some(Committed {
            offset,
            metadata: "logferry journal=j",
            leader_epoch: -1,
        })
    }

    #[test]
    fn a_new_group_begins_where_it_is_told_to() {
        let begun_at = |start_at| {
            begun(&Facts {
                start_at,
                ..facts()
            })
            .next
        };
        assert_eq!(begun_at(ConsumeFrom::Earliest), 100);
        assert_eq!(begun_at(ConsumeFrom::Latest), 200);
    }

    #[test]
    fn the_journal_goes_before_an_older_commit_that_names_it() {
        let begun = begun(&Facts {
            group: group(120),
            place: Some(Place {
                next: 150,
                leader_epoch: -1,
            }),
            ..facts()
        });
        assert_eq!((begun.next, begun.why), (150, Reason::Journal));
        assert!(!begun.adopt);
    }

    #[test]
    fn what_retention_took_is_counted() {
        let lost = begun(&Facts {
            group: group(40),
            ..facts()
        });
        assert_eq!((lost.next, lost.skipped()), (100, 60));
        assert!(lost.adopt);
        let latest = begun(&Facts {
            group: group(40),
            on_out_of_range: OutOfRange::Latest,
            ..facts()
        });
        assert_eq!((latest.next, latest.skipped()), (200, 160));
    }

    #[test]
    fn a_time_leads_to_its_first_record_or_to_the_end() {
        let at = |since| {
            let facts = Facts {
                since,
                start_at: ConsumeFrom::Time(7),
                ..facts()
            };
            begun(&facts).next
        };
        assert_eq!((at(Some(150)), at(None)), (150, 200));
    }

    #[test]
    fn what_is_to_stop_does_not_begin_anywhere_else() {
        let stopped = begun(&Facts {
            group: group(40),
            on_out_of_range: OutOfRange::Stop,
            ..facts()
        });
        assert!(stopped.stops && stopped.out_of_range == Some(40) && stopped.skipped() == 0);
        let inside = begun(&Facts {
            group: group(140),
            on_out_of_range: OutOfRange::Stop,
            ..facts()
        });
        assert!(!inside.stops && inside.next == 140);
    }

    #[test]
    fn an_offset_beyond_the_end_is_left_to_the_broker_and_skips_nothing() {
        let facts = Facts {
            group: group(900),
            ..facts()
        };
        assert_eq!(begun(&facts).next, 900);
        let begun = within(&facts, 900, Reason::Journal);
        assert_eq!((begun.next, begun.skipped()), (100, 0));
        assert_eq!(begun.out_of_range, Some(900));
    }
}
