//! Opens a text in the user's editor, in a folder that nobody else can read.
//!
//! Invariant: what the user wrote is removed only by `EditedFile::discard`; whoever does not call it says where the file is.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, IsTerminal as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use anyhow::Context as _;

use crate::cli::content;
use crate::cli::exit_code::CommandReason;
use crate::client::new_request_id;

/// Runs the editor as git does: the shell splits the variable, so that it may hold options and quotes.
const EDITOR: &str = r#"eval "${VISUAL:-${EDITOR:-vi}}"' "$@"'"#;

/// Whether the user named an editor.
fn has_editor() -> bool {
    ["VISUAL", "EDITOR"].iter().any(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()))
}

/// A file to edit.
#[derive(Debug)]
pub struct EditedFile {
    folder: PathBuf,
    path: PathBuf,
}

impl EditedFile {
    /// Writes a text to a new file with this name, in a new folder of its own.
    ///
    /// # Errors
    /// The folder or the file can't be made.
    pub fn create(name: &str, text: &[u8]) -> anyhow::Result<Self> {
        let folder = std::env::temp_dir().join(format!("policyhub-edit-{}", new_request_id()));
        // It fails when something is there: a link that another user made is not followed.
        let made = DirBuilder::new().mode(0o700).create(&folder);
        made.with_context(|| format!("failed to make {}", folder.display()))?;
        let file = Self { path: folder.join(name), folder };
        let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&file.path);
        match opened.and_then(|mut opened| opened.write_all(text)) {
            Ok(()) => Ok(file),
            Err(error) => {
                let failed = format!("failed to write {}", file.path.display());
                file.discard();
                Err(error).context(failed)
            }
        }
    }

    /// Returns where the file is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Runs the editor and returns the text as it is then.
    ///
    /// # Errors
    /// The editor can't be started or fails, or its file can't be read or is too large.
    pub fn edit(&self) -> anyhow::Result<Vec<u8>> {
        // vi would wait for keys that nobody can press.
        let is_on_terminal = io::stdin().is_terminal() && io::stdout().is_terminal();
        if !(has_editor() || is_on_terminal) {
            let message = "there is no editor to open: set VISUAL or EDITOR, or run this on a terminal";
            return Err(CommandReason::EditorFailed.error(message.to_owned()));
        }
        let mut command = Command::new("/bin/sh");
        command.arg("-c").arg(EDITOR).arg("editor").arg(&self.path);
        let status: ExitStatus = command.status().context("failed to start the editor")?;
        if !status.success() {
            let message = format!("the editor failed ({status}); set VISUAL or EDITOR to one that works");
            return Err(CommandReason::EditorFailed.error(message));
        }
        content::read(&self.path)
    }

    /// Whether the file has exactly this text.
    #[must_use]
    pub fn has(&self, text: &[u8]) -> bool {
        fs::read(&self.path).is_ok_and(|found| found == text)
    }

    /// Removes the file and its folder. What can't be removed stays in the folder for temporary files.
    pub fn discard(self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}
