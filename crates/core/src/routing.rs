//! Where auto mode sent a command, why, and what was enforced and refused there.

use serde::{Deserialize, Serialize};

use crate::process::{Executed, ExitStatus, OutputEvent, ProcessInfo, StartedProcess};
use crate::{ByteString, Lane};

/// How auto mode treated a command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Routing {
    /// The lane that it runs in.
    pub lane: Lane,
    /// The rule that decided: a tool as the rules name it (`git log`), what is said of the shell itself
    /// (`shell:redirect`), or what the machine made of it (`auto:affinity`).
    pub rule: String,
    /// The part of the command that the rule speaks of.
    pub token: String,
    /// Why, in plain words.
    pub reason: String,
    /// What the kernel enforces; missing in the sandbox, whose container does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enforced: Option<Enforced>,
    /// What was refused to a first try in the read-only lane, which was then discarded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fell_over: Option<Denied>,
    /// Names of the caller's variables that it does not have.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dropped_variables: Vec<String>,
}

impl Routing {
    /// A command's lane, with nothing known of its enforcement yet.
    pub fn new(
        lane: Lane,
        rule: impl Into<String>,
        token: impl Into<String>,
        reason: impl Into<String>,
    ) -> Self {
        let (rule, token, reason) = (rule.into(), token.into(), reason.into());
        let (enforced, fell_over, dropped_variables) = (None, None, Vec::new());
        Self { lane, rule, token, reason, enforced, fell_over, dropped_variables }
    }
}

/// What the kernel enforces on a command in a lane on the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enforced {
    /// The version of Landlock's interface whose rights are used.
    pub landlock: u32,
    /// Whether it runs in namespaces of its own.
    pub namespaces: bool,
    /// Whether Landlock keeps its signals to its own processes (version 6 on); if not, the read-only lane
    /// sends none at all.
    pub scoped_signals: bool,
}

/// Something that a command tried and was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Denial {
    /// The kind of call: `open`, `read`, `unlink`, `rename`, `chmod`, `connect`, `exec`, `mount` …
    pub call: String,
    /// What it was about, if that could be read. It is what the command said, and may have been changed
    /// before the kernel looked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<ByteString>,
    /// The error that it got, or is to have got from the kernel (`errno(3)`).
    pub errno: i32,
    /// Whether it is something that programs try in passing: not worth a word, and no reason to run the
    /// command elsewhere.
    #[serde(default)]
    pub probe: bool,
}

/// What was refused to a command in a lane on the host, everyday probes left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Denied {
    /// Each once, the first ones.
    pub denials: Vec<Denial>,
    /// How many others there were.
    #[serde(default)]
    pub omitted: u64,
}

impl Denied {
    /// Whether nothing was refused.
    pub fn is_empty(&self) -> bool {
        self.denials.is_empty() && self.omitted == 0
    }
}

/// What can say how auto mode treated a command.
///
/// Something in a container could say so, too, and claim a lane of the host. Whoever hears from there
/// leaves it out.
pub trait WithoutLanes {
    /// The same, saying nothing of lanes and of what was refused in them.
    #[must_use]
    fn without_lanes(self) -> Self;
}

impl WithoutLanes for StartedProcess {
    fn without_lanes(self) -> Self {
        Self { routing: None, ..self }
    }
}

impl WithoutLanes for ExitStatus {
    fn without_lanes(self) -> Self {
        Self { denied: None, ..self }
    }
}

impl WithoutLanes for Executed {
    fn without_lanes(self) -> Self {
        Self { routing: None, exit: self.exit.without_lanes(), ..self }
    }
}

impl WithoutLanes for ProcessInfo {
    fn without_lanes(self) -> Self {
        Self { routing: None, exit: self.exit.without_lanes(), ..self }
    }
}

impl WithoutLanes for OutputEvent {
    fn without_lanes(self) -> Self {
        match self {
            Self::Exit(exit) => Self::Exit(exit.without_lanes()),
            other => other,
        }
    }
}

impl<T: WithoutLanes> WithoutLanes for Option<T> {
    fn without_lanes(self) -> Self {
        self.map(T::without_lanes)
    }
}

impl<T: WithoutLanes> WithoutLanes for Vec<T> {
    fn without_lanes(self) -> Self {
        self.into_iter().map(T::without_lanes).collect()
    }
}
