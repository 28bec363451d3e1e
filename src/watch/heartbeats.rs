//! Heartbeats: every stream gets one in each interval, whether or not its namespace changes.

use std::time::Duration;

use super::change_signal::HEARTBEAT_SLOTS;
use super::hub::Hub;

impl Hub {
    /// Signals in each interval that the heartbeat of every stream is due, until it is dropped; also while the database is away.
    pub async fn send_heartbeats(&self, heartbeat_interval: Duration) {
        let slots = u32::try_from(HEARTBEAT_SLOTS).unwrap_or(1);
        let mut turn = tokio::time::interval(heartbeat_interval / slots);
        turn.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        for slot in (0..HEARTBEAT_SLOTS).cycle() {
            turn.tick().await;
            for feed in self.feeds().all() {
                feed.signals().tick(slot);
            }
        }
    }
}
