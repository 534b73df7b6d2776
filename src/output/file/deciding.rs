//! An output whose records and offsets are one transaction: the loop of its thread.
//!
//! It begins when it is known what is committed, and brings the files to that. From then on a window that is due is made durable, told to the
//! journal and proposed; the thread waits until it is decided. Committed, it is settled. Void, the files are cut, and what was held and what
//! lies in the pipe is forgotten: the records are consumed again by whoever has their partitions then.
//!
//! Invariant: nothing is written behind bytes that are not decided.

use std::sync::Arc;

use super::resume::{NotResumed, Resuming, gone, mark, not_written, resume};
use super::trouble::{Fault, Trouble};
use super::{FileOutput, IDLE, Pause, now};
use crate::flow::{
    Beginning, Bell, Count, Fetched, Heard, Proposal, Proposer, Received, Receiver, Ring, Stamp,
    Stop,
};
use crate::output::file::writer::count_of;

/// Writes what comes through `from` until it is closed (everything is then decided) or `stop` is hard. `bell` is the one that the pipe and the
/// consumer's decisions ring. Blocks; for a thread of its own.
pub fn run_exactly_once(
    mut output: FileOutput,
    proposer: &Proposer,
    from: &Receiver<Fetched>,
    bell: &Arc<Bell>,
    stop: &Stop,
) {
    let ring: Arc<dyn Ring> = bell.clone();
    stop.rings(&ring);
    output.listen(&ring);
    let mut pause = Pause::new(&output);
    let Some(writer) = begin(&mut output, proposer, &mut pause, bell, stop) else {
        return;
    };
    let mut run = Run {
        output: &mut output,
        proposer,
        from,
        writer,
        number: 0,
        proposed: false,
        telling: false,
        sync_now: false,
        closed: false,
    };
    while !stop.is_hard() {
        match run.step() {
            Ok(Next::Now) => pause.over(),
            Ok(Next::Wait) => {
                let rest = if run.proposed {
                    IDLE
                } else {
                    run.output.rest()
                };
                bell.wait(rest);
            }
            Ok(Next::End) => break,
            Err(Fault::Refused) => {}
            Err(Fault::Trouble(trouble)) => pause.wait(&trouble, bell, stop),
        }
    }
    let left = output.writer.forgo();
    if left > 0 {
        tracing::warn!(
            output = output.name,
            records = left,
            "stopped before everything was decided; what does not count is cut at the next start, and consumed again"
        );
    }
    while let Received::Item(fetched) = from.try_recv() {
        if let Fetched::Records { receipt, .. } = fetched {
            receipt.forgo();
        }
    }
}

/// Brings the files to what is committed, as soon as that is known. Gives the instance that writes, or nothing when it does not come to that.
fn begin(
    output: &mut FileOutput,
    proposer: &Proposer,
    pause: &mut Pause,
    bell: &Bell,
    stop: &Stop,
) -> Option<String> {
    let beginning = loop {
        if stop.is_hard() || proposer.hear() == Heard::Over {
            return None;
        }
        match proposer.beginning() {
            Some(beginning) => break beginning,
            None => drop(bell.wait(IDLE)),
        }
    };
    loop {
        match output.resume(&beginning) {
            Ok(()) => {
                pause.over();
                proposer.begun();
                return Some(beginning.writer);
            }
            Err(NotResumed::Refused(why)) => {
                proposer.refuse(why);
                return None;
            }
            Err(NotResumed::Trouble(trouble)) => {
                pause.wait(&trouble, bell, stop);
                if stop.is_hard() || proposer.hear() == Heard::Over {
                    return None;
                }
            }
        }
    }
}

impl FileOutput {
    fn resume(&mut self, beginning: &Beginning) -> Result<(), NotResumed> {
        let resuming = Resuming {
            disk: &*self.files,
            folder: &self.folder,
            longest: self.longest(),
            now: &now(),
        };
        let findings = resume(&resuming, self.writer.journal(), &beginning.found)?;
        self.tell(&findings);
        self.untold = not_written(&self.folder, self.writer.journal(), &beginning.found)?;
        Ok(())
    }
}

struct Run<'a> {
    output: &'a mut FileOutput,
    proposer: &'a Proposer,
    from: &'a Receiver<Fetched>,
    writer: String,
    /// Of the last transaction that was proposed.
    number: u64,
    proposed: bool,
    /// What is proposed is only what Kafka may forget.
    telling: bool,
    sync_now: bool,
    closed: bool,
}

enum Next {
    Now,
    Wait,
    End,
}

impl Run<'_> {
    fn step(&mut self) -> Result<Next, Fault> {
        match self.proposer.hear() {
            Heard::Void => {
                self.void()?;
                return Ok(Next::Now);
            }
            Heard::Over => return Ok(Next::End),
            Heard::Committed => {
                if std::mem::take(&mut self.telling) {
                    self.output.writer.journal().committed();
                    self.output.untold.clear();
                } else {
                    self.output.writer.committed();
                }
                self.proposed = false;
            }
            Heard::Nothing if self.proposed => return Ok(Next::Wait),
            Heard::Nothing => {}
        }
        if self.output.writer.is_empty() {
            self.output.between()?;
        }
        // Nothing is written under a name that Kafka knows the length of for another file.
        if !self.output.untold.is_empty() {
            self.tell()?;
            return Ok(Next::Wait);
        }
        self.output.writer.begin_again()?;
        self.output.writer.encode()?;
        let due = self.output.until_due().is_some_and(|left| left.is_zero());
        if due
            || self.sync_now
            || self.closed
            || self.output.is_rotation_due()
            || self.output.is_called()
        {
            if self.propose()? {
                return Ok(Next::Wait);
            }
            self.sync_now = false;
            if self.closed {
                return Ok(Next::End);
            }
        }
        match self.from.try_recv() {
            Received::Item(Fetched::Records {
                records,
                receipt,
                charge,
            }) => self.output.writer.take(records, receipt, Some(charge)),
            Received::Item(Fetched::Flush) => self.sync_now = true,
            Received::Closed => self.closed = true,
            Received::Empty => return Ok(Next::Wait),
        }
        Ok(Next::Now)
    }

    /// Kafka is to forget the lengths of files that are not written any more.
    fn tell(&mut self) -> Result<(), Fault> {
        let journal = self.output.writer.journal();
        let stamp = Stamp {
            writer: self.writer.clone(),
            number: self.number + 1,
        };
        let told = journal.prepare(stamp, Vec::new());
        told.map_err(Trouble::with("write the journal", journal.path()))?;
        self.number += 1;
        (self.proposed, self.telling) = (true, true);
        let untold = self.output.untold.iter();
        self.proposer.propose(Proposal {
            number: self.number,
            marks: untold.map(|path| gone(&self.output.folder, path)).collect(),
            entries: Vec::new(),
        });
        Ok(())
    }

    /// `false` when there is nothing to propose.
    fn propose(&mut self) -> Result<bool, Fault> {
        let stamp = Stamp {
            writer: self.writer.clone(),
            number: self.number + 1,
        };
        let Some(prepared) = self.output.writer.prepare(stamp)? else {
            return Ok(false);
        };
        self.number += 1;
        self.proposed = true;
        let files = prepared.files.iter();
        let marks = files.map(|file| mark(&self.output.folder, file)).collect();
        self.proposer.propose(Proposal {
            number: self.number,
            marks,
            entries: prepared.entries,
        });
        Ok(true)
    }

    fn void(&mut self) -> Result<(), Trouble> {
        // What lies in the pipe was sent before.
        loop {
            match self.from.try_recv() {
                Received::Item(Fetched::Records {
                    records, receipt, ..
                }) => {
                    let mut count = Count::default();
                    for at in 0..records.len() {
                        count += count_of(&records.get(at));
                    }
                    receipt.annul(count);
                }
                Received::Item(Fetched::Flush) => {}
                Received::Closed => {
                    self.closed = true;
                    break;
                }
                Received::Empty => break,
            }
        }
        self.output.writer.void()?;
        (self.proposed, self.telling, self.sync_now) = (false, false, false);
        self.proposer.voided();
        Ok(())
    }
}
