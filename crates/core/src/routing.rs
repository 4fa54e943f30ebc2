//! Where auto mode sent a command, why, and what was enforced and refused there.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::process::{Executed, ExitStatus, OutputEvent, ProcessInfo, StartedProcess};
use crate::{ByteString, Lane};

/// What rules begin with that no rule of a file made: the machine's state did.
const BY_MACHINE: &str = "auto:";

/// Characters of a path that are shown to people: it is what a command said, and of any length.
const PATH_SHOWN: usize = 100;

/// How many refusals are named to people: the first ones say what it was about.
const NAMED: usize = 3;

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

    /// Whether the lane is not the one that the rules say, but what the machine's state made of it: a
    /// toolchain that lives in the sandbox, a lane that is off.
    pub fn is_by_machine(&self) -> bool {
        self.rule.starts_with(BY_MACHINE)
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

/// Something that a command tried and was refused; or that it left behind for others to execute or obey
/// ([`PLANTED`](Self::PLANTED)).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Denial {
    /// The kind of call: `open`, `read`, `unlink`, `rename`, `chmod`, `connect`, `exec`, `mount` …
    pub call: String,
    /// What it was about, if that could be read. It is what the command said, and may have been changed
    /// before the kernel looked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<ByteString>,
    /// The error that it got, or is to have got from the kernel (`errno(3)`). Zero for what it left behind
    /// and was not taken away.
    pub errno: i32,
    /// Whether it is something that programs try in passing: not worth a word, and no reason to run the
    /// command elsewhere.
    #[serde(default)]
    pub probe: bool,
}

impl Denial {
    /// In place of a call: the command has ended, and this is there and was not, or is another than it was.
    pub const PLANTED: &str = "planted";

    /// Whether it was not refused but left behind.
    pub fn is_planted(&self) -> bool {
        self.call == Self::PLANTED
    }
}

/// One line for people. What is in the path is the command's: it ends no line and draws nothing.
impl fmt::Display for Denial {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.call)?;
        let Some(path) = &self.path else { return Ok(()) };
        let path = path.to_string_lossy();
        let mut rest = path.chars();
        formatter.write_str(" ")?;
        for letter in rest.by_ref().take(PATH_SHOWN) {
            match letter {
                '\'' | '"' => write!(formatter, "{letter}")?,
                // What cannot be printed, or changes how the rest is.
                letter => write!(formatter, "{}", letter.escape_debug())?,
            }
        }
        if rest.next().is_some() {
            formatter.write_str("…")?;
        }
        if self.is_planted() && self.errno != 0 {
            formatter.write_str(" (taken away)")?;
        }
        Ok(())
    }
}

/// What was refused to a command in a lane on the host, everyday probes left out, and what it left behind
/// for others to execute or obey.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Denied {
    /// Each once, the first ones.
    pub denials: Vec<Denial>,
    /// How many others there were.
    #[serde(default)]
    pub omitted: u64,
}

impl Denied {
    /// Whether git could not write in a repository that the workspace is only a part or a worktree of: within
    /// a workspace its lock is no more than a probe.
    pub fn is_of_outer_repository(&self) -> bool {
        self.denials.iter().any(|denial| {
            let lock = |path: &ByteString| path.as_path().ends_with("index.lock");
            denial.call == "open" && !denial.probe && denial.path.as_ref().is_some_and(lock)
        })
    }

    /// What was refused, and what was left behind.
    pub fn apart(&self) -> (Self, Self) {
        let all = self.denials.iter().cloned();
        let (planted, denials) = all.partition(Denial::is_planted);
        (Self { denials, omitted: self.omitted }, Self { denials: planted, omitted: 0 })
    }

    /// Whether nothing was refused.
    pub fn is_empty(&self) -> bool {
        self.denials.is_empty() && self.omitted == 0
    }
}

/// One line for people: the first ones, and how many more there were.
impl fmt::Display for Denied {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, denial) in self.denials.iter().take(NAMED).enumerate() {
            let comma = if index > 0 { ", " } else { "" };
            write!(formatter, "{comma}{denial}")?;
        }
        let unnamed = u64::try_from(self.denials.len().saturating_sub(NAMED)).unwrap_or(u64::MAX);
        match (self.denials.is_empty(), unnamed.saturating_add(self.omitted)) {
            (_, 0) => Ok(()),
            (true, more) => write!(formatter, "{more} calls"),
            (false, more) => write!(formatter, " and {more} more"),
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn denial(call: &str, path: Option<&str>) -> Denial {
        Denial { call: call.into(), path: path.map(Into::into), errno: 13, probe: false }
    }

    #[test]
    fn what_was_refused_is_one_short_line_whatever_the_command_said() {
        assert_eq!(denial("mount", None).to_string(), "mount");
        assert_eq!(denial("open", Some("/a b/é's")).to_string(), "open /a b/é's");
        let hostile = denial("open", Some("/x\n\u{1b}[2J\u{202e}evil")).to_string();
        assert_eq!(hostile, r"open /x\n\u{1b}[2J\u{202e}evil");
        let long = denial("open", Some(&"x".repeat(5000))).to_string();
        assert_eq!(long.chars().count(), 5 + PATH_SHOWN + 1);
        assert!(long.ends_with('…'));
    }

    #[test]
    fn the_first_refusals_are_named_and_the_others_counted() {
        let denied = |names: &[&str], omitted| {
            let denials = names.iter().map(|name| denial("open", Some(name))).collect();
            Denied { denials, omitted }.to_string()
        };
        assert_eq!(denied(&["a"], 0), "open a");
        assert_eq!(denied(&["a", "b", "c"], 0), "open a, open b, open c");
        assert_eq!(denied(&["a", "b", "c", "d"], 2), "open a, open b, open c and 3 more");
        assert_eq!(denied(&[], 4), "4 calls");
        assert_eq!(
            denied(&["a"; 5], u64::MAX),
            format!("open a, open a, open a and {} more", u64::MAX)
        );
    }

    #[test]
    fn what_was_left_behind_is_told_apart_and_says_if_it_was_taken_away() {
        let left = Denial { errno: 0, ..denial(Denial::PLANTED, Some("/w/AGENTS.md")) };
        let taken = denial(Denial::PLANTED, Some("/w/.git/commondir"));
        let denials = vec![left, denial("open", Some("/x")), taken];
        let (refused, planted) = Denied { denials, omitted: 2 }.apart();
        assert_eq!(refused.to_string(), "open /x and 2 more");
        assert_eq!(
            planted.to_string(),
            "planted /w/AGENTS.md, planted /w/.git/commondir (taken away)"
        );
    }

    #[test]
    fn the_lock_of_a_repository_around_the_workspace_is_known_unless_it_is_a_probe() {
        let about = |path: &str, probe| {
            let denials = vec![Denial { probe, ..denial("open", Some(path)) }];
            Denied { denials, omitted: 0 }.is_of_outer_repository()
        };
        assert!(about("/r/.git/index.lock", false));
        assert!(!about("/r/.git/index.lock", true));
        assert!(!about("/r/xindex.lock", false));
    }

    #[test]
    fn what_the_machine_made_is_told_from_what_rules_say() {
        let routing = |rule: &str| Routing::new(Lane::Sandbox, rule, "pip", "why");
        assert!(routing("auto:affinity").is_by_machine());
        assert!(!routing("pip install").is_by_machine());
    }
}
