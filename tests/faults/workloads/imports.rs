//! Moves a namespace: exports it and imports it under another name with an operator's commands, repeated until they succeed.

use std::process::{Command, Stdio};
use std::time::Duration;

use policyhub::api::pb;
use tokio::time::sleep;

use super::{AGAIN, Promised, WorkloadContext};
use crate::calls::tried;

/// Number of versions of a namespace that is moved.
const VERSIONS: u64 = 3;
/// Messages that a command may print because of a fault; then the same command runs again.
const FAULTS: [&str; 10] = [
    "UNAVAILABLE",
    "unavailable",
    "DEADLINE_EXCEEDED",
    "deadline",
    "DATABASE_",
    "OUTCOME_UNKNOWN",
    "TOKEN_",
    "failed to connect",
    "transport error",
    "locked by somebody else",
];
/// How long one run of a command may take before it is stopped.
const COMMAND_MAX: Duration = Duration::from_secs(20);

/// Moves one namespace after the other until the schedule ends.
pub async fn run(mut context: WorkloadContext, token: String) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    while !context.recorder.stopped() {
        let _ = transfer(&mut context, &token, directory.path()).await;
        for _ in 0..3 {
            context.pause().await;
        }
    }
}

async fn transfer(context: &mut WorkloadContext, token: &str, directory: &std::path::Path) -> Option<()> {
    let request_id = context.next_id();
    let (from, to) = (format!("source-{}", context.count), format!("moved-{}", context.count));
    let request = pb::CreateNamespaceRequest { namespace_id: from.clone(), request_id, ..Default::default() };
    let made = context
        .admin(|mut caller| {
            let request = request.clone();
            async move { caller.admin.create_namespace(request).await }
        })
        .await?;
    context.expect(&format!("{from} is made"), made)?;
    let mut digests = Vec::new();
    for number in 0..VERSIONS {
        digests.push(version(context, &from, number).await?);
    }
    let file = directory.join(format!("{from}.jsonl")).display().to_string();
    run_command(context, token, &["export", &from, "--out", &file]).await?;
    run_command(context, token, &["import", &file, "--into", &to, "--create"]).await?;
    context.promised(Promised::new(format!("{from} was imported as {to}"), move |caller| {
        let (name, digests) = (format!("namespaces/{to}"), digests.clone());
        async move {
            let request = pb::ListVersionsRequest { parent: format!("{name}/policies/p"), ..Default::default() };
            let listed = tried(caller.policy.clone().list_versions(request)).await?.into_inner().versions;
            let there = |digest: &String| {
                let same = |found: &&pb::Version| found.digest == *digest;
                listed.iter().find(same).is_some_and(|found| found.state() == pb::VersionState::Published)
            };
            let request = pb::GetNamespaceRequest { name };
            let found = tried(caller.admin.clone().get_namespace(request)).await?.into_inner().namespace;
            let finished = found.is_some_and(|found| found.imports.len() == 1 && found.imports[0].finished);
            Ok(finished && listed.len() == digests.len() && digests.iter().all(there))
        }
    }));
    Some(())
}

/// Publishes a version and returns its digest.
async fn version(context: &mut WorkloadContext, namespace: &str, number: u64) -> Option<String> {
    let request = pb::DraftRequest {
        parent: format!("namespaces/{namespace}/policies/p"),
        content: format!("number: {number}\n").into(),
        content_type: "application/yaml".to_owned(),
        allow_missing: true,
        request_id: context.next_id(),
        ..Default::default()
    };
    let drafted = context
        .admin(|mut caller| {
            let request = request.clone();
            async move { caller.policy.draft(request).await }
        })
        .await?;
    let drafted = context.expect(&format!("a draft in {namespace}"), drafted)?.version?;
    let request = pb::PublishRequest { name: drafted.name, request_id: context.next_id(), ..Default::default() };
    let published = context
        .admin(|mut caller| {
            let request = request.clone();
            async move { caller.policy.publish(request).await }
        })
        .await?;
    Some(context.expect(&format!("a publication in {namespace}"), published)?.version?.digest)
}

/// Runs a command until it succeeds: `None` when the schedule ended before, or it was refused.
async fn run_command(context: &mut WorkloadContext, token: &str, arguments: &[&str]) -> Option<()> {
    loop {
        let replica = context.replica();
        let mut command = Command::new(crate::server::binary());
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("POLICYHUB_")) {
            command.env_remove(name);
        }
        command.env("POLICYHUB_SERVER", format!("http://{}", context.admins[replica].address));
        command.env("POLICYHUB_TOKEN", token).args(arguments);
        let said = match output(context, command).await? {
            Ok(()) => return Some(()),
            Err(said) => said,
        };
        if !FAULTS.iter().any(|fault| said.contains(fault)) {
            context.promise(format!("`policyhub {}` is through", arguments.join(" ")), Some(said));
            return None;
        }
        if context.recorder.stopped() {
            return None;
        }
        sleep(AGAIN).await;
    }
}

/// Returns the error of a failed command: `None` when it was stopped because the schedule ended.
async fn output(context: &WorkloadContext, mut command: Command) -> Option<Result<(), String>> {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it runs");
    let began = context.recorder.now();
    while child.try_wait().expect("a child").is_none() {
        let late = context.recorder.now() - began > COMMAND_MAX;
        if context.recorder.stopped() || late {
            let _ = child.kill();
            let _ = child.wait();
            return late.then(|| Err(format!("{} after {COMMAND_MAX:?}", FAULTS[0])));
        }
        sleep(AGAIN).await;
    }
    let output = child.wait_with_output().expect("its output");
    Some(if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) })
}
