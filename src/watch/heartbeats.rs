//! Heartbeats: every stream gets one in each interval, whether or not its namespace changes.

use std::time::Duration;

use super::change_signal::HEARTBEAT_SLOTS;
use super::hub::Hub;

impl Hub {
    /// Signals in each interval that the heartbeat of every stream is due, or in several of them if the stream asked for that, until it is
    /// dropped; also while the database is away.
    pub async fn send_heartbeats(&self, heartbeat_interval: Duration) {
        let slots = u32::try_from(HEARTBEAT_SLOTS).unwrap_or(1);
        let mut ticks = tokio::time::interval(heartbeat_interval / slots);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        for turn in 0_u64.. {
            ticks.tick().await;
            for feed in self.feeds().all() {
                feed.signals().tick(turn);
            }
        }
    }
}
