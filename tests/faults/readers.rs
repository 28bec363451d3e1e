//! Readers: ListActive of the whole set, repeatedly, at any replica.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::calls::FaultCaller;
use super::check::record::RecordedRead;
use super::recorder::Recorder;
use super::rng::Rng;

/// Reads until it is told to stop.
pub async fn read(mut rng: Rng, recorder: Arc<Recorder>, callers: Arc<[FaultCaller]>) {
    while !recorder.stopped() {
        let replica = rng.below(callers.len());
        let start = recorder.now();
        match callers[replica].get_marked_set().await {
            Ok((said, marks)) => {
                for (policy, (version, _)) in &said.pointers {
                    recorder.believe(policy, *version);
                }
                let (cursor, pointers) = (said.cursor, said.pointers);
                recorder.read(RecordedRead { replica, start, end: recorder.now(), cursor, pointers, marks });
            }
            Err(error) => recorder.note(|history| history.failed_reads.push(error.reason().to_owned())),
        }
        sleep(Duration::from_millis(rng.between(2, 60))).await;
    }
}
