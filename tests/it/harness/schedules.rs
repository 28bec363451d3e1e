//! Schedules for tests, and servers whose store has a clock that can be shifted.

use std::sync::Arc;

use policyhub::client::{Client, ClientError, pb};

use super::calls::{NAMESPACE, events};
use super::postgres::Cluster;
use super::subscribing::eventually;
use super::{Database, Hub, clock};

/// A server whose store has a clock that can be shifted: the host's with SQLite, PostgreSQL's own with PostgreSQL.
pub struct ShiftableHub {
    pub hub: Hub,
    database: Option<String>,
}

/// Returns the name of a schedule.
pub fn schedule_name(id: &str) -> String {
    format!("{NAMESPACE}/schedules/{id}")
}

fn database_name(url: &str) -> String {
    url.rsplit('/').next().and_then(|name| name.split('?').next()).expect("a name").to_owned()
}

impl ShiftableHub {
    /// Starts a server on a new database.
    pub async fn start(database: Database, arguments: &[&str]) -> Self {
        let dir = Arc::new(tempfile::tempdir().expect("a directory"));
        let (url, name) = match database {
            Database::Sqlite => {
                clock::build(dir.path());
                (format!("sqlite://{}", dir.path().join("data/policyhub.db").display()), None)
            }
            Database::Postgres => {
                let url = Cluster::shared().create_database();
                let name = database_name(&url);
                // The function is found before PostgreSQL's own.
                let sql = format!(
                    "CREATE SCHEMA clock; CREATE TABLE clock.shift AS SELECT 0 AS seconds; \
                     CREATE FUNCTION clock.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE AS $$ SELECT \
                     pg_catalog.clock_timestamp() + make_interval(secs => (SELECT seconds FROM clock.shift)) $$; \
                     ALTER DATABASE {name} SET search_path = public, clock, pg_catalog"
                );
                Cluster::shared().psql(&name, &sql);
                (url, Some(name))
            }
        };
        Self { hub: Hub::start_on(dir, url, arguments).await, database: name }
    }

    /// Kills the server, unless it was killed, and starts it again. Its clock stays as it is.
    pub async fn restart(self) -> Self {
        let Self { mut hub, database } = self;
        if hub.is_running() {
            hub.kill().await;
        }
        Self { hub: hub.restart().await, database }
    }

    /// Returns the name of the PostgreSQL database.
    pub fn database_name(&self) -> String {
        self.database.clone().expect("PostgreSQL")
    }

    /// Sets the clock this many seconds ahead of the true time.
    pub fn shift(&self, seconds: i64) {
        match &self.database {
            Some(name) => drop(Cluster::shared().psql(name, &format!("UPDATE clock.shift SET seconds = {seconds}"))),
            None => clock::shift(self.hub.dir.path(), seconds),
        }
    }
}

/// Returns a time some seconds from now.
pub fn in_seconds(seconds: i64) -> prost_types::Timestamp {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a clock").as_secs();
    prost_types::Timestamp { seconds: i64::try_from(now).expect("a time") + seconds, nanos: 0 }
}

/// Returns an entry that puts versions in force.
pub fn entry(targets: &[(&str, i64)], when: pb::schedule_entry::When) -> pb::ScheduleEntry {
    let target = |(policy, version): &(&str, i64)| pb::ScheduledTarget {
        policy: (*policy).to_owned(),
        to: Some(pb::scheduled_target::To::Version(*version)),
    };
    pb::ScheduleEntry { targets: targets.iter().map(target).collect(), when: Some(when) }
}

/// Returns an entry that is due once, some seconds from now.
pub fn once(targets: &[(&str, i64)], seconds: i64) -> pb::ScheduleEntry {
    entry(targets, pb::schedule_entry::When::Time(in_seconds(seconds)))
}

/// Returns an entry that is due every week.
pub fn weekly(targets: &[(&str, i64)], weekdays: &[pb::Weekday], time: &str) -> pb::ScheduleEntry {
    let weekdays = weekdays.iter().map(|day| (*day).into()).collect();
    entry(targets, pb::schedule_entry::When::Weekly(pb::WeeklyTime { weekdays, time: time.to_owned() }))
}

/// Returns the request that makes a schedule.
pub fn create_request(id: &str, zone: &str, entries: Vec<pb::ScheduleEntry>) -> pb::CreateScheduleRequest {
    pb::CreateScheduleRequest {
        parent: NAMESPACE.to_owned(),
        schedule_id: id.to_owned(),
        schedule: Some(pb::Schedule { entries, time_zone: zone.to_owned(), ..Default::default() }),
        reason: "planned".to_owned(),
        ..Default::default()
    }
}

/// Makes a schedule.
pub async fn create_schedule(client: &Client, id: &str, zone: &str, entries: Vec<pb::ScheduleEntry>) -> pb::Schedule {
    let done = client.create_schedule(create_request(id, zone, entries)).await.expect("a schedule");
    done.schedule.expect("a schedule")
}

/// Reads a schedule.
pub async fn get_schedule(client: &Client, id: &str) -> pb::Schedule {
    let request = pb::GetScheduleRequest { name: schedule_name(id) };
    client.get_schedule(request).await.expect("a schedule").schedule.expect("a schedule")
}

/// Cancels a schedule.
pub async fn cancel(client: &Client, id: &str) -> Result<pb::CancelScheduleResponse, ClientError> {
    let request =
        pb::CancelScheduleRequest { name: schedule_name(id), reason: "no more".to_owned(), ..Default::default() };
    client.cancel_schedule(request).await
}

/// Resumes a schedule.
pub async fn resume(client: &Client, id: &str) -> Result<pb::ResumeScheduleResponse, ClientError> {
    let request =
        pb::ResumeScheduleRequest { name: schedule_name(id), reason: "go on".to_owned(), ..Default::default() };
    client.resume_schedule(request).await
}

/// Waits until a schedule is in a state, and returns it.
pub async fn until_state(client: &Client, id: &str, state: pb::ScheduleState) -> pb::Schedule {
    let is_there = async || get_schedule(client, id).await.state() == state;
    eventually(&format!("{id} is {}", state.as_str_name()), is_there).await;
    get_schedule(client, id).await
}

/// Returns the kind of each event of a schedule, in order.
pub async fn kinds(client: &Client, id: &str) -> Vec<pb::EventKind> {
    let name = schedule_name(id);
    let log = events(client, NAMESPACE, 0).await;
    log.iter().filter(|event| event.schedule == name).map(pb::Event::kind).collect()
}
