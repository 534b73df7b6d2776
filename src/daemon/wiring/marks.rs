//! Between an input and its transactions: where the input begins, and what it has to tell.
//!
//! An input that is delivered exactly once begins where Kafka says, so its reader waits until its producer has read that. data_dir follows: it
//! is written after every commit as it is for other inputs. It says who keeps the positions, so that the way back and forth between the two
//! kinds of delivery never begins at old ones:
//!
//! | data_dir says that positions are kept | Kafka has marks | the input begins |
//! |---|---|---|
//! | in Kafka, taken over | yes | where Kafka says |
//! | in Kafka, to be taken over by an instance | yes, of that instance | where Kafka says |
//! | in Kafka, to be taken over by an instance | none of that instance | where data_dir says |
//! | here: it was delivered at least once, or they were changed by hand | whatever | where data_dir says |
//! | nothing: it is new or was deleted | yes | where Kafka says |
//! | anything | no | where data_dir says |

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::checkpoint::{Change, FileKey, Keeper};
use crate::daemon::saver::SharedStore;
use crate::flow::{Bell, EntryId, Found, Mark, Marks, Ring, SourceId, Stamp, Stop};
use crate::input::file::facts::Facts;
use crate::input::file::telling::{Begin, Telling, understand};

/// How often a reader that waits looks whether it is to stop.
const LOOK_UP: Duration = Duration::from_millis(200);

/// Where a reader learns where to begin.
pub(super) struct Handoff {
    told: Mutex<Told>,
    bell: Arc<Bell>,
}

enum Told {
    NotYet,
    Begin(Begin),
    /// Nobody will tell any more.
    Never,
}

impl Handoff {
    pub fn new(bell: Arc<Bell>) -> Arc<Self> {
        let told = Mutex::new(Told::NotYet);
        Arc::new(Self { told, bell })
    }

    /// Waits until it is told; `None` when it is not going to be.
    pub fn wait(&self, stop: &Stop) -> Option<Begin> {
        loop {
            {
                let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
                match std::mem::replace(&mut *told, Told::Never) {
                    Told::Begin(begin) => return Some(begin),
                    Told::Never => return None,
                    Told::NotYet => *told = Told::NotYet,
                }
            }
            if stop.is_soft() {
                return None;
            }
            self.bell.wait(LOOK_UP);
        }
    }

    fn tell(&self, what: Told) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(*told, Told::NotYet) {
            *told = what;
        }
        drop(told);
        self.bell.ring();
    }
}

/// The positions of one input of files.
pub(super) struct FileMarks {
    pub input: String,
    pub store: SharedStore,
    pub facts: Arc<Facts>,
    pub handoff: Arc<Handoff>,
    /// Until the first transaction of this instance is committed.
    pub taking_over: Option<Keeper>,
}

impl FileMarks {
    fn save(&self, changes: &[Change], durably: bool) -> Result<(), String> {
        let mut store = self.store.lock().unwrap_or_else(PoisonError::into_inner);
        store
            .save(changes)
            .and_then(|()| if durably { store.sync() } else { Ok(()) })
            .map_err(|error| error.to_string())
    }

    fn keep(&self, keeper: Keeper) -> Change {
        Change::Keep {
            input: self.input.clone(),
            keeper: Some(keeper),
        }
    }

    /// What data_dir says.
    fn local(&self) -> (Begin, Option<Keeper>) {
        let store = self.store.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(input) = store.all().get(&self.input) else {
            return (Begin::default(), None);
        };
        let begin = Begin {
            entries: input.entries.clone(),
            started: input.started,
            next_key: input.next_key,
        };
        (begin, input.keeper.clone())
    }
}

impl Marks for FileMarks {
    fn resume(&mut self, found: Found, writer: &str) -> Result<(), String> {
        let known = understand(&found.marks)?;
        let (local, keeper) = self.local();
        // Where positions were forgotten on purpose, keys have been used.
        let is_new = local.started.is_none() && local.next_key == 0;
        let kafka_decides = kafka_decides(found.stamp.as_ref(), keeper.as_ref(), is_new);
        let keys = |begin: &Begin| begin.entries.keys().copied().collect::<BTreeSet<FileKey>>();
        let (local_keys, known_keys) = (keys(&local), keys(&known));
        let mut begin = if kafka_decides {
            known.clone()
        } else {
            local.clone()
        };
        begin.next_key = known.next_key.max(local.next_key);
        // From here on data_dir may be behind Kafka, never ahead.
        let keeper = Keeper {
            writer: writer.to_owned(),
            took_over: kafka_decides,
        };
        let mut changes = vec![self.keep(keeper.clone())];
        if kafka_decides {
            self.facts.tell_transactions(Telling::known(&begin));
            let input = || self.input.clone();
            changes.extend(begin.entries.iter().map(|(key, entry)| Change::Put {
                input: input(),
                key: *key,
                entry: entry.clone(),
            }));
            changes.extend(
                local_keys
                    .difference(&known_keys)
                    .map(|key| Change::Remove {
                        input: input(),
                        key: *key,
                    }),
            );
            changes.extend(
                begin
                    .started
                    .map(|at| Change::Started { input: input(), at }),
            );
        } else {
            let others = known_keys.difference(&local_keys).copied();
            self.facts
                .tell_transactions(Telling::unknown(&begin, others));
            self.taking_over = Some(keeper);
        }
        self.save(&changes, true).map_err(|error| {
            format!("data_dir cannot take note of who keeps the positions: {error}")
        })?;
        tracing::info!(
            input = %self.input, files = begin.entries.len(),
            from = if kafka_decides { "Kafka" } else { "data_dir" },
            "the input begins"
        );
        self.handoff.tell(Told::Begin(begin));
        Ok(())
    }

    fn is_due(&self) -> bool {
        self.facts.has_to_tell()
    }

    fn prepare(&mut self, entries: &[(SourceId, EntryId)]) -> Vec<Mark> {
        self.facts.tell(entries)
    }

    fn decided(&mut self, committed: bool) {
        self.facts.told(committed);
        if committed && let Some(keeper) = self.taking_over.take() {
            let keeper = Keeper {
                took_over: true,
                ..keeper
            };
            if let Err(error) = self.save(&[self.keep(keeper.clone())], true) {
                tracing::error!(input = %self.input, error, "data_dir cannot take note yet that Kafka keeps the positions");
                self.taking_over = Some(keeper);
            }
        }
    }
}

/// The table above. `is_new`: data_dir says nothing of the input.
fn kafka_decides(found: Option<&Stamp>, keeper: Option<&Keeper>, is_new: bool) -> bool {
    match (found, keeper) {
        (None, _) => false,
        (Some(_), Some(keeper)) if keeper.took_over => true,
        (Some(stamp), Some(keeper)) => stamp.writer == keeper.writer,
        (Some(_), None) => is_new,
    }
}

impl Drop for FileMarks {
    /// A reader that waits learns that nobody will tell it.
    fn drop(&mut self) {
        self.handoff.tell(Told::Never);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newer_positions_decide_where_an_input_begins() {
        let stamp = Stamp {
            writer: "a".into(),
            number: 5,
        };
        let found = Some(&stamp);
        let keeper = |writer: &str, took_over| Keeper {
            writer: writer.into(),
            took_over,
        };
        // Kafka never had any, or lost them.
        for local in [None, Some(keeper("a", true)), Some(keeper("a", false))] {
            assert!(!kafka_decides(None, local.as_ref(), true));
        }
        // Whoever wrote there last.
        for writer in ["a", "b"] {
            assert!(kafka_decides(found, Some(&keeper(writer, true)), false));
        }
        // The first transaction of an instance that took over from data_dir took place, or did not.
        assert!(kafka_decides(found, Some(&keeper("a", false)), false));
        assert!(!kafka_decides(found, Some(&keeper("b", false)), false));
        // It was delivered at least once since; data_dir is new.
        assert!(!kafka_decides(found, None, false));
        assert!(kafka_decides(found, None, true));
    }
}
