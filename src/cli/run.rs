//! Runs the command line: from arguments to exit code.

use std::time::Duration;

use clap::FromArgMatches as _;

use crate::checks::worker_messages::CHECK_WORKER_COMMAND;
use crate::cli::command_line::{Cli, Command};
use crate::cli::commands::{
    abandon, activate, active, adopt, agent, approve, backup, check, completions, console, context, convergence,
    deactivate, denials, diff, draft, edit, epoch, events, export, guardrail, guardrail_test, history, import, keys,
    man, namespace, policy, publish, reject, report, restore, role, rollback, runs, schedule, server_commands, show,
    stage, subscribers, token, verify, verify_log, watch,
};
use crate::cli::exit_code::{UsageError, exit_code};
use crate::cli::failure::explain;
use crate::cli::global::Global;
use crate::cli::output::document::{Format, say, say_lines};
use crate::cli::session::Session;
use crate::cli::typed_commands::TypedCommands;
use crate::cli::{completer, overview, release};
use crate::server::{self, survive_file_size_limit};

/// How long work that can't be stopped may delay the end of the process.
const RUNTIME_END_MAX: Duration = Duration::from_secs(1);

/// Runs the command of this process's arguments and returns its exit code.
pub fn main() -> u8 {
    if std::env::args_os().nth(1).is_some_and(|command| command == CHECK_WORKER_COMMAND) {
        // No runtime here: its threads would keep the privileges that a worker drops.
        return check_worker();
    }
    completer::answer_scripts();
    let cli = Cli::from_arg_matches(&overview::command().get_matches()).unwrap_or_else(|error| error.exit());
    match tokio::runtime::Runtime::new() {
        Ok(runtime) => {
            let code = runtime.block_on(run_command(cli));
            runtime.shutdown_timeout(RUNTIME_END_MAX);
            code
        }
        Err(error) => {
            say(&format!("error: failed to start: {error}"));
            1
        }
    }
}

/// Evaluates what a server asks, as a process of its own, and returns its exit code.
fn check_worker() -> u8 {
    match server::check_worker() {
        Ok(()) => 0,
        Err(error) => {
            say(&format!("error: {error:#}"));
            1
        }
    }
}

/// Returns 0: done; 1: failed; 2: usage; 3: partial. Errors are printed to stderr.
async fn run_command(cli: Cli) -> u8 {
    cli.global.color.apply();
    if let Err(error) = survive_file_size_limit() {
        say(&format!("warning: a limit of the size of files would end this process: {error}"));
    }
    exit_code_of(&cli.global, dispatch(&cli.global, cli.command).await)
}

fn exit_code_of(global: &Global, done: anyhow::Result<()>) -> u8 {
    match done {
        Ok(()) => 0,
        Err(error) => {
            // A context that can't be read may be the very error.
            let commands = global.in_context().and_then(|global| TypedCommands::after(&global)).ok();
            say_lines(&explain(&error, commands.as_ref()));
            exit_code(&error)
        }
    }
}

async fn dispatch(global: &Global, command: Command) -> anyhow::Result<()> {
    if global.output == Format::Sarif && !matches!(command, Command::Check(_) | Command::Report(_)) {
        return Err(UsageError("--output sarif is for check and report".to_owned()).into());
    }
    match command {
        Command::Serve(arguments) => server_commands::serve(arguments).await,
        Command::Migrate(arguments) => server_commands::migrate(arguments).await,
        Command::Backup(arguments) => backup::run(global.output, arguments).await,
        Command::Restore(arguments) => restore::run(global.output, arguments).await,
        Command::Epoch(command) => epoch::run(global.output, command).await,
        Command::Config(command) => server_commands::config(global.output, command),
        Command::Context(command) => context::run(global, command),
        Command::Completions(arguments) => completions::run(&arguments),
        Command::Man(arguments) => man::run(overview::command(), &arguments),
        Command::Token(token::TokenCommands::Issue(arguments)) => token::issue(&arguments),
        Command::Console(arguments) => console::run(&global.in_context()?, arguments).await,
        Command::Agent(arguments) => agent::run(&global.in_context()?, arguments).await,
        Command::Check(arguments) => check::run(global, arguments).await,
        Command::Guardrail(guardrail::GuardrailCommands::Test(arguments)) => {
            guardrail_test::run(global, &arguments).await
        }
        Command::Release(arguments) => release::run(&global.in_context()?, arguments).await,
        Command::Verify(arguments) => match arguments.of_log() {
            None => verify::run(global.output, &arguments),
            Some(log) => match &log.from {
                Some(from) => verify_log::run_offline(global.output, log, from),
                None => verify_log::run_online(&Session::open(&global.in_context()?).await?, log).await,
            },
        },
        command => {
            check(&command)?;
            call(&Session::open(&global.in_context()?).await?, command).await
        }
    }
}

/// Checks for usage errors that the parser can't see, before connecting.
fn check(command: &Command) -> Result<(), UsageError> {
    match command {
        Command::Activate(arguments) => arguments.check(),
        Command::Adopt(arguments) => arguments.check(),
        Command::Draft(arguments) => arguments.check(),
        Command::Namespace(command) => command.check(),
        Command::Policy(command) => command.check(),
        _ => Ok(()),
    }
}

/// Runs a command that needs a server.
async fn call(session: &Session, command: Command) -> anyhow::Result<()> {
    match command {
        Command::Adopt(arguments) => adopt::run(session, arguments).await,
        Command::Draft(arguments) => draft::run(session, arguments).await,
        Command::Edit(arguments) => edit::run(session, arguments).await,
        Command::Stage(arguments) => stage::run(session, arguments).await,
        Command::Approve(arguments) => approve::run(session, arguments).await,
        Command::Reject(arguments) => reject::run(session, arguments).await,
        Command::Publish(arguments) => publish::run(session, arguments).await,
        Command::Activate(arguments) => activate::run(session, arguments).await,
        Command::Rollback(arguments) => rollback::run(session, arguments).await,
        Command::Deactivate(arguments) => deactivate::run(session, arguments).await,
        Command::Abandon(arguments) => abandon::run(session, arguments).await,
        Command::Active(arguments) => active::run(session, arguments).await,
        Command::History(arguments) => history::run(session, arguments).await,
        Command::Show(arguments) => show::run(session, arguments).await,
        Command::Diff(arguments) => diff::run(session, arguments).await,
        Command::Report(arguments) => report::run(session, arguments).await,
        Command::Events(arguments) => events::run(session, arguments).await,
        Command::Watch(arguments) => watch::run(session, arguments).await,
        Command::Subscribers(arguments) => subscribers::run(session, arguments).await,
        Command::Denials(arguments) => denials::run(session, arguments).await,
        Command::Convergence(arguments) => convergence::run(session, arguments).await,
        Command::Export(arguments) => export::run(session, arguments).await,
        Command::Import(arguments) => import::run(session, arguments).await,
        Command::Run(command) => runs::run(session, command).await,
        Command::Schedule(command) => schedule::run(session, command).await,
        Command::Guardrail(command) => guardrail::run(session, command).await,
        Command::Role(command) => role::run(session, command).await,
        Command::Namespace(command) => namespace::run(session, command).await,
        Command::Policy(command) => policy::run(session, command).await,
        Command::Keys(command) => keys::run(session, command).await,
        Command::Token(token::TokenCommands::Revoke(arguments)) => token::revoke(session, &arguments).await,
        Command::Serve(_)
        | Command::Agent(_)
        | Command::Console(_)
        | Command::Check(_)
        | Command::Migrate(_)
        | Command::Backup(_)
        | Command::Restore(_)
        | Command::Epoch(_)
        | Command::Config(_)
        | Command::Context(_)
        | Command::Completions(_)
        | Command::Man(_)
        | Command::Release(_)
        | Command::Token(token::TokenCommands::Issue(_))
        | Command::Verify(_) => anyhow::bail!("this command needs no server"),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[tokio::test]
    async fn usage_errors_need_no_server() {
        for line in [
            "policyhub activate p@1 --reason x --expected q=1",
            "policyhub policy update p",
            "policyhub namespace update n",
        ] {
            let cli = Cli::try_parse_from(line.split_whitespace()).expect(line);
            assert_eq!(run_command(cli).await, 2, "{line}");
        }
    }
}
