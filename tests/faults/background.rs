//! Workloads beside the writers: they record runs, report status, create tenants, and grant and revoke a role. Each keeps the answers it
//! got, and checks them after the schedule.

use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use policyhub::api::pb;
use policyhub::client::ClientError;
use tokio::time::{sleep, timeout};
use tonic::Streaming;

use super::calls::{FaultCaller, NAMESPACE, tried};
use super::check::record::{BACKGROUND, Exclusion, Promise, Replica};
use super::recorder::Recorder;
use super::rng::Rng;
use super::world::{Deployment, RECHECK_MS};

/// How long checking one promise may take: after the faults, every call is answered.
const LOOK_MAX: Duration = Duration::from_secs(10);
/// Pause between two tries of one change.
const AGAIN: Duration = Duration::from_millis(50);
/// How long a replica may accept a caller whose role another one removed.
const KNOWN_ELSEWHERE: Duration = Duration::from_secs(1);
/// How long the test checks whether it still does.
const SHUT_OUT_MAX: Duration = Duration::from_secs(8);
/// The subject that is granted a role and loses it again.
pub const GUEST: &str = "guest";

/// An acknowledged write of a background workload.
#[derive(Debug)]
enum BackgroundWrite {
    /// A run, as recorded.
    Run(Box<pb::Run>),
    /// A stored report of a subscriber.
    Report(String, pb::Cursor),
    /// A created namespace.
    Tenant(String),
}

/// The background workload of a schedule.
pub struct Background {
    pub rng: Rng,
    pub recorder: Arc<Recorder>,
    pub callers: Arc<[FaultCaller]>,
    /// Callers of the same servers as a guest.
    pub guests: Vec<FaultCaller>,
    written: Vec<BackgroundWrite>,
    count: u64,
}

/// Returns callers with a token of a subject that has no role yet.
///
/// # Errors
/// What `policyhub token issue` said instead.
pub fn callers_of(world: &Deployment, subject: &str) -> Result<Vec<FaultCaller>, String> {
    let mut command = Command::new(super::server::binary());
    command.args(["token", "issue", "--ttl=1h", "--subject", subject, "--data-dir"]).arg(world.servers[0].data());
    command.args(world.servers[0].store_arguments().iter().filter(|argument| argument.starts_with("--keys-dir=")));
    let output = command.output().map_err(|error| error.to_string())?;
    if !output.status.success() {
        return Err(format!("no token for {subject}: {}", String::from_utf8_lossy(&output.stderr)));
    }
    let token = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    Ok((0..world.servers.len()).map(|replica| FaultCaller::new(world.address(replica), &token)).collect())
}

impl Background {
    pub fn new(rng: Rng, recorder: Arc<Recorder>, callers: Arc<[FaultCaller]>, guests: Vec<FaultCaller>) -> Self {
        Self { rng, recorder, callers, guests, written: Vec::new(), count: 0 }
    }

    /// Acts until it is told to stop. Returns itself, for the check afterwards.
    pub async fn run(mut self) -> Self {
        while !self.recorder.stopped() {
            self.count += 1;
            let replica = self.rng.below(self.callers.len());
            let caller = self.callers[replica].clone();
            let done = match self.rng.below(4) {
                0 => self.record_run(&caller).await,
                1 => self.report(&caller).await,
                2 => self.make_tenant(&caller).await,
                _ => self.grant_and_revoke(&caller, replica).await,
            };
            if let Err(error) = done {
                self.recorder.note(|history| history.failed_reads.push(error.reason().to_owned()));
            }
            sleep(Duration::from_millis(self.rng.between(20, 120))).await;
        }
        self
    }

    async fn record_run(&mut self, caller: &FaultCaller) -> Result<(), ClientError> {
        let (set, _) = caller.get_set().await?;
        let policies: Vec<&String> = set.pointers.keys().collect();
        if policies.is_empty() {
            return Ok(());
        }
        // Every second run uses the whole active set.
        let policies = if self.rng.below(2) == 0 { vec![(*self.rng.pick(&policies)).clone()] } else { Vec::new() };
        let run_id = format!("run-{}", self.count);
        let request = pb::RecordRunRequest {
            parent: NAMESPACE.to_owned(),
            policies,
            run_id: run_id.clone(),
            request_id: run_id.clone(),
            ..Default::default()
        };
        let answer = tried(caller.sync.clone().record_run(request)).await?.into_inner();
        self.written.extend(answer.run.map(|run| BackgroundWrite::Run(Box::new(run))));
        Ok(())
    }

    async fn report(&mut self, caller: &FaultCaller) -> Result<(), ClientError> {
        let (Replica { cursor, set_digest, .. }, _) = caller.get_set().await?;
        let subscriber_id = format!("subscriber-{}", self.rng.below(3));
        let cursor = pb::Cursor { epoch: cursor.epoch, revision: cursor.revision, ..Default::default() };
        let request = pb::ReportStatusRequest {
            name: format!("{NAMESPACE}/subscribers/{subscriber_id}"),
            cursor: Some(cursor),
            digest: set_digest,
            status: pb::ApplyStatus::Applied.into(),
            ..Default::default()
        };
        if tried(caller.sync.clone().report_status(request)).await?.into_inner().stored {
            self.written.push(BackgroundWrite::Report(subscriber_id, cursor));
        }
        Ok(())
    }

    async fn make_tenant(&mut self, caller: &FaultCaller) -> Result<(), ClientError> {
        let namespace_id = format!("tenant-{}", self.count);
        let request_id = namespace_id.clone();
        let request = pb::CreateNamespaceRequest { namespace_id, request_id, ..Default::default() };
        let made = tried(caller.admin.clone().create_namespace(request)).await?.into_inner();
        self.written.extend(made.namespace.map(|namespace| BackgroundWrite::Tenant(namespace.name)));
        Ok(())
    }

    /// Grants and revokes a role. After that, the replica that answered accepts the guest no longer, the others no longer after a second,
    /// and open watches end when they are authorized again (docs/operations/access.md#roles).
    async fn grant_and_revoke(&mut self, caller: &FaultCaller, replica: usize) -> Result<(), ClientError> {
        let binding =
            pb::RoleBinding { role: pb::Role::Viewer.into(), member: format!("local:{GUEST}"), ..Default::default() };
        let reason = "a schedule".to_owned();
        let request_id = format!("{BACKGROUND}grant-{}", self.count);
        let request = pb::CreateRoleBindingRequest {
            parent: NAMESPACE.to_owned(),
            role_binding: Some(binding),
            reason: reason.clone(),
            request_id,
        };
        // Repeat until the outcome is known: an unknown grant would still admit the guest.
        let granted = loop {
            match tried(caller.admin.clone().create_role_binding(request.clone())).await {
                Ok(granted) => break granted.into_inner(),
                Err(error) if self.recorder.stopped() => return Err(error),
                Err(_) => sleep(AGAIN).await,
            }
        };
        let Some(id) = granted.role_binding.map(|binding| binding.name) else { return Ok(()) };
        let watched = self.rng.below(self.guests.len());
        let watch = self.watch_as_guest(watched).await;
        let request_id = format!("{BACKGROUND}revoke-{}", self.count);
        let request = pb::DeleteRoleBindingRequest { name: id.clone(), reason, request_id };
        while let Err(error) = tried(caller.admin.clone().delete_role_binding(request.clone())).await {
            if self.recorder.stopped() {
                return Err(error);
            }
            sleep(AGAIN).await;
        }
        let revoked = self.recorder.now();
        let let_in = matches!(self.guests[replica].get_set().await, Ok((_, false)));
        let broken = let_in.then(|| format!("replica {replica}, which took it away, let the guest in afterwards"));
        self.promise(format!("role {id} was taken away"), broken);
        let others = (0..self.guests.len()).filter(|other| *other != replica);
        let shut: Vec<_> = others.map(|other| self.until_shut_out(other, revoked)).collect();
        let watch_ends = async {
            if let Some(watch) = watch {
                self.until_ended(watch, watched, revoked).await;
            }
        };
        futures_util::future::join(futures_util::future::join_all(shut), watch_ends).await;
        Ok(())
    }

    /// Returns a watch of the guest, if a replica opens one now.
    async fn watch_as_guest(&self, replica: usize) -> Option<Streaming<pb::WatchActiveResponse>> {
        let request = pb::WatchActiveRequest {
            targets: vec![pb::WatchTarget { parent: NAMESPACE.to_owned(), ..Default::default() }],
            ..Default::default()
        };
        let mut open = tried(self.guests[replica].sync.clone().watch_active(request)).await.ok()?.into_inner();
        // The watch is open once it has delivered a message.
        timeout(SHUT_OUT_MAX, open.message()).await.ok()?.ok()?.map(|_| open)
    }

    /// Calls as the guest until a replica refuses it, and records when it was last accepted.
    async fn until_shut_out(&self, replica: usize, revoked: Duration) {
        let mut last_in = None;
        while self.recorder.now() < revoked + SHUT_OUT_MAX {
            let began = self.recorder.now();
            match self.guests[replica].get_set().await {
                Ok((_, false)) => last_in = Some(began),
                // The refusal comes before or after the request is read: which of the two roles the replica reads again first is not
                // determined.
                Err(error) if ["PERMISSION_DENIED", "NAMESPACE_NOT_FOUND"].contains(&error.reason()) => break,
                Ok(_) | Err(_) => {}
            }
            sleep(AGAIN).await;
        }
        self.exclude(Exclusion { replica, revoked, last_in, allowed: KNOWN_ELSEWHERE });
    }

    /// Reads the guest's watch to its end, and records when it last delivered a message.
    async fn until_ended(&self, mut open: Streaming<pb::WatchActiveResponse>, replica: usize, revoked: Duration) {
        let mut last_in = None;
        while self.recorder.now() < revoked + SHUT_OUT_MAX {
            match timeout(SHUT_OUT_MAX, open.message()).await {
                Ok(Ok(Some(_))) => last_in = Some(self.recorder.now()),
                Ok(_) | Err(_) => break,
            }
        }
        let allowed = KNOWN_ELSEWHERE + Duration::from_millis(RECHECK_MS);
        self.exclude(Exclusion { replica, revoked, last_in, allowed });
    }

    fn exclude(&self, exclusion: Exclusion) {
        self.recorder.note(|history| history.exclusions.push(exclusion));
    }

    fn promise(&self, what: String, broken: Option<String>) {
        self.recorder.note(|history| history.promises.push(Promise { what, broken }));
    }

    /// Checks everything that was acknowledged.
    pub async fn look(self) {
        for received in &self.written {
            let deadline = Instant::now() + LOOK_MAX;
            let mut broken = self.broken(received).await;
            while broken.is_some() && Instant::now() < deadline {
                sleep(Duration::from_millis(100)).await;
                broken = self.broken(received).await;
            }
            self.promise(format!("{received:?}"), broken);
        }
    }

    async fn broken(&self, received: &BackgroundWrite) -> Option<String> {
        let caller = &self.callers[0];
        match received {
            BackgroundWrite::Run(run) => {
                let request = pb::GetRunRequest { name: run.name.clone() };
                let found = tried(caller.sync.clone().get_run(request)).await;
                differs(found.map(tonic::Response::into_inner).map(|found| found.run.as_ref() == Some(&**run)))
            }
            BackgroundWrite::Report(id, cursor) => {
                let request = pb::ListSubscribersRequest { parent: NAMESPACE.to_owned(), ..Default::default() };
                let found = tried(caller.sync.clone().list_subscribers(request)).await;
                let at_least = |found: &pb::Subscriber| {
                    found.name.ends_with(&format!("/{id}"))
                        && found.applied.is_some_and(|at| at.revision >= cursor.revision)
                };
                differs(found.map(tonic::Response::into_inner).map(|found| found.subscribers.iter().any(at_least)))
            }
            BackgroundWrite::Tenant(name) => {
                let request = pb::GetNamespaceRequest { name: name.clone() };
                let found = tried(caller.admin.clone().get_namespace(request)).await;
                differs(
                    found
                        .map(tonic::Response::into_inner)
                        .map(|found| found.namespace.is_some_and(|found| found.name == *name)),
                )
            }
        }
    }
}

/// Returns what is wrong with an answer.
fn differs(same: Result<bool, ClientError>) -> Option<String> {
    match same {
        Ok(true) => None,
        Ok(false) => Some("it is another one now, or none".to_owned()),
        Err(error) => Some(error.to_string()),
    }
}
