//! GetSchedule and ListSchedules: read schedules as they are now.

use crate::domain::Result;
use crate::domain::command::{ListPage, PageRequest};
use crate::domain::filter::Filter;
use crate::domain::limits::ITEMS_SCANNED_MAX;
use crate::domain::name::NamespaceId;
use crate::domain::schedule::{Schedule, ScheduleId, ScheduleName};
use crate::service::page_reader::PageReader;
use crate::service::policies::use_cases::Policies;

/// Approximate size of a target in an answer, in bytes.
const TARGET_BYTES: usize = 100;

impl Policies {
    /// Returns a schedule.
    ///
    /// # Errors
    /// `NAMESPACE_NOT_FOUND`, `SCHEDULE_NOT_FOUND`, `DATA_LOSS`.
    pub async fn get_schedule(&self, name: &ScheduleName) -> Result<Schedule> {
        let tx = self.log.store.read().await?;
        tx.namespace(&name.namespace).await?;
        tx.schedule(name).await
    }

    /// Returns the schedules of a namespace that are pending or suspended, in order of ids.
    ///
    /// # Errors
    /// `NAMESPACE_NOT_FOUND`, `DATA_LOSS`.
    pub async fn open_schedules(&self, namespace: &NamespaceId) -> Result<Vec<Schedule>> {
        let tx = self.log.store.read().await?;
        tx.namespace(namespace).await?;
        tx.open_schedules(namespace).await
    }

    /// Returns a page of schedules, in order of ids.
    ///
    /// # Errors
    /// `NAMESPACE_NOT_FOUND`, `DATA_LOSS`.
    pub async fn list_schedules(
        &self,
        namespace: &NamespaceId,
        page: &PageRequest<ScheduleId>,
        wanted: &Filter<Schedule>,
    ) -> Result<ListPage<ScheduleId, Schedule>> {
        let tx = self.log.store.read().await?;
        tx.namespace(namespace).await?;
        let mut reader = PageReader::searching(page, !wanted.is_empty(), ITEMS_SCANNED_MAX);
        while let Some(asked) = reader.next() {
            let found = tx.schedules(namespace, &asked).await?;
            let measure = |each: &Schedule| {
                let targets = each.entries.iter().map(|entry| entry.targets.len()).sum::<usize>();
                (each.name.id.clone(), targets * TARGET_BYTES + each.reason.len() + each.problem.len())
            };
            reader.add(&asked, found, measure, |each| wanted.keeps(each));
        }
        Ok(reader.done())
    }
}
