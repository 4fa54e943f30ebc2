//! Which of the caller's variables a command in a host lane has.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use crate::data;
use crate::lane::HostLane;
use crate::pattern::name_fits;

/// Why a variable was left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// It makes programs load or execute something, or leads out of the lane.
    Steers,
    /// Its name says that it holds a secret.
    Secret,
}

/// What becomes of a set of variables.
#[derive(Debug, PartialEq, Eq)]
pub struct Variables {
    /// What the command has.
    pub kept: Vec<(OsString, OsString)>,
    /// The names that were left out, in their order.
    pub dropped: Vec<(OsString, Why)>,
}

/// Takes away what must not reach a command in a host lane, and sets what it needs there.
///
/// What was declared for the command takes the place of the caller's variable of the same name. It is no
/// secret of the caller's, whatever its name. The read-only lane's `TMPDIR` is not set here: it is made for
/// each command.
pub fn filter(
    lane: HostLane,
    environment: &[(OsString, OsString)],
    declared: &[(OsString, OsString)],
) -> Variables {
    let mut variables = Variables { kept: Vec::new(), dropped: Vec::new() };
    let set: Vec<_> =
        data::SET.iter().filter(|(_, _, lanes)| lanes.contains(&lane.name())).collect();
    let all: Vec<_> = environment.iter().chain(declared).collect();
    for (index, (name, value)) in all.iter().enumerate() {
        // The last of a name counts; a program would take the first.
        if all[index + 1..].iter().any(|(later, _)| later == name) {
            continue;
        }
        // A caller's choice of a value that we set anyway is no loss worth a word.
        if set.iter().any(|(ours, _, _)| name.as_bytes() == ours.as_bytes()) {
            continue;
        }
        match verdict(name) {
            Some(Why::Secret) if index >= environment.len() => {
                variables.kept.push((name.clone(), value.clone()));
            }
            Some(why) => variables.dropped.push((name.clone(), why)),
            None => variables.kept.push((name.clone(), value.clone())),
        }
    }
    variables.kept.extend(set.iter().map(|(name, value, _)| (name.into(), value.into())));
    variables
}

fn verdict(name: &OsStr) -> Option<Why> {
    let any =
        |patterns: &[&str]| patterns.iter().any(|pattern| name_fits(pattern, name.as_bytes()));
    // Where a name ends is for the program to say, and it would see another one.
    let odd = name.is_empty() || name.as_bytes().iter().any(|byte| [b'=', 0].contains(byte));
    if odd {
        Some(Why::Steers)
    } else if any(data::KEEP) {
        None
    } else if any(data::DROP) {
        Some(Why::Steers)
    } else if any(data::SECRET) {
        Some(Why::Secret)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filtered(lane: HostLane, names: &[&str]) -> Variables {
        let all: Vec<_> = names.iter().map(|name| (name.into(), OsString::from("v"))).collect();
        filter(lane, &all, &[])
    }

    #[test]
    fn what_steers_programs_and_what_holds_secrets_is_dropped_and_named() {
        for name in [
            "LD_PRELOAD",
            "LD_LIBRARY_PATH",
            "ld_preload",
            "GIT_DIR",
            "GIT_CONFIG_COUNT",
            "GIT_SSH_COMMAND",
            "BASH_ENV",
            "ENV",
            "NODE_OPTIONS",
            "BASH_FUNC_ls%%",
            "PERL5OPT",
            "SSH_AUTH_SOCK",
            "LESSOPEN",
            "PYTHONSTARTUP",
            "DOCKER_HOST",
            "GCONV_PATH",
        ] {
            let left = filtered(HostLane::Workspace, &[name]);
            assert_eq!(left.dropped, [(OsString::from(name), Why::Steers)], "{name}");
        }
        for name in [
            "GITHUB_TOKEN",
            "MY_TOKEN_2",
            "AWS_SECRET_ACCESS_KEY",
            "AWS_PROFILE",
            "OPENAI_API_KEY",
            "DB_PASSWORD",
            "PGPASSWORD",
            "STRIPE_SECRET",
            "DATABASE_URL",
            "npm_config__auth",
            "GH_PAT",
            "STIGMER_API_KEY",
            "SENTRY_DSN",
        ] {
            let left = filtered(HostLane::ReadOnly, &[name]);
            assert_eq!(left.dropped, [(OsString::from(name), Why::Secret)], "{name}");
        }
    }

    #[test]
    fn the_last_of_a_name_counts_and_is_the_only_one() {
        let all = [("A", "1"), ("B", "2"), ("A", "3"), ("LD_X", "4"), ("LD_X", "5")];
        let all: Vec<_> = all.iter().map(|(name, value)| (name.into(), value.into())).collect();
        let left = filter(HostLane::Workspace, &all[..3], &all[3..]);
        assert_eq!(left.kept[..2], [("B".into(), "2".into()), ("A".into(), "3".into())]);
        assert_eq!(left.dropped, [("LD_X".into(), Why::Steers)]);
    }

    #[test]
    fn a_name_that_a_program_would_see_as_another_is_dropped() {
        for name in ["ENV=x", "BASH_ENV=", "A=B", "", "A\0B"] {
            let left = filtered(HostLane::Workspace, &[name]);
            assert_eq!(left.dropped, [(OsString::from(name), Why::Steers)], "{name:?}");
        }
    }

    #[test]
    fn everyday_variables_stay() {
        let names = [
            "PATH",
            "HOME",
            "USER",
            "LANG",
            "LC_ALL",
            "TERM",
            "PWD",
            "SHELL",
            "VIRTUAL_ENV",
            "PYENV_ROOT",
            "NVM_DIR",
            "CARGO_HOME",
            "RUSTUP_HOME",
            "GOPATH",
            "JAVA_HOME",
            "EDITOR",
            "PYTHONPATH",
            "CI",
            "RUST_BACKTRACE",
            "NODE_ENV",
            "TZ",
            "COLUMNS",
            "NODE_PATH",
            "ENVIRONMENT",
            "AUTHOR",
            "KEYMAP",
        ];
        let left = filtered(HostLane::Workspace, &names);
        assert_eq!(left.dropped, []);
        let kept: Vec<_> = left.kept.iter().map(|(name, _)| name.to_str().unwrap()).collect();
        assert_eq!(kept[..names.len()], names);
    }

    #[test]
    fn the_read_only_lane_takes_no_optional_locks_and_writes_no_bytecode() {
        let left = filtered(HostLane::ReadOnly, &["GIT_OPTIONAL_LOCKS", "PYTHONDONTWRITEBYTECODE"]);
        let value = |name: &str| {
            let mut all = left.kept.iter().filter(|(key, _)| key == name);
            let value = all.next().map(|(_, value)| value.to_str().unwrap());
            assert!(all.next().is_none(), "{name} is set once");
            value
        };
        assert_eq!(value("GIT_OPTIONAL_LOCKS"), Some("0"));
        assert_eq!(value("PYTHONDONTWRITEBYTECODE"), Some("1"));
        let left = filtered(HostLane::Workspace, &["PYTHONDONTWRITEBYTECODE"]);
        assert!(left.kept.contains(&("PYTHONDONTWRITEBYTECODE".into(), "v".into())));
        assert!(!left.kept.iter().any(|(name, _)| name == "GIT_OPTIONAL_LOCKS"));
    }
}
