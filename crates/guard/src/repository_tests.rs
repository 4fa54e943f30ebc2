use super::*;
use crate::look::tests::Fake;

fn found(lines: &[&str], files: &[(&str, &str)]) -> Result<Found, Refusal> {
    let read = |path: &Path| {
        let text = files.iter().find(|(name, _)| Path::new(name) == plain(path))?.1;
        Some(text.as_bytes().to_vec())
    };
    held(Path::new("/w"), Some(Path::new("/h")), &Fake::new(lines), &read)
}

fn shown(lines: &[&str]) -> Result<(Vec<String>, Vec<PathBuf>), Refusal> {
    shown_with(lines, &[])
}

fn shown_with(
    lines: &[&str],
    files: &[(&str, &str)],
) -> Result<(Vec<String>, Vec<PathBuf>), Refusal> {
    let Found { held, missing, .. } = found(lines, files)?;
    let missing = missing.into_iter().map(|(path, _)| path).collect();
    let show = |held: &Held| {
        let mark = if held.hold == Hold::ReadOnly { "" } else { " in place" };
        format!("{}{mark}", held.path.display())
    };
    Ok((held.iter().map(show).collect(), missing))
}

#[test]
fn hooks_and_configuration_are_read_only_in_a_git_directory_that_stays() {
    let (held, missing) =
        shown(&["/w/.git/hooks/x", "/w/.git/config", "/w/.git/HEAD", "/w/.vscode/", "/w/src/"])
            .unwrap();
    assert_eq!(held, [".git in place", ".git/config", ".git/hooks", ".vscode"]);
    assert_eq!(missing, [""; 0].map(PathBuf::from));
}

#[test]
fn hooks_that_are_missing_are_made() {
    let (_, missing) = shown(&["/w/.git/config"]).unwrap();
    assert_eq!(missing, [PathBuf::from(".git/hooks")]);
}

#[test]
fn a_git_file_cannot_be_changed() {
    assert_eq!(shown(&["/w/.git"]).unwrap().0, [".git"]);
}

#[test]
fn submodules_are_held_one_by_one_or_all_are_read_only() {
    let (held, _) = shown(&[
        "/w/.git/config",
        "/w/.git/hooks/",
        "/w/.git/modules/m/HEAD",
        "/w/.git/modules/m/config",
        "/w/.git/modules/m/hooks/",
    ])
    .unwrap();
    assert_eq!(
        held[3..],
        [
            ".git/modules in place",
            ".git/modules/m in place",
            ".git/modules/m/config",
            ".git/modules/m/hooks"
        ]
    );
    let (held, _) = shown(&["/w/.git/hooks/", "/w/.git/modules/deep/m/HEAD"]).unwrap();
    assert_eq!(held[2..], [".git/modules"]);
}

#[test]
fn repositories_right_beneath_are_held_unless_they_have_links() {
    let (held, missing) = shown(&[
        "/w/a/.git/config",
        "/w/a/.git/hooks/",
        "/w/b/.git/HEAD",
        "/w/c/d/.git/config",
        "/w/e/.git -> ../a/.git",
        "/w/f/.git/config -> ../../a/.git/config",
        "/w/g/.git",
    ])
    .unwrap();
    assert_eq!(
        held,
        [
            "a in place",
            "a/.git in place",
            "a/.git/config",
            "a/.git/hooks",
            "b in place",
            "b/.git in place",
            "g in place",
            "g/.git"
        ]
    );
    assert_eq!(missing, [PathBuf::from("b/.git/hooks")]);
}

#[test]
fn what_would_lead_git_elsewhere_must_not_come_to_be() {
    let absent = found(&["/w/.git/config"], &[]).unwrap().absent;
    assert_eq!(absent, [".git/config.worktree", ".git/commondir"].map(PathBuf::from));
    let held = shown(&["/w/.git/commondir", "/w/.git/hooks/"]).unwrap().0;
    assert_eq!(held, [".git in place", ".git/commondir", ".git/hooks"]);
}

#[test]
fn settings_of_a_worktree_are_made_if_git_looks_for_them() {
    let lines = ["/w/.git/config", "/w/.git/hooks/", "/w/.git/worktrees/x/commondir"];
    let on = "[extensions]\nworktreeConfig = true";
    let (held, missing) = shown_with(&lines, &[("/w/.git/config", on)]).unwrap();
    assert_eq!(
        held[3..],
        [".git/worktrees in place", ".git/worktrees/x in place", ".git/worktrees/x/commondir"]
    );
    let expected = [".git/config.worktree", ".git/worktrees/x/config.worktree"];
    assert_eq!(missing, expected.map(PathBuf::from));
}

#[test]
fn what_the_configuration_names_in_the_workspace_is_held() {
    let config = "[core]\nhooksPath = tools/hooks\n[include]\npath = ../gitconfig\npath = ../not\n\
                  path = /etc/x\n";
    let more = "[core]\nhooksPath = made/hooks\n";
    let lines = ["/w/.git/config", "/w/.git/hooks/", "/w/tools/hooks/x", "/w/gitconfig", "/h/x"];
    let files = [("/w/.git/config", config), ("/w/gitconfig", more)];
    let (held, missing) = shown_with(&lines, &files).unwrap();
    assert_eq!(held[3..], ["gitconfig", "tools in place", "tools/hooks"]);
    assert_eq!(missing, ["made", "made/hooks"].map(PathBuf::from));
    assert!(found(&lines, &files).unwrap().absent.contains(&"not".into()));
    // The caller's own, for every repository.
    let (held, _) =
        shown_with(&lines, &[("/h/.gitconfig", "[core]\nhooksPath=tools/hooks")]).unwrap();
    assert_eq!(held[3..], ["tools in place", "tools/hooks"]);
    for hooks in [".", ".git", "tools/link"] {
        let config = format!("[core]\nhooksPath = {hooks}");
        let lines = ["/w/.git/config", "/w/tools/link -> ../x", "/w/x/"];
        assert!(found(&lines, &[("/w/.git/config", &config)]).is_err(), "{hooks}");
    }
}

#[test]
fn a_configuration_that_cannot_be_read_turns_the_lane_off() {
    let refused = found(&["/w/.git/config"], &[("/w/.git/config", "[a")]).unwrap_err();
    assert!(refused.to_string().contains("/w/.git/config"), "{refused}");
}

#[test]
fn the_file_that_leads_to_a_submodule_is_held_however_deep() {
    let lines = [
        "/w/.git/config",
        "/w/.git/hooks/",
        "/w/.git/modules/a/b/HEAD",
        "/w/.git/modules/a/b/config",
        "/w/a/b/.git",
        "/w/a/old/.git/HEAD",
        "/w/a/old/.git/hooks/",
    ];
    let files = [
        ("/w/.git/config", "[submodule \"a/b\"]\nurl = x"),
        ("/w/.git/modules/a/b/config", "[core]\nworktree = ../../../../a/b"),
        ("/w/a/b/.git", "gitdir: ../../.git/modules/a/b\n"),
        ("/w/.gitmodules", "[submodule \"old\"]\npath = a/old\n"),
    ];
    let (held, missing) = shown_with(&lines, &files).unwrap();
    assert_eq!(
        held[3..],
        [
            ".git/modules in place",
            ".git/modules/a in place",
            ".git/modules/a/b in place",
            ".git/modules/a/b/config",
            "a in place",
            "a/b in place",
            "a/b/.git",
            "a/old in place",
            "a/old/.git in place",
            "a/old/.git/hooks"
        ]
    );
    assert_eq!(missing, [PathBuf::from(".git/modules/a/b/hooks")]);
}

#[test]
fn worktrees_are_held_with_the_files_that_lead_to_them() {
    let lines = [
        "/w/.git/config",
        "/w/.git/hooks/",
        "/w/.git/worktrees/x/commondir",
        "/w/.git/worktrees/x/gitdir",
        "/w/deep/x/.git",
        "/w/deep/x/.hooks/",
    ];
    let files = [
        ("/w/.git/config", "[core]\nhooksPath = .hooks"),
        ("/w/.git/worktrees/x/gitdir", "/w/deep/x/.git\n"),
    ];
    let (held, missing) = shown_with(&lines, &files).unwrap();
    assert_eq!(
        held[3..],
        [
            ".git/worktrees in place",
            ".git/worktrees/x in place",
            ".git/worktrees/x/commondir",
            ".git/worktrees/x/gitdir",
            "deep in place",
            "deep/x in place",
            "deep/x/.git",
            "deep/x/.hooks"
        ]
    );
    assert_eq!(missing, [PathBuf::from(".hooks")]);
}

#[test]
fn a_workspace_within_a_repository_is_held_as_that_says() {
    let read = |path: &Path| -> Option<Vec<u8>> {
        Some(match plain(path).to_str()? {
            "/w/.git" => b"gitdir: /m/.git/worktrees/w\n".to_vec(),
            "/m/.git/worktrees/w/commondir" => b"../..\n".to_vec(),
            "/m/.git/config" => b"[core]\nhooksPath = .hooks".to_vec(),
            "/r/.git/config" => b"[core]\nhooksPath = w/.hooks".to_vec(),
            _ => return None,
        })
    };
    let shown = |workspace: &str, lines: &[&str]| -> Vec<PathBuf> {
        let found = held(Path::new(workspace), None, &Fake::new(lines), &read).unwrap();
        found.held.into_iter().map(|held| held.path).collect()
    };
    let lines = ["/w/.git", "/w/.hooks/x", "/m/.git/worktrees/w/commondir"];
    assert_eq!(shown("/w", &lines), [".git", ".hooks"].map(PathBuf::from));
    let lines = ["/r/.git/config", "/r/w/.hooks/x"];
    assert_eq!(shown("/r/w", &lines), [PathBuf::from(".hooks")]);
}

#[test]
fn a_repository_without_a_tree_is_held_in_the_workspace_or_as_it() {
    let (held, _) =
        shown(&["/w/HEAD", "/w/objects/", "/w/refs/", "/w/config", "/w/hooks/"]).unwrap();
    assert_eq!(held, ["config", "hooks"]);
    let (held, _) = shown(&["/w/x.git/HEAD", "/w/x.git/objects/", "/w/x.git/refs/"]).unwrap();
    assert_eq!(held, ["x.git in place"]);
    let lines = ["/w/.git", "/w/.bare/HEAD", "/w/.bare/hooks/", "/w/.bare/config"];
    let (held, _) = shown_with(&lines, &[("/w/.git", "gitdir: ./.bare\n")]).unwrap();
    assert_eq!(held, [".bare in place", ".bare/config", ".bare/hooks", ".git"]);
}

#[test]
fn what_a_command_could_replace_turns_the_lane_off() {
    for link in ["/w/.git -> /r", "/w/.git/hooks -> ../h", "/w/.claude -> x"] {
        let lines: &[&str] = if link.starts_with("/w/.git ->") {
            &["/r/", link]
        } else {
            &["/w/.git/HEAD", "/w/h/", "/w/x/", link]
        };
        assert!(shown(lines).unwrap_err().to_string().contains("symbolic link"), "{link}");
    }
}

#[test]
fn a_repository_around_the_workspace_is_read_unless_it_is_everybodys() {
    let around = |workspace: &str, lines: &[&str]| {
        around(Path::new(workspace), Some(Path::new("/home/u")), &Fake::new(lines), |_| None)
    };
    assert_eq!(
        around("/home/u/r/a/b", &["/home/u/r/.git/", "/home/u/r/a/b/"]),
        [PathBuf::from("/home/u/r")]
    );
    assert!(around("/home/u/r", &["/home/u/r/.git/"]).is_empty());
    assert!(around("/home/u/r", &["/home/u/.git/", "/home/u/r/"]).is_empty());
    assert!(around("/tmp/r", &["/tmp/.git/", "/tmp/r/"]).is_empty());
}

#[test]
fn a_worktree_leads_to_its_repository_only_if_that_agrees() {
    let look =
        Fake::new(&["/w/.git", "/m/.git/worktrees/w/gitdir", "/m/.git/worktrees/w/commondir"]);
    let read = |back: &'static str| {
        move |path: &Path| -> Option<Vec<u8>> {
            Some(match path.to_str()? {
                "/w/.git" => b"gitdir: /m/.git/worktrees/w\n".to_vec(),
                "/m/.git/worktrees/w/gitdir" => back.as_bytes().to_vec(),
                _ => b"../..\n".to_vec(),
            })
        }
    };
    assert_eq!(around(Path::new("/w"), None, &look, read("/w/.git\n")), [PathBuf::from("/m/.git")]);
    assert!(around(Path::new("/w"), None, &look, read("/other/.git\n")).is_empty());
}
