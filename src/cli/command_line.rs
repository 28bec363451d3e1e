//! Defines the command line: the global flags and the list of commands.
//!
//! The arguments of a command are in the file of the command.

use clap::{Parser, Subcommand};

use crate::cli::commands::{
    abandon, activate, active, adopt, agent, approve, backup, check, completions, console, context, convergence,
    deactivate, denials, diff, draft, edit, epoch, events, export, guardrail, history, import, keys, man, namespace,
    policy, publish, reject, report, restore, role, rollback, runs, schedule, server_commands, show, stage,
    subscribers, token, verify, watch,
};
use crate::cli::global::Global;
use crate::cli::release;

/// Policy Hub: versions of policies, signed, activated, rolled back, and watched.
#[derive(Debug, Parser)]
#[command(name = "policyhub", version, propagate_version = true, arg_required_else_help = true)]
pub struct Cli {
    /// Flags of every client command.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Every command.
#[derive(Debug, Subcommand)]
pub enum Command {
    Check(check::CheckArguments),
    Draft(draft::DraftArguments),
    Edit(edit::EditArguments),
    Stage(stage::StageArguments),
    Approve(approve::ApproveArguments),
    Reject(reject::RejectArguments),
    Publish(publish::PublishArguments),
    Activate(activate::ActivateArguments),
    Rollback(rollback::RollbackArguments),
    Deactivate(deactivate::DeactivateArguments),
    Abandon(abandon::AbandonArguments),
    Active(active::ActiveArguments),
    History(history::HistoryArguments),
    Show(show::ShowArguments),
    Diff(diff::DiffArguments),
    Report(report::ReportArguments),
    Events(events::EventsArguments),
    Console(console::ConsoleArguments),
    Watch(watch::WatchArguments),
    Agent(agent::AgentArguments),
    Subscribers(subscribers::SubscribersArguments),
    Denials(denials::DenialsArguments),
    Convergence(convergence::ConvergenceArguments),
    Verify(verify::VerifyArguments),
    Export(export::ExportArguments),
    Import(import::ImportArguments),
    Release(release::ReleaseArguments),
    Adopt(adopt::AdoptArguments),
    /// Schedules: create, list, show, cancel, resume
    #[command(subcommand)]
    Schedule(schedule::ScheduleCommands),
    /// Namespaces: create, list, show, update
    #[command(subcommand)]
    Namespace(namespace::NamespaceCommands),
    /// Policies: create, list, show, update
    #[command(subcommand)]
    Policy(policy::PolicyCommands),
    /// Guardrails: list, set, apply, delete, test
    #[command(subcommand)]
    Guardrail(guardrail::GuardrailCommands),
    /// Roles: grant, list, revoke
    #[command(subcommand)]
    Role(role::RoleCommands),
    /// Runs: record, complete, get, list
    #[command(subcommand)]
    Run(runs::RunsCommands),
    /// Signing keys
    #[command(subcommand)]
    Keys(keys::KeysCommands),
    /// Tokens: issue, revoke
    #[command(subcommand)]
    Token(token::TokenCommands),
    Serve(server_commands::Serve),
    Migrate(server_commands::Migrate),
    Backup(backup::BackupArguments),
    Restore(restore::RestoreArguments),
    /// The epoch of the store: show, bump
    #[command(subcommand)]
    Epoch(epoch::EpochCommands),
    /// Servers by name: set, use, list, remove
    #[command(subcommand)]
    Context(context::ContextCommands),
    /// The configuration of the server
    #[command(subcommand)]
    Config(server_commands::ConfigCommands),
    Completions(completions::CompletionsArguments),
    Man(man::ManArguments),
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(std::iter::once("policyhub").chain(line.split_whitespace()))
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_has_an_example() {
        fn walk(command: &clap::Command, path: &str) {
            let mut leaf = true;
            for inner in command.get_subcommands().filter(|inner| !inner.is_hide_set()) {
                leaf = false;
                walk(inner, &format!("{path} {}", inner.get_name()));
            }
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(!leaf || help.contains(path), "{path} has no example of its own: {help:?}");
            assert!(command.get_about().is_some(), "{path} does not say what it does");
        }
        walk(&Cli::command(), "policyhub");
    }

    const MANUAL: &[&str] = &[
        "context set prod --server https://hub.example:7070 -n pricing --token-file prod.token --ca-cert ca.pem",
        "context use prod",
        "context list",
        "context remove prod",
        "active --context prod",
        "draft pricing pricing.yaml --label 1.2.0 --note first --create --base-version 1 --validate-only",
        "draft pricing - --content-type application/json --request-id 3f2a",
        "draft pricing pricing.yaml --supersede-staged",
        "draft pricing pricing.yaml --bump minor",
        "draft pricing --from-template refunds@3 --set limit=500 --set region=eu --create --kind yaml",
        "draft pricing --from-template refunds --label 1.0.0",
        "edit pricing --bump minor --note more --supersede-staged",
        "edit pricing --label 1.2.0 --validate-only --request-id 3f2a",
        "draft pricing - --create --kind opaque --content-type application/vnd.cedar",
        "policy update pricing --kind yaml",
        "check policies pricing.yaml --policy pricing --kind yaml --rules rules.yaml --output sarif",
        "guardrail test one.yaml two.yaml",
        "stage pricing",
        "stage pricing@3",
        "stage pricing@v1.2.0",
        "approve pricing@3 --digest sha256:00 --reason fine --request-id r",
        "reject pricing@v1.2.0 --digest sha256:00 --reason bad",
        "publish pricing@3 --activate --reason launch --etag abc",
        "publish pricing@3 --break-glass --reason fire",
        "activate pricing@3 --reason launch --expected pricing=2 --dry-run",
        "activate pricing@3 limits@v1.0.0 project_discovery/v1.0.0 --reason launch --expected pricing=v1.2.0",
        "rollback pricing --reason bad",
        "rollback pricing --to 2 --reason bad --copy-forward --skip-validation",
        "rollback pricing --to pricing/v1.2.0 --reason bad",
        "deactivate pricing --reason over",
        "schedule create launch pricing@3 limits@v1.0.0 --at 2026-12-01T00:00:00Z --reason season",
        "schedule cancel launch --reason over --etag e",
        "abandon pricing@4",
        "active",
        "active pricing --at-revision 7",
        "active --at-time 2026-01-02T03:04:05Z --save out",
        "history pricing --limit 5",
        "show pricing@active",
        "diff pricing 1 v1.2.0",
        "report pricing@latest",
        "events --after 4 --limit 10 --newest",
        "events pricing",
        "events --imported --since 2026-01-02T03:04:05Z --filter revision<9",
        "events --policy pricing --since 2026-01-02T03:04:05Z --until 2026-02-02T03:04:05Z --actor ci --kind activate --kind ROLLBACK",
        "watch pricing limits --resume 1:42 --latest --until-revision 50 --metadata-only --jwks keys.json",
        "watch --subscriber-id shop-1 --label app=shop --label zone=a --report",
        "agent --dir policies pricing --jwks k --subscriber-id s --label a=b --check c --hook h --hook-timeout 5s --keep 9",
        "agent --dir policies --once --wait 10s",
        "subscribers --limit 7",
        "convergence 42",
        "convergence 1:42 --wait 30s",
        "run record job/7 pricing limits --at 1:42",
        "run get job/7",
        "verify --jwks k --manifest m --content c --statement s",
        "release",
        "release ../policies --jobs 8 --dry-run --output json",
        "release --activate --reason spring --commit --summary release.md",
        "verify --log",
        "verify --log team-a --jwks k --seal-jwks s",
        "verify --log --from f --expect-head 1:2:0000000000000000000000000000000000000000000000000000000000000000",
        "export team-a --out f",
        "import f --into team-a --create --dry-run",
        "keys list --seal-jwks",
        "namespace create team-a --description x",
        "namespace list",
        "namespace show team-a",
        "namespace create team-a --max-policies 5 --reads-per-second 0",
        "namespace update team-a --description x --max-content-bytes 5000000000 --max-streams 7 --dry-run",
        "policy create pricing --kind yaml --max-open-drafts 1",
        "policy list",
        "policy show pricing",
        "policy update pricing --json-schema schema.json --allow-backport true",
        "keys list",
        "keys prepare --algorithm ES256 --request-id 1",
        "keys activate -PrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k --reason x",
        "keys revoke kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k --reason x --resign",
        "token issue --subject ci --ttl 1h",
        "token issue --subject ci --ttl 1h --group ops --group dev",
        "token revoke --id abc --reason lost",
        "token revoke --subject local:ci --reason left",
        "token revoke --file ci.token --reason lost",
        "--client-cert c.pem --client-key k.pem active",
        "serve",
        "migrate",
        "backup f --force --accept-findings --data-dir d",
        "restore f --force --data-dir d",
        "config check",
        "-n team-a --output json --server https://hub:7070 active",
    ];

    #[test]
    fn lines_of_the_manual_parse() {
        for line in MANUAL {
            if let Err(error) = parse(line) {
                panic!("{line}: {error}");
            }
        }
    }

    #[test]
    fn lines_of_files_and_shells_parse() {
        for line in [
            "activate --from active_releases.json --reason launch --dry-run",
            "activate --from - --reason launch",
            "active --format active-releases --at-revision 7",
            "completions bash",
            "man",
            "man --dir out",
            "--color never diff pricing 1 2",
            "watch --heartbeats",
        ] {
            assert!(parse(line).is_ok(), "{line}");
        }
    }

    const REFUSED: &[&str] = &[
        "activate pricing@3",
        "activate pricing --reason x",
        "activate --from f",
        "activate --reason x",
        "activate pricing@3 --from f --reason x",
        "activate --from f --reason x --expected pricing=1",
        "active pricing --format active-releases",
        "active --format json",
        "rollback pricing",
        "deactivate pricing",
        "schedule create launch pricing@3 --reason x",
        "schedule create launch --at 2026-12-01T00:00:00Z --reason x",
        "publish pricing --activate",
        "publish pricing@3 --break-glass",
        "approve pricing@3",
        "approve pricing --digest sha256:00",
        "reject pricing@3 --digest sha256:00",
        "abandon pricing",
        "stage Pricing",
        "stage pricing@0",
        "rollback pricing --to 0 --reason bad",
        "activate pricing@3 --reason x --expected pricing=latest",
        "activate pricing@3 --reason x --expected pricing=limits/v1.0.0",
        "show pricing@v1",
        "active --at-revision 3 --at-time 2026-01-02T03:04:05Z",
        "active --at-time yesterday",
        "watch --resume 42",
        "watch --report",
        "watch --label app=shop",
        "watch --subscriber-id s --label app",
        "agent",
        "agent --dir policies --wait 10s",
        "agent --dir policies --keep 0",
        "convergence",
        "convergence 42 --wait 30",
        "run complete job open",
        "namespace update team-a --max-policies -1",
        "namespace update team-a --reads-per-second 2147483648",
        "keys prepare --algorithm RS256",
        "keys revoke kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k",
        "activate pricing@3 --reason x --expected pricing",
        "-n Team active",
        "--output xml active",
        "token issue --subject ci --ttl 1y",
        "token revoke --id abc",
        "token revoke --reason lost",
        "token revoke --id abc --subject local:ci --reason lost",
        "--client-cert c.pem active",
        "draft pricing f --request-id ä",
        "draft pricing f --label 1.0.0 --bump minor",
        "edit pricing --label 1.0.0 --bump minor",
        "draft pricing",
        "draft pricing f --from-template refunds",
        "draft pricing f --set a=1",
        "draft pricing --from-template refunds --content-type application/json",
        "events pricing --policy limits",
        "events --kind nothing",
        "events pricing --imported",
        "backup",
        "restore f --digest sha256:00",
        "completions",
        "completions sh",
        "--color blue active",
        "unknown",
    ];

    #[test]
    fn bad_lines_are_usage_errors() {
        for line in REFUSED {
            match parse(line) {
                Ok(cli) => panic!("{line} must be refused: {cli:?}"),
                Err(error) => assert_eq!(error.exit_code(), 2, "{line}"),
            }
        }
    }
}
