//! A watcher and its directory: what is read at the start, and what is written when.
//!
//! Invariant: what is read is verified before it is offered; a cursor that was verified once is remembered also when its set
//! is not in force.

use std::io;
use std::sync::Arc;

use super::{Active, Mark, Saved, SavedSet, Update, Watcher};
use policyhub_core::signing::KeySet;

impl Watcher {
    /// Takes up what the directory holds, if it has one.
    pub(super) fn take_up_saved(&mut self) -> io::Result<()> {
        let Some(cache) = &self.cache else { return Ok(()) };
        let (pins, mark, saved) = (cache.pins(), cache.mark(), cache.saved());
        // Read the mark first: nothing of another store is used, not even a key statement, also when the set can't be used.
        let of_mark = mark.as_ref().ok().and_then(|mark| mark.as_ref()?.store.clone());
        let of_set = saved.as_ref().ok().and_then(Option::as_ref);
        if let Some(store) = of_mark.or_else(|| of_set.map(|saved| saved.store.clone())) {
            if let Some(wanted) = self.set.store().filter(|wanted| *wanted != store) {
                let what =
                    format!("it holds what store {store} signed, and {wanted} is asked for: take another directory");
                return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
            }
            self.set.remember_store(store);
        }
        // The pins come before the set: the set in force may be signed by a key that a statement added.
        if let Ok(Some(saved)) = &saved
            && saved.namespace != self.namespace
        {
            let what = format!(
                "it holds the policies of namespace {}, and {} is asked for: take another directory",
                saved.namespace, self.namespace
            );
            return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        }
        let pins = pins.map(|pins| pins.into_iter().for_each(|pins| self.set.restore_pins(pins)));
        let is_of_others =
            saved.as_ref().is_ok_and(|saved| saved.as_ref().is_some_and(|saved| &saved.wanted != self.set.wanted()));
        let problem = match saved {
            Ok(None) => None,
            Ok(Some(saved)) => self.restore(saved).err(),
            Err(error) => Some(error.to_string()),
        };
        let is_restored = problem.is_none() && self.set.cursor().is_some();
        if is_restored {
            self.waiting.push_back(Update { active: Arc::new(self.newest()), from_disk: true });
        }
        let mut problem = problem.map(|problem| format!("the saved set is not used: {problem}"));
        if problem.is_some()
            && !is_of_others
            && let Some(cache) = &self.cache
        {
            // Whatever is wrong with them, the next set is written whole. That of another filter stays until then: it may be asked for
            // again.
            cache.discard_contents()?;
        }
        match mark {
            Ok(mark) => {
                if let Some(mark) = mark {
                    self.set.remember(mark.position(), mark.same_set);
                }
            }
            Err(error) => problem = Some(format!("the newest place known is lost: {error}")),
        }
        if let Err(error) = pins {
            problem = Some(format!("the key statements that were taken are lost: {error}"));
        }
        self.publish(|published| published.problem = problem.unwrap_or_default());
        self.save_pins();
        Ok(())
    }

    /// Keeps the key statements that were taken over restarts. A disk that refuses is said, and tried again with the next
    /// message and the next stream: until then a restart goes on from those that were kept before.
    pub(super) fn save_pins(&mut self) {
        let (Some(cache), Some(pins)) = (&self.cache, self.set.unsaved_pins()) else { return };
        match cache.set_pins(&pins) {
            Ok(()) => {
                self.set.mark_pins_saved();
                self.pins_problem = None;
            }
            Err(error) => {
                let problem = format!("failed to save the keys: {error}");
                if self.pins_problem.as_ref() != Some(&problem) {
                    tracing::warn!("{problem}");
                    self.pins_problem = Some(problem.clone());
                    self.publish(|published| published.problem = problem);
                }
            }
        }
    }

    /// Returns what is wrong with the pinned keys, for as long as it is; empty: nothing.
    pub(super) fn keys_problem(&self) -> String {
        let of_file = self.pinned.as_ref().and_then(|file| file.problem());
        of_file.or(self.pins_problem.as_deref()).unwrap_or_default().to_owned()
    }

    fn restore(&mut self, saved: Saved) -> Result<(), String> {
        // Also when the set can't be used: what was in force there is what nothing older may replace.
        let position = saved.position();
        let restored = self.restore_set(saved);
        if restored.is_err() {
            self.set.remember(position, false);
        }
        restored
    }

    fn restore_set(&mut self, saved: Saved) -> Result<(), String> {
        if &saved.wanted != self.set.wanted() {
            return Err("it is of other policies".to_owned());
        }
        let Some(cache) = &self.cache else { return Ok(()) };
        let own = KeySet::parse_jwks(saved.jwks.to_string().as_bytes()).map_err(|error| error.to_string())?;
        if self.learn_keys {
            self.set.trust(own);
        }
        let evidence = saved.evidence().map_err(|error| error.to_string())?;
        let snapshot = cache.snapshot(saved).map_err(|error| error.to_string())?;
        self.set.restore(&snapshot, evidence).map_err(|refusal| refusal.to_string())
    }

    /// Saves a set that is in force, unless it is there already.
    pub(super) fn save(&mut self, active: &Active) -> io::Result<()> {
        if !self.unsaved {
            return Ok(());
        }
        let (Some(cache), Some(store), Some(evidence)) = (&self.cache, self.set.store(), &active.evidence) else {
            return Ok(());
        };
        let header = Saved::of(SavedSet {
            store,
            namespace: &self.namespace,
            wanted: self.set.wanted(),
            at: active.position(),
            evidence,
            keys: self.set.keys(),
        });
        cache.save(header, active.policies.values().map(AsRef::as_ref))?;
        self.unsaved = false;
        Ok(())
    }

    /// Remembers the newest cursor, on the disk. That it could not be said is not worth more: it is said again with the next.
    pub(super) fn save_mark(&mut self) {
        let (Some(cache), Some(held)) = (&self.cache, self.set.position()) else { return };
        let (newest, store) = (self.set.newest_verified(), self.set.store());
        let mark = if newest > held.cursor {
            // The message was refused, so its set is not known. Nothing older is taken.
            Mark::new(store, newest.into(), false)
        } else {
            let is_same = self.rejected.is_none() && !self.unsaved && self.waiting.is_empty() && self.offered.is_none();
            Mark::new(store, held, is_same)
        };
        let _ = cache.set_mark(&mark);
    }
}
