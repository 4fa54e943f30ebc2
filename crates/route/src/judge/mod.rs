//! The decision itself: every part of a command is judged, and the strictest decides.

mod arguments;
mod arithmetic;
mod assignments;
mod builtins;
mod command;
mod expand;
mod positional;
mod redirects;
mod script;
mod state;
mod values;
mod word;

use stigmer_core::process::Command;
use stigmer_core::{ByteString, Lane};

use crate::environments::{TEMPORARY, names_temporary};
use crate::policy::Policy;
use crate::rules::Tool;
use crate::shell::Refused;
use crate::shell::lexer::MOST_NESTING;
use crate::shell::parser::MOST_PROGRESS;
use crate::verdict::{Facts, Verdict, strictness};

use state::State;
use word::Word;

/// The longest command that is looked at. What is longer is data that somebody put on a command
/// line, or hostile.
const MOST_BYTES: usize = 100_000;

/// How many steps a decision may take, a command being two or three; loops are judged more than
/// once.
const MOST_STEPS: usize = 2_000;

/// How many texts may be parsed for one decision, and how long they may be together: each
/// substitution is one, and parsing is what costs time.
const MOST_PARSED: usize = 100;
const MOST_PARSED_BYTES: usize = 32 * 1024;

/// How long all words may be together: variables make more of them than was written.
const MOST_EXPANDED: usize = 256 * 1024;

/// How many words there may be, in all commands together: what is done for one takes a microsecond or
/// a few. More names of files than this belong in a file, or in a pipe.
const MOST_WORDS: usize = 1_500;

/// How many programs a verdict names. A command with more is no command any more but a program, and
/// belongs in the sandbox: those that are not named would not be looked for.
const MOST_PROGRAMS: usize = 64;

/// How many toolchains a verdict names: all of ours, and some of the user's.
const MOST_TOOLCHAINS: usize = 32;

/// The longest token in a verdict: enough to find it in the command.
const MOST_TOKEN: usize = 80;

/// Decides where a command belongs.
///
/// Never fails: what is not understood belongs in the sandbox.
pub fn decide(command: &Command, facts: &Facts, policy: &Policy) -> Verdict {
    let mut verdict = judged(command, facts, policy).verdict();
    // What a tool that no rule knows does with its arguments is not known; where it does it is.
    if verdict.lane == Lane::Sandbox && names_temporary(command, &facts.root) {
        note(&mut verdict.toolchains, Some(TEMPORARY));
        note(&mut verdict.installs, Some(TEMPORARY));
    }
    verdict
}

/// What a decision has cost, in things that are counted, each with the most that there may be.
pub(crate) fn work(command: &Command, facts: &Facts, policy: &Policy) -> [(usize, usize); 6] {
    let judge = judged(command, facts, policy);
    [
        (judge.steps, MOST_STEPS),
        (judge.parsed, MOST_PARSED),
        (judge.parsed_bytes, MOST_PARSED_BYTES),
        (judge.expanded, MOST_EXPANDED),
        (judge.words, MOST_WORDS),
        (MOST_PROGRESS - judge.progress, MOST_PROGRESS),
    ]
}

fn judged<'a>(command: &Command, facts: &'a Facts, policy: &'a Policy) -> Judge<'a> {
    let mut judge = Judge::new(facts, policy);
    let mut state = State::at(&facts.cwd);
    match command {
        Command::Shell(line) => match text(line) {
            Ok(line) => judge.script(line, &mut state),
            Err(refused) => judge.refuse(refused),
        },
        Command::Argv(words) => {
            let total: usize = words.iter().map(|word| word.as_bytes().len()).sum();
            let words: Result<Vec<_>, _> = words.iter().map(text).collect();
            match words {
                Ok(words) if total <= MOST_BYTES && words.len() <= MOST_WORDS => {
                    let words: Vec<_> = words.into_iter().map(Word::exactly).collect();
                    judge.note_words(&words);
                    judge.command(&words, By::Program, &mut state);
                }
                Ok(_) => judge.refuse(too_long("")),
                Err(refused) => judge.refuse(refused),
            }
        }
    }
    judge.traps();
    judge
}

fn too_long(token: &str) -> Refused {
    Refused::new("shell:length", token, "the command is too long")
}

/// Text that can be judged: of a bearable length, and without characters that a terminal, a shell
/// or a reader may take for something else.
fn text(bytes: &ByteString) -> Result<&str, Refused> {
    let bytes = bytes.as_bytes();
    if bytes.len() > MOST_BYTES {
        return Err(too_long(""));
    }
    let text = std::str::from_utf8(bytes)
        .map_err(|_| Refused::new("shell:encoding", "", "the command is not UTF-8"))?;
    if bytes.iter().all(|byte| matches!(byte, b' '..=b'~' | b'\t' | b'\n')) {
        return Ok(text);
    }
    let strange = |character: &char| {
        let blank = matches!(character, ' ' | '\t' | '\n');
        !blank && (character.is_control() || character.is_whitespace())
    };
    match text.chars().find(strange) {
        None => Ok(text),
        Some(character) => Err(Refused::new(
            "shell:character",
            &character.escape_unicode().to_string(),
            "a control character or an unusual blank is in the command",
        )),
    }
}

/// Who starts a command.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    /// The shell, which does some things by itself.
    Shell,
    /// A program, which can only execute another.
    Program,
}

/// What has been found so far.
struct Judge<'a> {
    facts: &'a Facts,
    policy: &'a Policy,
    worst: Option<Verdict>,
    /// The first part that a rule accepted.
    accepted: Option<(String, String)>,
    steps: usize,
    parsed: usize,
    parsed_bytes: usize,
    expanded: usize,
    words: usize,
    /// What the grammar may still report.
    progress: usize,
    depth: usize,
    /// A file is read whose name is only known when the command runs.
    reads_unknown: bool,
    /// A word that names a secret, somewhere in the command.
    secret: Option<String>,
    /// Variables that a command of the shell has set.
    changed: Vec<String>,
    /// What runs when the shell ends.
    traps: Vec<String>,
    /// There has been a `cd`.
    moved: bool,
    /// Background commands have been started, which `kill` may end.
    background: bool,
    /// As much has been judged as is bearable: nothing more is looked at.
    exhausted: bool,
    programs: Vec<String>,
    toolchains: Vec<String>,
    installs: Vec<String>,
}

impl<'a> Judge<'a> {
    fn new(facts: &'a Facts, policy: &'a Policy) -> Self {
        Self {
            facts,
            policy,
            worst: None,
            accepted: None,
            steps: 0,
            parsed: 0,
            parsed_bytes: 0,
            expanded: 0,
            words: 0,
            progress: MOST_PROGRESS,
            depth: 0,
            reads_unknown: false,
            secret: None,
            changed: Vec::new(),
            traps: Vec::new(),
            moved: false,
            background: false,
            exhausted: false,
            programs: Vec::new(),
            toolchains: Vec::new(),
            installs: Vec::new(),
        }
    }

    /// Demands at least a lane. The first of the strictest is what the verdict names.
    fn raise(&mut self, lane: Lane, rule: &str, token: &str, reason: impl Into<String>) {
        let current = self.worst.as_ref().map_or(0, |verdict| strictness(verdict.lane));
        if strictness(lane) > current {
            self.worst = Some(Verdict {
                lane,
                rule: rule.to_owned(),
                token: token.chars().take(MOST_TOKEN).collect(),
                reason: reason.into(),
                programs: Vec::new(),
                toolchains: Vec::new(),
                installs: Vec::new(),
            });
        }
    }

    fn sandbox(&mut self, rule: &str, token: &str, reason: impl Into<String>) {
        self.raise(Lane::Sandbox, rule, token, reason);
    }

    fn workspace(&mut self, rule: &str, token: &str, reason: impl Into<String>) {
        self.raise(Lane::HostWorkspace, rule, token, reason);
    }

    fn refuse(&mut self, refused: Refused) {
        self.sandbox(refused.rule, &refused.token, refused.reason);
    }

    fn accept(&mut self, rule: &str, token: &str) {
        if self.accepted.is_none() {
            self.accepted = Some((rule.to_owned(), token.chars().take(MOST_TOKEN).collect()));
        }
    }

    /// There is more than is bearable: what comes after is not looked at.
    fn exhaust(&mut self, token: &str) {
        self.exhausted = true;
        self.sandbox("shell:length", token, "there is too much to judge");
    }

    /// Remembers a program that is executed.
    fn executes(&mut self, name: &str) {
        if self.programs.iter().any(|known| known == name) {
            return;
        }
        if self.programs.len() >= MOST_PROGRAMS {
            return self.exhaust(name);
        }
        self.programs.push(name.to_owned());
    }

    /// Remembers what a rule says of toolchains. Whoever changes one uses it.
    fn uses(&mut self, tool: &Tool) {
        let all = [(&tool.toolchain, &mut self.toolchains), (&tool.installs, &mut self.installs)];
        for (name, list) in all {
            note(list, name.as_deref());
        }
        note(&mut self.toolchains, tool.installs.as_deref());
    }

    /// No lane that is still found could change the verdict.
    fn is_decided(&self) -> bool {
        self.worst.as_ref().is_some_and(|verdict| verdict.lane == Lane::Sandbox)
    }

    /// Goes one level deeper, if that is bearable.
    fn deeper(&mut self, work: impl FnOnce(&mut Self)) {
        if self.exhausted {
            return;
        }
        if self.depth >= MOST_NESTING {
            self.sandbox("shell:nesting", "", "nested too deeply");
            return;
        }
        self.depth += 1;
        work(self);
        self.depth -= 1;
    }

    /// What runs at the end may find other values of variables, and another directory.
    fn traps(&mut self) {
        let mut state = State::at(&self.facts.cwd);
        if self.moved {
            state.forget_all();
        }
        while let Some(text) = self.traps.pop() {
            self.script(&text, &mut state.clone());
        }
    }

    fn verdict(mut self) -> Verdict {
        if let (true, Some(secret)) = (self.reads_unknown, self.secret.take()) {
            let reason = "it speaks of a secret and reads files that are only known when it runs";
            self.sandbox("path:credential", &secret, reason);
        }
        let mut verdict = self.worst.unwrap_or_else(|| {
            let accepted = self.accepted;
            let (rule, token) = accepted.unwrap_or_else(|| ("shell".to_owned(), String::new()));
            Verdict {
                lane: Lane::HostReadOnly,
                rule,
                token,
                reason: "all of it only reads".to_owned(),
                programs: Vec::new(),
                toolchains: Vec::new(),
                installs: Vec::new(),
            }
        });
        verdict.programs = self.programs;
        verdict.toolchains = self.toolchains;
        verdict.installs = self.installs;
        verdict
    }
}

/// Adds a toolchain to a list that has each once.
fn note(list: &mut Vec<String>, name: Option<&str>) {
    if let Some(name) = name
        && list.len() < MOST_TOOLCHAINS
        && !list.iter().any(|known| known == name)
    {
        list.push(name.to_owned());
    }
}

/// The words of a simple command of which all is known; `None` for anything else.
pub(crate) fn static_words(line: &str) -> Option<Vec<String>> {
    let facts = Facts::at("/");
    let policy = Policy::default();
    let mut judge = Judge::new(&facts, &policy);
    let state = State::at(&facts.cwd);
    let parsed = crate::shell::parser::parse(line, &mut judge.progress).ok()?;
    let mut words = Vec::new();
    for token in &parsed.lexed.tokens {
        match token.kind {
            crate::shell::lexer::Kind::Word => {
                let expanded = judge.expand(&line[token.span.clone()], &state).ok()?;
                for word in expanded {
                    words.push(word.exact()?.to_owned());
                }
            }
            _ => return None,
        }
    }
    if judge.worst.is_some() || words.is_empty() { None } else { Some(words) }
}
