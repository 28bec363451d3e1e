//! Heartbeats: every stream gets one in each interval, whether or not its namespace changes.

use std::time::Duration;

use super::hub::Hub;
use super::pulse::SLOTS;

impl Hub {
    /// Lets every stream beat once in each interval, until it is dropped. A database that does not answer does not stop it.
    pub async fn beat(&self, heartbeat_interval: Duration) {
        let slots = u32::try_from(SLOTS).unwrap_or(1);
        let mut turn = tokio::time::interval(heartbeat_interval / slots);
        turn.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        for slot in (0..SLOTS).cycle() {
            turn.tick().await;
            for feed in self.feeds() {
                feed.pulses().beat(slot);
            }
        }
    }
}
