//! The lists of the product: for each the one table of what it can be filtered and ordered by, and what its index is asked for.
//!
//! A table is what `api/filter` reads a filter by, what its errors name, and what the comments of the proto say: a test compares them.

mod administration;
mod events;
mod policies;
mod runs;
mod schedules;
mod subscribers;
mod versions;

pub use administration::{BINDINGS, DENIALS, DenialFilter, KEYS, NAMESPACES};
pub use events::{EVENTS, EventFilter};
pub use policies::{AnnotatedPolicy, POLICIES, PolicyFilter};
pub use runs::{RUNS, RunFilter};
pub use schedules::SCHEDULES;
pub use subscribers::{SUBSCRIBERS, SeenSubscriber};
pub use versions::{VERSIONS, VersionFilter};
