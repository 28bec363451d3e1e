//! WatchActive: opens a watch, sends its messages, and ends it when its caller is no longer authorized.

mod authority;
mod encode;
mod open;
mod reconnect_delay;
mod settings;
mod stream;

pub use authority::Recheck;
pub use encode::WatchEncoder;
pub use open::WatchHandler;
pub use settings::WatchSettings;
