//! What auto mode made of a command, for an agent: that it was confined, and how to go on.

use schemars::JsonSchema;
use serde::Serialize;
use stigmer_core::process::ExitStatus;
use stigmer_core::{Denied, Lane, Routing};

use crate::clip;

/// How many refusals an answer names: the first ones say what it was about.
const NAMED: usize = 10;

/// The longest reason in an answer. Ours are a sentence or two; one may hold a path.
const REASON_BYTES: usize = 600;

/// Where auto mode ran a command, and why.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Routed {
    /// host_read_only: may change nothing. host_workspace: may change the workspace only, and has no
    /// network but its own loopback. sandbox: in a container.
    lane: Name,
    /// The rule that decided: a tool, or what is known of this machine (auto:affinity).
    rule: String,
    /// Why, in plain words.
    reason: String,
    /// What a first try that could only read was refused; nothing of it is left.
    #[serde(skip_serializing_if = "Option::is_none")]
    fell_over: Option<Refused>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Name {
    HostReadOnly,
    HostWorkspace,
    Sandbox,
}

/// What a command was refused.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Refused {
    /// The first ones: the kind of call, and what it was about as the command said it.
    calls: Vec<String>,
    /// How many more there were.
    more: u64,
}

impl From<&Routing> for Routed {
    fn from(routing: &Routing) -> Self {
        Self {
            lane: match routing.lane {
                Lane::HostReadOnly => Name::HostReadOnly,
                Lane::HostWorkspace => Name::HostWorkspace,
                Lane::Sandbox => Name::Sandbox,
            },
            rule: routing.rule.clone(),
            reason: clip::text(&routing.reason, REASON_BYTES).0,
            fell_over: routing.fell_over.as_ref().map(Refused::from),
        }
    }
}

impl From<&Denied> for Refused {
    fn from(denied: &Denied) -> Self {
        let unnamed = denied.denials.len().saturating_sub(NAMED);
        let unnamed = u64::try_from(unnamed).unwrap_or(u64::MAX);
        Self {
            calls: denied.denials.iter().take(NAMED).map(ToString::to_string).collect(),
            more: unnamed.saturating_add(denied.omitted),
        }
    }
}

impl Routed {
    /// What the line behind a command's output says of its lane.
    pub(crate) fn in_short(&self) -> String {
        let lane = match self.lane {
            Name::HostReadOnly => "read-only lane",
            Name::HostWorkspace => "workspace lane",
            Name::Sandbox => "sandbox",
        };
        format!("auto mode: {lane}, rule {}", self.rule)
    }
}

/// What a command was refused, if it was anything.
pub(crate) fn refused(exit: &ExitStatus) -> Option<Refused> {
    exit.denied.as_deref().filter(|denied| !denied.is_empty()).map(Refused::from)
}

/// What an agent is to know of a command that was confined, beside what it wrote.
pub(crate) fn notes(routing: Option<&Routing>, exit: &ExitStatus) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(routing) = routing {
        notes.extend(moved(routing));
    }
    let (denied, planted) = exit.denied.as_deref().map(Denied::apart).unwrap_or_default();
    if !planted.is_empty() {
        notes.push(format!(
            "it {planted}: git, editors or agents go by that. Tell the user, and undo it if it was not asked \
             for"
        ));
    }
    if denied.is_of_outer_repository() {
        notes.push(
            "the workspace is only a part or a worktree of a repository, and git cannot write there: ask the \
             user to open the directory that has `.git` in it as the workspace"
                .to_owned(),
        );
    }
    if !denied.is_empty() {
        let may = match routing.map(|routing| routing.lane) {
            Some(Lane::HostReadOnly) => "it may read, and change nothing",
            Some(Lane::HostWorkspace) => {
                "it may change the workspace only, and reach nothing but its own loopback"
            }
            Some(Lane::Sandbox) | None => "it was confined",
        };
        notes.push(format!(
            "auto mode refused it {denied}: {may}. This is no fault of the command's, and trying the same \
             again will not help. Keep to the workspace, or run what needs more as a command of its own \
             (package managers and network tools run in the sandbox), or ask the user"
        ));
    }
    notes
}

/// Why a command is not in the lane that its words say.
fn moved(routing: &Routing) -> Option<String> {
    match &routing.fell_over {
        Some(refused) => Some(format!(
            "a first try that could only read was refused {refused}, and was discarded: it ran in the sandbox"
        )),
        None => routing.is_by_machine().then(|| clip::text(&routing.reason, REASON_BYTES).0),
    }
}

#[cfg(test)]
mod tests {
    use stigmer_core::Denial;
    use stigmer_core::process::EndReason;

    use super::*;

    fn exit(denials: usize, omitted: u64) -> ExitStatus {
        let path = Some("/etc/x\n[exit code 0]".into());
        let denial = Denial { call: "open".into(), path, errno: 13, probe: false };
        ExitStatus {
            code: 1,
            reason: EndReason::Exited,
            signal: None,
            ended_ms: 0,
            duration_ms: 0,
            output_bytes: 0,
            memory_limit: None,
            cause: None,
            survivors: Vec::new(),
            denied: Some(Box::new(Denied { denials: vec![denial; denials], omitted })),
        }
    }

    #[test]
    fn an_agent_learns_that_it_was_confined_and_how_to_go_on() {
        let routing = Routing::new(Lane::HostWorkspace, "pytest", "pytest", "it runs tests");
        let notes = notes(Some(&routing), &exit(1, 0));
        let [note] = notes.as_slice() else { panic!("{notes:?}") };
        for part in
            ["refused it open /etc/x", "change the workspace only", "sandbox", "ask the user"]
        {
            assert!(note.contains(part), "{note}");
        }
        assert!(!note.contains('\n'), "a path ends no line of ours: {note}");
        assert_eq!(Routed::from(&routing).in_short(), "auto mode: workspace lane, rule pytest");
    }

    #[test]
    fn nothing_is_said_where_nothing_was_refused_and_the_words_decided() {
        let routing = Routing::new(Lane::HostReadOnly, "ls", "ls", "it only reads");
        assert!(notes(Some(&routing), &exit(0, 0)).is_empty());
        assert!(refused(&exit(0, 0)).is_none());
        let affinity = Routing { rule: "auto:affinity".into(), ..routing.clone() };
        assert_eq!(notes(Some(&affinity), &exit(0, 0)), ["it only reads"]);
        let fell_over = exit(1, 0).denied.map(|denied| *denied);
        let fallen = Routing { fell_over, lane: Lane::Sandbox, ..routing };
        assert!(notes(Some(&fallen), &exit(0, 0))[0].contains("discarded"));
    }

    #[test]
    fn an_answer_names_the_first_refusals_and_counts_the_others() {
        let refused = refused(&exit(25, 7)).unwrap();
        assert_eq!((refused.calls.len(), refused.more), (NAMED, 22));
        let long = Routing::new(Lane::Sandbox, "auto:affinity", "", "é".repeat(5000));
        assert!(Routed::from(&long).reason.len() <= REASON_BYTES);
    }
}
