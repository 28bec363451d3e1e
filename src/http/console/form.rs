//! The form of an action: what it changes, the token that binds it to the session, and the command that does the same.

use askama::Template;

use super::layout::Layout;

/// The field that a button sends to try a change.
pub const TRIAL_FIELD: &str = "try";

/// How an input looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InputKind {
    /// Nobody sees it.
    Hidden,
    /// One line.
    Line,
    /// Several lines.
    Lines,
    /// One of these values.
    Choice(&'static [&'static str]),
    /// A date and a time of the day, without a time zone.
    LocalTime,
    /// A box to tick, which sends `yes`.
    Tick,
}

/// An input of a form.
#[derive(Debug, Clone)]
pub struct FormInput {
    /// Name of the field.
    pub name: &'static str,
    /// How it looks.
    pub kind: InputKind,
    /// Label for people.
    pub label: &'static str,
    /// What it holds at first.
    pub value: String,
    /// Whether the browser refuses an empty one.
    pub is_required: bool,
}

/// A form with one button, which works without a script.
#[derive(Debug, Clone, Template)]
#[template(path = "parts/form.html")]
pub struct ActionForm {
    /// Path of the action.
    action: String,
    token: String,
    /// Sent twice, as by a double click, the form has one effect.
    request_id: String,
    /// The text of the button.
    button: String,
    /// The text of a second button, which sends `try` and changes nothing; empty: there is none.
    trial: String,
    /// What the button changes, and for how many runtimes.
    changes: String,
    inputs: Vec<FormInput>,
    /// The command that does the same.
    command: String,
}

impl askama::filters::HtmlSafe for ActionForm {}

impl ActionForm {
    /// Returns a form of the page with this frame.
    #[must_use]
    pub fn new(layout: &Layout, action: impl Into<String>, button: impl Into<String>) -> Self {
        Self {
            action: action.into(),
            token: layout.form_token.clone(),
            request_id: uuid::Uuid::now_v7().to_string(),
            button: button.into(),
            trial: String::new(),
            changes: String::new(),
            inputs: Vec::new(),
            command: String::new(),
        }
    }

    /// Says what the button changes.
    #[must_use]
    pub fn that_changes(mut self, what: impl Into<String>) -> Self {
        self.changes = what.into();
        self
    }

    /// Adds a button that shows what would be, and changes nothing: it sends the field [`TRIAL_FIELD`].
    #[must_use]
    pub fn with_trial(mut self, button: impl Into<String>) -> Self {
        self.trial = button.into();
        self
    }

    /// Adds an input.
    #[must_use]
    pub fn with(mut self, input: FormInput) -> Self {
        self.inputs.push(input);
        self
    }

    /// Adds an input of a kind that has to be filled in, or need not be.
    #[must_use]
    pub fn asking(self, kind: InputKind, name: &'static str, label: &'static str, is_required: bool) -> Self {
        self.with(FormInput { name, kind, label, value: String::new(), is_required })
    }

    /// Adds a field that the reader does not see.
    #[must_use]
    pub fn hiding(self, name: &'static str, value: impl Into<String>) -> Self {
        self.with(FormInput { name, kind: InputKind::Hidden, label: "", value: value.into(), is_required: false })
    }

    /// Adds the input of a reason.
    #[must_use]
    pub fn with_reason(self, is_required: bool) -> Self {
        self.asking(InputKind::Line, "reason", "Why", is_required)
    }

    /// Says which command does the same.
    #[must_use]
    pub fn like(mut self, command: impl Into<String>) -> Self {
        self.command = command.into();
        self
    }
}
