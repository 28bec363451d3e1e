//! A git repository of policies, and releases from it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::harness::Hub;
use crate::harness::hub::binary;

/// A repository that is removed when it is dropped.
pub struct Repository {
    _directory: TempDir,
    pub path: PathBuf,
}

/// Exit code and output of a release.
#[derive(Debug)]
pub struct CommandEnd {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl CommandEnd {
    pub fn of(output: &Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
        let code = output.status.code().expect("a code");
        Self { code, stdout: text(&output.stdout), stderr: text(&output.stderr) }
    }

    /// Returns the document of `--output json`.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Returns `name outcome` of each version, in the order of the output.
    #[track_caller]
    pub fn outcomes(&self) -> Vec<String> {
        let document = self.json();
        let versions = document["versions"].as_array().expect("versions").clone();
        let word = |version: &Value, field: &str| version[field].as_str().expect("a word").to_owned();
        versions.iter().map(|version| format!("{} {}", word(version, "name"), word(version, "outcome"))).collect()
    }

    /// Returns the error of a version, or of an invalid folder.
    #[track_caller]
    pub fn error_of(&self, name: &str) -> String {
        let document = self.json();
        let received = document["versions"].as_array().expect("versions");
        let one = received.iter().find(|one| one["name"] == name).unwrap_or_else(|| panic!("{name:?}: {self:#?}"));
        one["error"].as_str().expect("an error").to_owned()
    }

    /// Returns the lines under a name: "warnings", "notes" or "problems".
    #[track_caller]
    pub fn lines(&self, name: &str) -> Vec<String> {
        serde_json::from_value(self.json()[name].clone()).expect("texts")
    }

    /// Checks exit code and status.
    #[track_caller]
    pub fn is(&self, code: i32, status: &str) -> &Self {
        assert_eq!((self.code, self.json()["status"].as_str()), (code, Some(status)), "{self:#?}");
        self
    }
}

/// Removes the environment variables of GitHub jobs, because the tests may run in one.
pub fn away_from_github(command: &mut Command) -> &mut Command {
    command.env_remove("GITHUB_STEP_SUMMARY").env_remove("GITHUB_OUTPUT").env_remove("GITHUB_ACTIONS")
}

impl Repository {
    /// Returns an empty repository.
    pub fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("policies repository");
        std::fs::create_dir(&path).expect("made");
        let repository = Self { _directory: directory, path };
        repository.git(&["init", "--quiet", "--initial-branch=main"]);
        repository.be_somebody();
        repository
    }

    /// Returns a clone, with further arguments of `git clone`.
    pub fn cloned(from: &Self, arguments: &[&str]) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("clone");
        let mut command = Command::new("git");
        command.args(["clone", "--quiet"]).args(arguments).arg(format!("file://{}", from.path.display())).arg(&path);
        assert!(command.status().expect("git runs").success());
        let clone = Self { _directory: directory, path };
        clone.be_somebody();
        clone
    }

    /// Returns a bare repository that others push to, and a clone of it.
    pub fn with_remote() -> (TempDir, Self) {
        let remote = tempfile::tempdir().expect("a directory");
        let mut init = Command::new("git");
        init.args(["init", "--quiet", "--bare", "--initial-branch=main"]).arg(remote.path());
        assert!(init.status().expect("git runs").success());
        let repository = Self::new();
        repository.git(&["remote", "add", "origin", &remote.path().display().to_string()]);
        (remote, repository)
    }

    fn be_somebody(&self) {
        for (name, value) in [("user.name", "tests"), ("user.email", "tests@example.com"), ("commit.gpgsign", "false")]
        {
            self.git(&["config", name, value]);
        }
    }

    /// Runs git and returns its output.
    pub fn git(&self, arguments: &[&str]) -> String {
        let output = Command::new("git").arg("-C").arg(&self.path).args(arguments).output().expect("git runs");
        assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("UTF-8").trim().to_owned()
    }

    /// Writes a file.
    pub fn write(&self, path: impl AsRef<Path>, content: impl AsRef<[u8]>) {
        let path = self.path.join(path);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("made");
        std::fs::write(path, content).expect("written");
    }

    /// Writes a version folder with YAML in it.
    pub fn version(&self, policy: &str, label: &str, content: &str) {
        self.metadata(policy, label);
        self.write(format!("policies/{policy}/v{label}/policy-definition.yaml"), content);
    }

    /// Returns the annotations that a release stores for the metadata of a version.
    pub fn annotations() -> HashMap<String, String> {
        [("displayName", "any"), ("others", "1")].map(|(key, value)| (key.to_owned(), value.to_owned())).into()
    }

    /// Writes the metadata of a version.
    pub fn metadata(&self, policy: &str, label: &str) {
        let metadata = serde_json::json!({"name": policy, "version": label, "displayName": "any", "others": [1]});
        self.write(format!("policies/{policy}/v{label}/metadata.json"), metadata.to_string());
    }

    /// Removes a file or a folder.
    pub fn remove(&self, path: &str) {
        let path = self.path.join(path);
        if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) }.expect("removed");
    }

    /// Commits everything but `.state` and returns the commit.
    pub fn commit(&self) -> String {
        self.git(&["add", "--all", "--", ".", ":!.state"]);
        self.git(&["commit", "--quiet", "--allow-empty", "--message", "a change"]);
        self.head()
    }

    /// Returns the commit that HEAD names.
    pub fn head(&self) -> String {
        self.git(&["rev-parse", "HEAD"])
    }

    /// Returns a release command, ready to run.
    pub fn command(&self, hub: &Hub, arguments: &[&str]) -> Command {
        self.on(hub.cli(), arguments)
    }

    fn on(&self, mut command: Command, arguments: &[&str]) -> Command {
        away_from_github(&mut command).current_dir(&self.path).stdin(Stdio::null());
        command.args(["release", "--output", "json"]).args(arguments);
        command
    }

    /// Runs a release.
    pub fn release(&self, hub: &Hub, arguments: &[&str]) -> CommandEnd {
        CommandEnd::of(&self.command(hub, arguments).output().expect("it runs"))
    }

    /// Runs a release with another `--output` or another server.
    pub fn run(&self, mut command: Command, arguments: &[&str]) -> CommandEnd {
        away_from_github(&mut command).current_dir(&self.path).stdin(Stdio::null());
        CommandEnd::of(&command.arg("release").args(arguments).output().expect("it runs"))
    }

    /// Runs a release against an address without a server.
    pub fn release_to_nobody(&self, arguments: &[&str]) -> CommandEnd {
        let mut command = binary();
        // A port that was free a moment ago, and that the system does not assign again soon.
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        drop(listener);
        command.env("POLICYHUB_SERVER", format!("http://127.0.0.1:{port}"));
        CommandEnd::of(&self.on(command, arguments).output().expect("it runs"))
    }

    /// Returns `baseline.sha`; empty when it is missing.
    pub fn baseline(&self) -> String {
        std::fs::read_to_string(self.path.join(".state/baseline.sha")).unwrap_or_default().trim().to_owned()
    }

    /// Returns `delivered.json`; null when it is missing.
    pub fn delivered(&self) -> Value {
        match std::fs::read(self.path.join(".state/delivered.json")) {
            Ok(bytes) => serde_json::from_slice(&bytes).expect("whole, whenever it is read"),
            Err(_) => Value::Null,
        }
    }

    /// Returns the names in `delivered.json`.
    pub fn delivered_names(&self) -> Vec<String> {
        self.delivered()["versions"].as_object().map(|all| all.keys().cloned().collect()).unwrap_or_default()
    }
}
