//! Live parts: what moves on an open page is sent again as HTML once it differs, by server-sent events (HTML Living Standard §9.2).
//!
//! Invariants: a part is rendered by what renders it in its page, with the same permissions and rates; nothing is rendered while nothing
//! changes; a stream holds one part at most, and makes the next one when the connection takes it; no stream outlives its session by more
//! than one recheck.

mod events;
mod live_routes;
mod live_settings;
mod live_slots;
mod live_stream;
mod serve_live;

pub use live_routes::{LIVE_ROUTES, LiveRoute};
pub use live_settings::LiveSettings;
pub use live_slots::{LIVE_STREAMS_PER_SESSION_MAX, LiveSlots};
pub use serve_live::serve_live;
