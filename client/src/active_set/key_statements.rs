//! How an active set follows the keys of its store, when it began with pinned ones.
//!
//! Invariant: a key statement that can't be taken changes nothing and ends no stream; whatever needs a key that is not trusted
//! is refused by itself.

use super::followed::Followed;
use super::{ActiveSet, SetChange};
use policyhub_core::domain::event::Cursor;
use policyhub_core::signing::{KeySet, PinnedKeys, SavedPins};

impl ActiveSet {
    /// Follows key statements from the keys it has: they are pinned. Without it they stay as they are given.
    #[must_use]
    pub fn following_keys(mut self) -> Self {
        self.followed = Some(Followed { keys: PinnedKeys::new(self.trust.keys.clone()), unsaved: true });
        self
    }

    /// Goes on from key statements that were saved, unless the pinned keys are others by now: those win.
    pub fn restore_pins(&mut self, saved: SavedPins) {
        if let Some(followed) = &mut self.followed {
            followed.keys = PinnedKeys::restore(self.trust.keys.clone(), saved, self.trust.store.as_deref());
            followed.unsaved = true;
            self.trust.keys = followed.keys.trusted();
        }
    }

    /// Takes other pinned keys in place of those it had: a file changed. Statements that were taken count no more.
    pub fn replace_pins(&mut self, pins: KeySet) {
        let Some(followed) = &mut self.followed else { return self.trust(pins) };
        followed.keys.replace(pins);
        followed.unsaved = true;
        self.trust.keys = followed.keys.trusted();
    }

    /// Drops the key statements of another store than the one whose documents are taken: they came before it was known.
    pub(super) fn drop_keys_of_other_store(&mut self) {
        if self.cursor.is_some()
            && let (Some(followed), Some(store)) = (&mut self.followed, self.trust.store.as_deref())
            && followed.keys.drop_other_store(store)
        {
            followed.unsaved = true;
            self.trust.keys = followed.keys.trusted();
        }
    }

    /// Returns what to save of the pinned keys; none when nothing changed since [`Self::mark_pins_saved`].
    #[must_use]
    pub fn unsaved_pins(&self) -> Option<SavedPins> {
        let followed = self.followed.as_ref()?;
        followed.unsaved.then(|| followed.keys.saved())
    }

    /// Notes that what `unsaved_pins` returned is saved.
    pub fn mark_pins_saved(&mut self) {
        if let Some(followed) = &mut self.followed {
            followed.unsaved = false;
        }
    }

    /// Returns whether it follows key statements.
    #[must_use]
    pub fn follows_keys(&self) -> bool {
        self.followed.is_some()
    }

    /// Returns the newest key statement held, for the request of a stream; none when it follows none.
    pub(super) fn key_cursor(&self) -> Option<Cursor> {
        let followed = self.followed.as_ref()?;
        Some(followed.keys.newest().unwrap_or(Cursor::NONE))
    }

    /// Takes a key statement over, as one that came with the stream.
    pub(crate) fn take_key_statement(&mut self, statement: &str) -> SetChange {
        let Some(followed) = &mut self.followed else { return SetChange::Keys { newest: None, refused: None } };
        let (newest, refused) = match followed.keys.take(statement, self.trust.store.as_deref()) {
            Ok(is_new) => (followed.keys.newest().filter(|_| is_new), None),
            Err(error) => (None, Some(error)),
        };
        if newest.is_some() {
            followed.unsaved = true;
            self.trust.keys = followed.keys.trusted();
        }
        SetChange::Keys { newest, refused }
    }
}
