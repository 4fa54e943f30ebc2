//! One command: which tool it is, and what the rules say.

use stigmer_core::Lane;

use crate::path;
use crate::rules::Tool;

use super::builtins::FOLLOWED;
use super::state::State;
use super::word::Word;
use super::{By, Judge};

impl Judge<'_> {
    /// Judges a command's words.
    pub(super) fn command(&mut self, words: &[Word], by: By, state: &mut State) {
        state.succeeded = None;
        let Some(first) = words.first() else { return };
        if !self.count() {
            return;
        }
        let Some(name) = first.exact().filter(|name| !name.is_empty()) else {
            let reason = "which program runs is only known when it runs";
            return self.sandbox("shell:command", &first.show(), reason);
        };
        if by == By::Program || !self.is_builtin(name) {
            self.executes(name);
        }
        if !name.contains('/') && self.builtin(name, words, state) {
            return;
        }
        let tool = match self.program(name, state) {
            Some(tool) => tool.to_owned(),
            None => return,
        };
        self.deeper(|judge| judge.named(&tool, name, &words[1..], by, state));
    }

    /// Whether the shell does it by itself.
    fn is_builtin(&self, name: &str) -> bool {
        FOLLOWED.contains(&name) || self.policy.tool(name).is_some_and(|tool| tool.builtin)
    }

    /// `python -m pip install x` does what `pip install x` does.
    pub(super) fn module(&mut self, tool: &Tool, name: &Word, rest: &[Word], state: &State) {
        let Some(name) = name.exact().filter(|name| !name.contains(' ')) else { return };
        let module = self.policy.tool(name).and_then(|module| module.toolchain.as_ref());
        if module.is_some() && module == tool.toolchain.as_ref() {
            self.deeper(|judge| judge.named(name, name, rest, By::Program, &mut state.clone()));
        }
    }

    /// The tool that a program is, after its name and its place. `None` if that already decided.
    fn program<'n>(&mut self, name: &'n str, state: &State) -> Option<&'n str> {
        const RULE: &str = "shell:program";
        let Some((directory, base)) = name.rsplit_once('/') else { return Some(name) };
        let directory = if directory.is_empty() { "/" } else { directory };
        if self.policy.lists().program_directories.iter().any(|known| known == directory) {
            return Some(base);
        }
        let known = self.policy.tool(base).is_some();
        let word = Word::exactly(name);
        if self.is_inside(&word, state) {
            self.workspace(RULE, name, "a program of the workspace runs");
            // A link to a tool in an environment of the workspace still is that tool.
            return known.then_some(base);
        }
        let home = self.facts.home.as_deref();
        let own = !name.contains("..")
            && home.is_some_and(|home| path::resolve(home, name).starts_with(home));
        if own && known && name.starts_with('/') {
            self.workspace(RULE, name, "a program of the user's own runs");
            return Some(base);
        }
        self.sandbox(RULE, name, "a program from outside the workspace and the system runs");
        None
    }

    /// Applies the rule of a tool or subcommand, and the project's in addition.
    pub(super) fn named(
        &mut self,
        name: &str,
        token: &str,
        words: &[Word],
        by: By,
        state: &mut State,
    ) {
        let policy = self.policy;
        if let Some(stricter) = policy.project_tool(name) {
            self.apply(stricter, token, words, by, &mut state.clone());
        }
        match policy.tool(name) {
            Some(tool) => self.apply(tool, token, words, by, state),
            None => self.sandbox("unknown", token, format!("no rule knows {name}")),
        }
    }

    fn apply(&mut self, tool: &Tool, token: &str, words: &[Word], by: By, state: &mut State) {
        self.accept(&tool.name, token);
        // What is told is of the one that its toolchain has.
        self.uses(tool);
        if let [word] = words
            && word.exact().is_some_and(|text| tool.tells.iter().any(|told| told == text))
        {
            return;
        }
        let looks = looks(tool, words);
        // With a subcommand it is that one's lane that counts.
        if !tool.subcommands && !looks {
            self.least(tool, tool.lane, token);
        }
        // What is not for the host may still start something: `sudo pip install x`.
        if tool.lane == Lane::Sandbox && !tool.leads_on() {
            return;
        }
        if tool.any && tool.lane == Lane::HostWorkspace {
            words.iter().for_each(|word| self.named_secret(word));
        }
        if tool.repository {
            self.repository(tool, state);
        }
        self.arguments(tool, token, words, by, state);
        for name in std::mem::take(&mut self.changed) {
            state.forget(&name);
        }
    }

    /// What a rule demands whatever the arguments are.
    pub(super) fn least(&mut self, tool: &Tool, lane: Lane, token: &str) {
        let reason = tool.reason.as_deref().unwrap_or(match lane {
            Lane::Sandbox => "it is not for the host",
            _ => "it changes files or runs code of the workspace",
        });
        self.raise(lane, &tool.name, token, reason);
    }

    /// Git runs what a repository's configuration names. Of the one that the command starts in the
    /// facts say whether there is any; of others nothing is known, and any other directory, the
    /// workspace's root included, may lie in another.
    fn repository(&mut self, tool: &Tool, state: &State) {
        let known = |directory: &std::path::PathBuf| *directory == self.facts.cwd;
        if self.facts.repository_runs_programs {
            let reason = "the repository's configuration names programs that git runs";
            self.workspace(&tool.name, &tool.name, reason);
        } else if state.directories.is_empty() || !state.directories.iter().all(known) {
            let reason = "another repository's configuration may name programs that git runs";
            self.workspace(&tool.name, &tool.name, reason);
        }
    }
}

/// Whether the first word makes a tool change nothing, and no other may have a say in that.
fn looks(tool: &Tool, words: &[Word]) -> bool {
    let Some((first, rest)) = words.split_first() else { return false };
    let option = |word: &Word| word.start().starts_with('-') || word.may_be_option();
    first.exact().is_some_and(|first| tool.looks.iter().any(|known| known == first))
        && !rest.iter().any(option)
}
