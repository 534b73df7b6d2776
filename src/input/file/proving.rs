//! What a compressed file holds: its claims are proven or refuted, one after the other, and it takes over what is proven.
//!
//! Invariant: a generation goes on in one file at most.

use std::time::Instant;

use super::facts::Fact;
use super::packed::{self, Claim, Of, Proof, Proven};
use super::unpacking::is_same;
use super::{Follower, fact};
use crate::flow::SourceId;
use crate::input::Position;
use crate::input::outlet::Ended;

impl Follower {
    /// Proves what a compressed file holds. `true` when that is settled, and it can be read.
    pub(super) fn prove(&mut self, slot: u64) -> Result<bool, Ended> {
        loop {
            let Some(source) = self.sources.get_mut(&slot) else {
                return Ok(false);
            };
            let Some(packed) = source.packed.as_mut() else {
                return Ok(false);
            };
            if packed.proof.is_none() {
                return Ok(true);
            }
            match packed.prove() {
                Ok(Proven::Further) => {
                    source.pace.next = Instant::now();
                    return Ok(false);
                }
                Ok(Proven::Yes(known)) => {
                    if !self.proven(slot, known)? {
                        return Ok(false);
                    }
                }
                Ok(Proven::No) => self.refuted(slot)?,
                Err(fault) => {
                    self.cannot_unpack(slot, &fault);
                    return Ok(false);
                }
            }
        }
    }

    /// The file holds `known` bytes of the generation that its first claim is about.
    fn proven(&mut self, slot: u64, known: u64) -> Result<bool, Ended> {
        let Some(mut claim) = self.proof_of(slot).and_then(Proof::next) else {
            return Ok(false);
        };
        let of = self.present(claim.of);
        if of != claim.of {
            claim.of = of;
            let mut pasts = self.pasts.iter().filter(|past| !past.is_saved);
            if let Some(past) = pasts.find(|past| of == Of::Past(past.ledger)) {
                // More of it was read since.
                claim.trace = past.trace.clone();
                claim.position = past.position.clone();
                if let Some(proof) = self.proof_of(slot) {
                    proof.claims.push_front(claim);
                }
                return Ok(true);
            }
        }
        let Some(source) = self.sources.get_mut(&slot) else {
            return Ok(false);
        };
        let past = match claim.of {
            Of::Past(ledger) => self.pasts.iter().position(|past| past.ledger == ledger),
            _ => None,
        };
        let is_taken = match claim.of {
            Of::Past(_) => past.is_none(),
            Of::Saved(key) => self.saved.get(key).is_none(),
            Of::Own => false,
        };
        if is_taken {
            if let Some(original) = self.plain_source_of(claim.of) {
                self.yield_to(slot, original);
                return Ok(false);
            }
            // It goes on in another compressed file: this one holds the same, and is another generation.
            self.refuted_claim(slot, Some(claim))?;
            return Ok(true);
        }
        if let Some(past) = past.map(|at| &self.pasts[at])
            && !past.is_open
            && self.outlet.tracker().open_entries(past.ledger) > 0
        {
            // What is still on its way would be passed by a position after it.
            source.pace.next = Instant::now() + self.timing.poll_most;
            if let Some(proof) = self.proof_of(slot) {
                proof.claims.push_front(claim);
            }
            return Ok(false);
        }
        if known > 0
            && let Err(error) = source.seek_packed(&Position {
                offset: known,
                ..Position::default()
            })
        {
            self.cannot_read(slot, &error)?;
            return Ok(false);
        }
        let tail = source.position().tail;
        let place = claim.position_at(known, tail);
        source.stand(&place);
        if let Some(packed) = &mut source.packed {
            packed.proof = None;
            let past = past.filter(|at| self.pasts[*at].is_open);
            packed.whole = past.map_or((0, 0), |at| {
                let past = &self.pasts[at];
                (past.size, past.position.offset)
            });
        }
        tracing::info!(
            input = %self.name, file = %source.path.display(), read = known,
            "the compressed file holds what was read before; it is read on from there"
        );
        let (own, is_saved) = (
            source.id,
            source.packed.as_ref().is_some_and(|p| p.is_saved),
        );
        let ceiling = (known < claim.trace.read()).then_some((known, tail));
        let fact = Fact {
            ceiling: ceiling.map(Box::new),
            ..fact(source)
        };
        match (claim.of, past) {
            (Of::Own, _) => {}
            (Of::Saved(key), _) if self.saved.take(key).is_some() => {
                source.id = SourceId(key.0);
                self.outlet.tracker().add(source.id, place);
                self.facts.add(source.id, fact, true);
            }
            (Of::Past(ledger), Some(at)) if self.pasts[at].is_open => {
                source.id = ledger;
                if self.pasts[at].is_saved {
                    self.outlet.tracker().add(ledger, place);
                    self.facts.add(ledger, fact, true);
                } else {
                    self.facts.goes_on_in(ledger, fact);
                }
                self.pasts.remove(at);
            }
            _ => {
                self.outlet.tracker().add(source.id, place);
                let fact = Fact {
                    ceiling: None,
                    ..fact
                };
                self.facts.add(source.id, fact, true);
                if let Some(at) = past {
                    self.pasts.remove(at);
                }
            }
        }
        if is_saved
            && self
                .sources
                .get(&slot)
                .is_some_and(|source| source.id != own)
        {
            self.facts.replaced(own);
        }
        self.end_saved_generations()?;
        Ok(true)
    }

    fn proof_of(&mut self, slot: u64) -> Option<&mut Proof> {
        self.sources.get_mut(&slot)?.packed.as_mut()?.proof.as_mut()
    }

    /// The followed file that the generation goes on in, if that is not compressed.
    fn plain_source_of(&self, of: Of) -> Option<u64> {
        let id = match of {
            Of::Past(ledger) => ledger,
            Of::Saved(key) => SourceId(key.0),
            Of::Own => return None,
        };
        let mut sources = self.sources.iter();
        sources
            .find(|(_, source)| source.id == id && source.packed.is_none())
            .map(|(slot, _)| *slot)
    }

    /// A compressed file that nothing is known of waits, if what it was made of is followed by now: that may have been opened before it was
    /// deleted, and been found a moment later.
    fn gives_way(&mut self, slot: u64) -> bool {
        let Some(source) = self.sources.get(&slot) else {
            return false;
        };
        let (Some(packed), Some(file)) = (&source.packed, &source.file) else {
            return false;
        };
        let Ok(head) = packed::head(file, packed.packing()) else {
            return false;
        };
        let original = self.original_of(&source.path, head.as_deref());
        if let Some(original) = original {
            self.yield_to(slot, original);
        }
        original.is_some()
    }

    /// What a compressed file holds is read from the file that it was made of, which was found after all: it waits for that one.
    fn yield_to(&mut self, slot: u64, original: u64) {
        let names: Vec<_> = self.names_of(slot);
        let Some(source) = self.detach(slot) else {
            return;
        };
        if source.packed.as_ref().is_some_and(|packed| packed.is_saved) {
            self.facts.replaced(source.id);
        }
        for (path, name) in names {
            self.wait_for(path, name, source.look, Some(original));
        }
    }

    /// The file does not hold the generation that its first claim is about.
    fn refuted(&mut self, slot: u64) -> Result<(), Ended> {
        let Some(source) = self.sources.get_mut(&slot) else {
            return Ok(());
        };
        let Some(packed) = &mut source.packed else {
            return Ok(());
        };
        let Some(proof) = &mut packed.proof else {
            return Ok(());
        };
        let claim = proof.next();
        self.refuted_claim(slot, claim)
    }

    fn refuted_claim(&mut self, slot: u64, claim: Option<Claim>) -> Result<(), Ended> {
        let Some(source) = self.sources.get_mut(&slot) else {
            return Ok(());
        };
        let Some(packed) = &source.packed else {
            return Ok(());
        };
        let is_last = packed
            .proof
            .as_ref()
            .is_none_or(|proof| proof.claims.is_empty());
        let is_wanted = packed.is_wanted;
        let id = source.look.id;
        let of = claim.as_ref().map(|claim| self.present(claim.of));
        let mut pasts = self.pasts.iter_mut();
        if let Some(past) = pasts.find(|past| of == Some(Of::Past(past.ledger))) {
            // When it is looked for again, this file is not asked again.
            past.refuted.push(id);
        }
        let is_own = claim.as_ref().is_some_and(|claim| claim.of == Of::Own);
        if is_last && !is_own && self.gives_way(slot) {
            return Ok(());
        }
        if is_last && !is_own && !is_wanted {
            self.detach(slot);
            return self.end_saved_generations();
        }
        let Some(source) = self.sources.get_mut(&slot) else {
            return Ok(());
        };
        if let Some(packed) = source.packed.as_mut().filter(|_| is_last) {
            packed.proof = None;
        }
        match claim.map(|claim| claim.of) {
            Some(Of::Own) => {
                let (look, read) = (source.look, source.at());
                return self.start_over(slot, read, look);
            }
            Some(Of::Saved(key)) => {
                let is_own = self
                    .saved
                    .get(key)
                    .is_some_and(|entry| is_same(entry, &source.path, &source.look));
                if is_own {
                    self.saved.take(key);
                    self.facts.forget(key);
                }
            }
            _ => {}
        }
        if is_last {
            self.outlet.tracker().add(source.id, Position::default());
            self.facts.add(source.id, fact(source), true);
            self.end_saved_generations()?;
        }
        Ok(())
    }

    /// Whether a compressed file may still turn out to hold this generation.
    pub(super) fn is_claimed(&self, ledger: SourceId) -> bool {
        let packed = self.sources.values().filter_map(|s| s.packed.as_ref());
        let mut claims = packed
            .filter_map(|packed| packed.proof.as_ref())
            .flat_map(|proof| &proof.claims);
        claims.any(|claim| self.present(claim.of) == Of::Past(ledger))
    }

    /// A saved position whose content is not where it was has become a generation that ended.
    fn present(&self, of: Of) -> Of {
        match of {
            Of::Saved(key) if self.pasts.iter().any(|past| past.ledger.0 == key.0) => {
                Of::Past(SourceId(key.0))
            }
            of => of,
        }
    }
}
