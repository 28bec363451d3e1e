//! Writes commands as somebody types them to go on: with `-n` where they would be about another namespace without it.
//!
//! Boundary: text for people. A command in it can be copied and run as it is.

use crate::cli::global::Global;
use crate::client::name::NamespaceId;

/// Commands that are about no namespace, or name it in an argument of their own.
const WITHOUT_NAMESPACE: [&str; 7] =
    ["guardrail test", "import", "keys", "namespace", "role grant admin MEMBER --all-namespaces", "token", "verify"];
/// How a command begins in a text that has several of them.
const QUOTED: &str = "`policyhub ";

/// Says which namespace commands are about, with `-n` and without it.
#[derive(Debug, Clone)]
pub struct TypedCommands {
    /// The namespace of the command that runs.
    namespace: NamespaceId,
    /// The namespace of a command without `-n`: that of the context, else the default one.
    unnamed: NamespaceId,
}

impl TypedCommands {
    /// Returns how to go on after a command with these flags.
    ///
    /// # Errors
    /// The namespace of the context is not a valid id.
    pub fn after(global: &Global) -> anyhow::Result<Self> {
        Ok(Self { namespace: global.namespace()?, unnamed: global.unnamed_namespace()? })
    }

    /// Returns a command as it is typed for the namespace of the command that runs.
    #[must_use]
    pub fn command(&self, command: &str) -> String {
        self.command_in(&self.namespace, command)
    }

    /// Returns a command as it is typed for a namespace.
    #[must_use]
    pub fn command_in(&self, namespace: &NamespaceId, command: &str) -> String {
        let is_about_one = !WITHOUT_NAMESPACE.iter().any(|other| command.starts_with(other));
        if is_about_one && *namespace != self.unnamed {
            format!("policyhub -n {namespace} {command}")
        } else {
            format!("policyhub {command}")
        }
    }

    /// Returns a text with its commands as they are typed for a namespace; none: that of the command that runs.
    #[must_use]
    pub fn fill(&self, text: &str, namespace: Option<&NamespaceId>) -> String {
        let namespace = namespace.unwrap_or(&self.namespace);
        let mut parts = text.split(QUOTED);
        let first = parts.next().unwrap_or_default().to_owned();
        parts.fold(first, |filled, command| filled + "`" + &self.command_in(namespace, command))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn namespace(id: &str) -> NamespaceId {
        NamespaceId::parse("namespace", id).expect("an id")
    }

    #[test]
    fn a_command_names_its_namespace_where_it_must() {
        for (used, unnamed, expected) in [
            ("default", "default", "policyhub stage p@1"),
            ("team-a", "default", "policyhub -n team-a stage p@1"),
            ("team-a", "team-a", "policyhub stage p@1"),
            ("default", "team-a", "policyhub -n default stage p@1"),
        ] {
            let commands = TypedCommands { namespace: namespace(used), unnamed: namespace(unnamed) };
            assert_eq!(commands.command("stage p@1"), expected, "{used} and {unnamed}");
        }
    }

    #[test]
    fn each_command_of_a_text_names_it() {
        let commands = TypedCommands { namespace: namespace("team-a"), unnamed: namespace("default") };
        let text = "`policyhub publish p@1` or `policyhub namespace list`, then more";
        assert_eq!(
            commands.fill(text, None),
            "`policyhub -n team-a publish p@1` or `policyhub namespace list`, then more"
        );
        let other = namespace("team-b");
        assert_eq!(commands.fill("see `policyhub history p`", Some(&other)), "see `policyhub -n team-b history p`");
        assert_eq!(commands.fill("wait", None), "wait");
    }
}
