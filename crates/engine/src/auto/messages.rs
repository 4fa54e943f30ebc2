//! What is said of commands that do not run where their rule sends them.

use std::path::Path;

use stigmer_core::{Denied, ErrorCode, Lane, Routing, ToolError};
use stigmer_route::{TEMPORARY, Verdict};

/// The rule by which a command follows a toolchain to the sandbox.
pub(crate) const AFFINITY: &str = "auto:affinity";

/// The rule by which a command runs without what was installed for it.
pub(crate) const LOST: &str = "auto:affinity-lost";

/// The rule by which a command runs nowhere: its toolchain has an environment in the workspace.
pub(crate) const ENVIRONMENT: &str = "auto:environment";

/// The rule by which a command goes to the sandbox because its lane cannot be had.
pub(crate) const LANE_OFF: &str = "auto:lane-off";

/// As the rules say.
pub(crate) fn as_ruled(verdict: &Verdict) -> Routing {
    Routing::new(verdict.lane, &verdict.rule, &verdict.token, &verdict.reason)
}

/// The verdict on a command that follows a toolchain.
pub(crate) fn following(verdict: Verdict, toolchain: &str) -> Verdict {
    let reason = format!(
        "{} is in the sandbox; {} would run in the {} lane",
        state_of(toolchain),
        verdict.rule,
        verdict.lane
    );
    Verdict { lane: Lane::Sandbox, rule: AFFINITY.to_owned(), reason, ..verdict }
}

/// The verdict on a command whose toolchain's state is gone.
pub(crate) fn without(verdict: Verdict, toolchain: &str) -> Verdict {
    let reason = format!("{} went with its sandbox; {}", state_of(toolchain), verdict.reason);
    Verdict { rule: LOST.to_owned(), reason, ..verdict }
}

fn state_of(toolchain: &str) -> String {
    match toolchain {
        TEMPORARY => format!("what was written to {TEMPORARY}"),
        _ => format!("what was installed for {toolchain}"),
    }
}

/// The verdict on a command that runs nowhere.
pub(crate) fn kept_apart(verdict: Verdict, toolchain: &str, environment: &Path) -> Verdict {
    let why = match verdict.lane {
        Lane::Sandbox => format!("{} installs for {toolchain} in the sandbox", verdict.rule),
        _ => format!("what was installed for {toolchain} is in the sandbox"),
    };
    let reason = format!(
        "{why}, and {} in the workspace is {toolchain}'s environment on this machine: the two do not \
         fit together",
        environment.display()
    );
    Verdict { lane: Lane::Sandbox, rule: ENVIRONMENT.to_owned(), reason, ..verdict }
}

/// The error for such a command.
pub(crate) fn refused_apart(verdict: &Verdict, environment: &Path) -> ToolError {
    let shown = environment.display();
    ToolError::new(
        ErrorCode::NotAvailable,
        format!("auto mode runs the command nowhere ({}): {}", verdict.rule, verdict.reason),
    )
    .with_detail("rule", verdict.rule.as_str())
    .with_detail("reason", verdict.reason.as_str())
    .with_detail("environment", shown.to_string())
    .with_hint(format!(
        "nothing was run; `--mode local` uses {shown} on this machine, unconfined; or remove {shown} \
         (or say `--mode sandbox`), and the sandbox has an environment of its own"
    ))
}

/// A lane on the host that cannot be had; `why` is the guard's word.
pub(crate) fn lane_off(verdict: &Verdict, why: &str) -> Routing {
    let reason = format!(
        "{} is for the {} lane ({}), which cannot be had: {why}",
        verdict.rule, verdict.lane, verdict.reason
    );
    Routing::new(Lane::Sandbox, LANE_OFF, &verdict.token, reason)
}

/// A first try that was discarded.
pub(crate) fn fallen_over(verdict: &Verdict, denied: Denied) -> Routing {
    let reason = format!(
        "it failed in the {} lane, where it was refused: {}",
        verdict.lane,
        kinds(&denied).join(", ")
    );
    let routing = Routing::new(Lane::Sandbox, &verdict.rule, &verdict.token, reason);
    Routing { fell_over: Some(denied), ..routing }
}

/// The kinds of calls that were refused, each once and in alphabetical order.
pub(crate) fn kinds(denied: &Denied) -> Vec<String> {
    let mut kinds: Vec<String> = denied
        .denials
        .iter()
        .filter(|denial| !denial.probe)
        .map(|denial| denial.call.clone())
        .collect();
    kinds.sort_unstable();
    kinds.dedup();
    kinds
}

/// The error for a command of the sandbox where there is none. The code is that of what the sandbox said.
pub(crate) fn no_sandbox(routing: &Routing, said: ToolError) -> ToolError {
    let message = format!(
        "the command is for the sandbox, which cannot be had: {} (rule {}: {})",
        said.message, routing.rule, routing.reason
    );
    let mend = said.hint.iter().map(|hint| format!("{hint}; ")).collect::<String>();
    let hint = format!(
        "nothing was run. Either make the sandbox work: {mend}`stigmer doctor` says what is missing. \
         Or run it on this machine, unconfined: `--mode local`"
    );
    // Somebody has to do something first: a client that asks again by itself would ask for another place
    // than was said, since what was said of one that could not be had is forgotten.
    let code = match said.code {
        ErrorCode::Unavailable => ErrorCode::NotAvailable,
        code => code,
    };
    let retryable = said.retryable && code == said.code;
    let error = ToolError { code, message, hint: Some(hint), retryable, ..said };
    error.with_detail("rule", routing.rule.as_str()).with_detail("reason", routing.reason.as_str())
}

#[cfg(test)]
mod tests {
    use stigmer_core::Denial;

    use super::*;

    fn verdict(lane: Lane) -> Verdict {
        Verdict {
            lane,
            rule: "pytest".to_owned(),
            token: "secret-token".to_owned(),
            reason: "runs tests".to_owned(),
            programs: Vec::new(),
            toolchains: Vec::new(),
            installs: Vec::new(),
        }
    }

    fn denial(call: &str, probe: bool) -> Denial {
        Denial { call: call.to_owned(), path: Some("/secret".into()), errno: 13, probe }
    }

    #[test]
    fn each_message_names_rule_reason_and_the_two_ways_out() {
        let routing = as_ruled(&verdict(Lane::Sandbox));
        let said = ToolError::new(ErrorCode::Busy, "the engine is asleep").with_hint("wake it");
        let error = no_sandbox(&routing, said);
        assert_eq!((error.code, error.retryable), (ErrorCode::Busy, true));
        let gone = no_sandbox(&routing, ToolError::new(ErrorCode::Unavailable, "no engine"));
        assert_eq!((gone.code, gone.retryable), (ErrorCode::NotAvailable, false));
        for part in ["the engine is asleep", "rule pytest", "runs tests"] {
            assert!(error.message.contains(part), "{error}");
        }
        let hint = error.hint.unwrap();
        for part in ["nothing was run", "wake it", "stigmer doctor", "--mode local", "unconfined"] {
            assert!(hint.contains(part), "{hint}");
        }
        assert_eq!(error.details["rule"], "pytest");
        for lane in [Lane::HostReadOnly, Lane::HostWorkspace, Lane::Sandbox] {
            let apart = kept_apart(verdict(lane), "python", Path::new("a/.venv"));
            assert_eq!((apart.lane, &*apart.rule), (Lane::Sandbox, ENVIRONMENT));
            let error = refused_apart(&apart, Path::new("a/.venv"));
            assert!(
                error.message.contains("a/.venv") && error.message.contains("python"),
                "{error}"
            );
            let hint = error.hint.unwrap();
            for part in ["nothing was run", "--mode local", "remove a/.venv", "--mode sandbox"] {
                assert!(hint.contains(part), "{hint}");
            }
        }
    }

    #[test]
    fn what_changes_a_commands_lane_says_which_it_was() {
        for lane in [Lane::HostReadOnly, Lane::HostWorkspace] {
            let off = lane_off(&verdict(lane), "no Landlock");
            let followed = as_ruled(&following(verdict(lane), "python"));
            for (routing, rule) in [(off, LANE_OFF), (followed, AFFINITY)] {
                assert_eq!((routing.lane, &*routing.rule), (Lane::Sandbox, rule));
                assert!(routing.reason.contains(&lane.to_string()), "{}", routing.reason);
                assert!(routing.reason.contains("pytest"), "{}", routing.reason);
            }
        }
        let denials = ["write", "connect", "write"]
            .map(|call| denial(call, false))
            .into_iter()
            .chain([denial("open", true)]);
        let denied = Denied { denials: denials.collect(), omitted: 0 };
        let fallen = fallen_over(&verdict(Lane::HostReadOnly), denied.clone());
        assert_eq!((fallen.lane, &*fallen.rule), (Lane::Sandbox, "pytest"), "the rule is to blame");
        assert!(fallen.reason.ends_with("refused: connect, write"), "{}", fallen.reason);
        assert!(!fallen.reason.contains("/secret"));
        assert_eq!(fallen.fell_over, Some(denied));
    }
}
