//! ListRuns.

use super::use_cases::Sync;
use crate::domain::Result;
use crate::domain::command::{ListPage, PageRequest};
use crate::domain::limits::{RUN_COUNTS_MAX, RUNS_SCANNED_MAX};
use crate::domain::listing::RunFilter;
use crate::domain::name::PolicyName;
use crate::domain::run::{Run, RunCount, RunKey};
use crate::service::page_reader::PageReader;

/// The approximate size of a run in an answer besides its message and its recorder.
const RUN_BYTES: usize = 512;

impl Sync {
    /// Returns a page of runs, newest first, each with one policy. The first page of a policy's runs also has the number of runs of each
    /// version and outcome, newest version first. There are no counts when runs or counts are too many, or when no index counts them.
    ///
    /// # Errors
    /// `NAMESPACE_NOT_FOUND`, `POLICY_NOT_FOUND`, `DATA_LOSS`.
    pub async fn list_runs(
        &self,
        filter: &RunFilter,
        page: &PageRequest<RunKey>,
    ) -> Result<(ListPage<RunKey, Run>, Option<Vec<RunCount>>)> {
        let (tx, _) = self.log.read_current(&filter.namespace).await?;
        let mut counts = Some(Vec::new());
        if let Some(policy) = &filter.policy {
            tx.policy(&PolicyName { namespace: filter.namespace.clone(), policy: policy.clone() }).await?;
            if filter.is_search {
                counts = None;
            } else if page.after.is_none() {
                counts = tx.run_counts(filter, policy).await?.filter(|counts| counts.len() <= RUN_COUNTS_MAX);
            }
        }
        if let Some(counts) = &mut counts {
            counts.sort_by_key(|count| (std::cmp::Reverse(count.version), count.outcome));
        }
        let mut reader = PageReader::searching(page, filter.is_search, RUNS_SCANNED_MAX);
        while let Some(asked) = reader.next() {
            let found = tx.runs(filter, &asked).await?;
            let bytes =
                |run: &Run| RUN_BYTES + run.recorder.len() + run.end.as_ref().map_or(0, |end| end.message.len());
            reader.add(&asked, found, |run| (run.key(), bytes(run)), |run| filter.wanted.keeps(run));
        }
        Ok((reader.done(), counts))
    }
}
