//! The fan-out over TLS 1.3, beside etcd with TLS: every opening is a whole handshake.

use anyhow::Result;

use super::report::shape_name;
use super::scenarios::{BenchRun, KIB, drive, fan_out_work};
use super::target::{BenchTarget, TargetKind};

/// One stream each.
const CONNECTIONS: usize = 10_000;

impl BenchRun {
    /// Measures publications that reach every subscriber over TLS.
    pub async fn tls(&mut self) -> Result<()> {
        let kinds = self.chosen(&[TargetKind::Policyhub, TargetKind::Etcd]);
        for size_bytes in [KIB, 16 * KIB] {
            let payload = self.payload(size_bytes).await?;
            for _ in 0..self.rounds {
                for &kind in &kinds {
                    let samples = match BenchTarget::start_with_tls(kind, &payload).await {
                        Ok(target) => drive(target.plan(CONNECTIONS, 1, fan_out_work(&target, CONNECTIONS))).await,
                        Err(error) => Err(error),
                    };
                    self.report.add("tls", &shape_name(CONNECTIONS, 1, size_bytes), kind.name(), samples);
                }
            }
        }
        Ok(())
    }
}
