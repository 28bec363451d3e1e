//! Workloads beside the writers: approvals, rotation of keys, quotas, leases, imports, and schedules. Each makes its callers' calls one after the
//! other, repeats each until its outcome is known, and keeps the answers.
//!
//! A refusal must have the reason that the workload expects. All answers are checked again when everything has settled.

mod approvals;
mod imports;
mod keys;
mod leases;
mod quotas;
mod schedules;

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use policyhub::api::pb;
use policyhub::client::ClientError;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tonic::{Response, Status};

use super::background::callers_of;
use super::calls::{FaultCaller, NAMESPACE, tried};
use super::check::record::{BACKGROUND, Promise};
use super::recorder::Recorder;
use super::rng::Rng;
use super::world::Deployment;
use super::writers::may_work_later;
pub use leases::check_offline;

/// How long checking one promise may take: after the faults, every call is answered.
const LOOK_MAX: Duration = Duration::from_secs(10);
/// How long a grant may take to be in effect everywhere before the schedule begins.
const GRANT_MAX: Duration = Duration::from_secs(30);
/// Pause between two tries of one call.
const AGAIN: Duration = Duration::from_millis(50);
/// The subjects with their own roles in the first namespace.
const PEOPLE: [(&str, &[pb::Role]); 3] = [
    ("author", &[pb::Role::Author, pb::Role::Approver]),
    ("approver", &[pb::Role::Approver]),
    ("publisher", &[pb::Role::Publisher, pb::Role::Activator]),
];

type Looking = Pin<Box<dyn Future<Output = Result<bool, ClientError>> + Send>>;

/// An acknowledged answer, and how to check that it still holds.
pub struct Promised {
    what: String,
    look: Box<dyn Fn(FaultCaller) -> Looking + Send>,
}

impl Promised {
    /// Returns a promise; `look` queries a replica and returns whether the answer still holds.
    pub fn new<Looked>(what: String, look: impl Fn(FaultCaller) -> Looked + Send + 'static) -> Self
    where
        Looked: Future<Output = Result<bool, ClientError>> + Send + 'static,
    {
        Self { what, look: Box::new(move |caller| Box::pin(look(caller))) }
    }
}

/// What every workload has.
#[derive(Clone)]
pub struct WorkloadContext {
    pub recorder: Arc<Recorder>,
    /// An admin of everything, at each replica.
    pub admins: Arc<[FaultCaller]>,
    /// Other callers by their names, at each replica.
    people: Arc<BTreeMap<&'static str, Vec<FaultCaller>>>,
    /// Prefix of the names that a workload uses, so that no two of them create the same.
    workload: &'static str,
    pub rng: Rng,
    count: u64,
    /// Whether the clock of a server jumps in this schedule.
    pub clock_jumps: bool,
    promised: Arc<std::sync::Mutex<Vec<Promised>>>,
}

/// All workloads of a schedule.
pub struct Workloads {
    context: WorkloadContext,
    playing: JoinSet<()>,
}

impl Workloads {
    /// Starts the workloads.
    ///
    /// # Errors
    /// When somebody does not get the role they need: nothing has struck yet.
    pub async fn begin(
        world: &Deployment,
        clock_jumps: bool,
        mut rng: Rng,
        recorder: Arc<Recorder>,
        admins: Arc<[FaultCaller]>,
    ) -> Result<Self, String> {
        let mut people = BTreeMap::new();
        for (name, roles) in PEOPLE {
            let callers = callers_of(world, name)?;
            grant(&admins[0], name, roles).await.map_err(|error| format!("no role for {name}: {error}"))?;
            let deadline = Instant::now() + GRANT_MAX;
            for caller in &callers {
                while caller.get_set().await.is_err() {
                    if Instant::now() > deadline {
                        return Err(format!("a role of {name} is not known everywhere after {GRANT_MAX:?}"));
                    }
                    sleep(AGAIN).await;
                }
            }
            people.insert(name, callers);
        }
        let (people, promised) = (Arc::new(people), Arc::default());
        let context = WorkloadContext {
            recorder,
            admins,
            people,
            workload: "",
            rng: rng.fork(),
            count: 0,
            clock_jumps,
            promised,
        };
        let mut playing = JoinSet::new();
        let mut of = |workload| WorkloadContext { workload, rng: rng.fork(), ..context.clone() };
        playing.spawn(approvals::run(of("approvals")));
        playing.spawn(keys::run(of("keys")));
        playing.spawn(quotas::run(of("quotas")));
        playing.spawn(leases::run(of("leases")));
        playing.spawn(imports::run(of("imports"), world.servers[0].token().map_err(|error| error.to_string())?));
        playing.spawn(schedules::run(of("schedules")));
        Ok(Self { context, playing })
    }

    /// Returns the tasks that still run, and the context with which to check when they have ended.
    pub fn leaving(self) -> (JoinSet<()>, WorkloadContext) {
        (self.playing, self.context)
    }
}

async fn grant(admin: &FaultCaller, name: &str, roles: &[pb::Role]) -> Result<(), ClientError> {
    for role in roles {
        let binding = pb::RoleBinding { role: (*role).into(), member: format!("local:{name}"), ..Default::default() };
        let request_id = format!("{BACKGROUND}{name}-{}", role.as_str_name());
        let reason = "a schedule".to_owned();
        let request = pb::CreateRoleBindingRequest {
            parent: NAMESPACE.to_owned(),
            role_binding: Some(binding),
            reason,
            request_id,
        };
        let deadline = Instant::now() + GRANT_MAX;
        // The writers already run, and may hold a lock for a while.
        while let Err(error) = tried(admin.admin.clone().create_role_binding(request.clone())).await {
            if is_known(&error) || Instant::now() > deadline {
                return Err(error);
            }
            sleep(AGAIN).await;
        }
    }
    Ok(())
}

/// Returns whether an error tells the outcome of the call: no effect, for a lasting reason.
fn is_known(error: &ClientError) -> bool {
    let open = ["", "OUTCOME_UNKNOWN", "DEADLINE_EXCEEDED", "SIGNING_UNAVAILABLE"].contains(&error.reason());
    // By a clock that jumped, a token may be not yet valid or expired.
    !open && !may_work_later(error.reason()) && !error.reason().starts_with("TOKEN_")
}

impl WorkloadContext {
    /// Returns a unique request id. It is in the log, and differs from those of writers.
    pub fn next_id(&mut self) -> String {
        self.count += 1;
        format!("{BACKGROUND}{}-{}", self.workload, self.count)
    }

    /// Returns one of the replicas at random.
    pub fn replica(&mut self) -> usize {
        self.rng.below(self.admins.len())
    }

    /// Waits a moment between two calls.
    pub async fn pause(&mut self) {
        sleep(Duration::from_millis(self.rng.between(50, 400))).await;
    }

    /// Calls as an admin until the outcome is known: `None` when the schedule ended before.
    pub async fn admin<T, Answer>(&mut self, call: impl Fn(FaultCaller) -> Answer) -> Option<Result<T, ClientError>>
    where
        Answer: Future<Output = Result<Response<T>, Status>>,
    {
        let callers = Arc::clone(&self.admins);
        self.insist(&callers, call).await
    }

    /// Calls as a person until the outcome is known: `None` when the schedule ended before.
    pub async fn person<T, Answer>(
        &mut self,
        name: &str,
        call: impl Fn(FaultCaller) -> Answer,
    ) -> Option<Result<T, ClientError>>
    where
        Answer: Future<Output = Result<Response<T>, Status>>,
    {
        let people = Arc::clone(&self.people);
        self.insist(&people[name], call).await
    }

    async fn insist<T, Answer>(
        &mut self,
        callers: &[FaultCaller],
        call: impl Fn(FaultCaller) -> Answer,
    ) -> Option<Result<T, ClientError>>
    where
        Answer: Future<Output = Result<Response<T>, Status>>,
    {
        loop {
            let replica = self.replica();
            match tried(call(callers[replica].clone())).await {
                Ok(answer) => return Some(Ok(answer.into_inner())),
                Err(error) if is_known(&error) => return Some(Err(error)),
                Err(_) if self.recorder.stopped() => return None,
                Err(error) => self.recorder.note(|history| history.failed_reads.push(error.reason().to_owned())),
            }
            sleep(AGAIN).await;
        }
    }

    /// Returns the answer, which must not be a refusal; records a broken promise when it is one.
    pub fn expect<T>(&self, what: &str, answer: Result<T, ClientError>) -> Option<T> {
        match answer {
            Ok(answer) => Some(answer),
            Err(error) => {
                self.promise(what.to_owned(), Some(format!("it was refused: {error}")));
                None
            }
        }
    }

    /// Checks that a call was refused with exactly this reason.
    pub fn expect_refusal<T>(&self, what: &str, reason: &str, answer: Result<T, ClientError>) {
        let broken = match answer {
            Ok(_) => Some("it was done".to_owned()),
            Err(error) if error.reason() == reason => None,
            Err(error) => Some(format!("it was refused, and not with {reason}: {error}")),
        };
        self.promise(what.to_owned(), broken);
    }

    pub fn promise(&self, what: String, broken: Option<String>) {
        self.recorder.note(|history| history.promises.push(Promise { what, broken }));
    }

    /// Adds a promise to check at the end.
    pub fn promised(&self, promised: Promised) {
        self.promised.lock().expect("what was promised").push(promised);
    }

    /// Checks every promise of the workloads at every replica.
    pub async fn look(&self) {
        let promised = std::mem::take(&mut *self.promised.lock().expect("what was promised"));
        for Promised { what, look } in promised {
            for (replica, caller) in self.admins.iter().enumerate() {
                let deadline = Instant::now() + LOOK_MAX;
                let broken = loop {
                    let broken = match look(caller.clone()).await {
                        Ok(true) => None,
                        Ok(false) => Some(format!("replica {replica} has another one now, or none")),
                        Err(error) => Some(format!("replica {replica} says {error}")),
                    };
                    if broken.is_none() || Instant::now() > deadline {
                        break broken;
                    }
                    sleep(AGAIN).await;
                };
                self.promise(what.clone(), broken);
            }
        }
    }
}
