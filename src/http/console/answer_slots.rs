//! How many requests are answered at once. What only a signed-in browser can send does not wait for what a stranger can, nor a page for a
//! form: the body of a form comes as slowly as its sender likes.

use tokio::sync::Semaphore;

/// Pages that are answered at once. More: they take all connections to the database from calls.
const PAGES_AT_ONCE_MAX: usize = 32;
/// Forms that are read and answered at once.
const FORMS_AT_ONCE_MAX: usize = 16;
/// Sign-ins that are answered at once.
const SIGN_INS_AT_ONCE_MAX: usize = 16;
const SIGN_IN_PATH: &str = "/sign-in";

/// The slots of requests that are answered.
#[derive(Debug)]
pub struct AnswerSlots {
    pages: Semaphore,
    forms: Semaphore,
    sign_ins: Semaphore,
}

impl Default for AnswerSlots {
    fn default() -> Self {
        Self {
            pages: Semaphore::new(PAGES_AT_ONCE_MAX),
            forms: Semaphore::new(FORMS_AT_ONCE_MAX),
            sign_ins: Semaphore::new(SIGN_INS_AT_ONCE_MAX),
        }
    }
}

impl AnswerSlots {
    /// Returns whether the body is read before a slot is taken: otherwise a stranger who sends slowly would hold a slot of sign-ins.
    pub fn reads_body_before_slot(is_read: bool, path: &str) -> bool {
        !is_read && path.starts_with(SIGN_IN_PATH)
    }

    /// Returns the slots among which a request needs one.
    pub fn of(&self, is_read: bool, path: &str) -> &Semaphore {
        match (is_read, path.starts_with(SIGN_IN_PATH)) {
            (true, _) => &self.pages,
            (false, true) => &self.sign_ins,
            (false, false) => &self.forms,
        }
    }
}
