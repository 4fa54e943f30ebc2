//! What a rule says of a tool: its options, what it does with each argument, and its lane.
//!
//! The form in which rules are written is described in `rules/README.md`.

use std::collections::HashMap;

use serde::Deserialize;
use stigmer_core::Lane;

/// Bytes of a toolchain's name; the longest of ours has six.
const MOST_TOOLCHAIN: usize = 32;

/// What a tool does with a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Nothing that matters: a pattern, a number, a format.
    Text,
    /// A number, or nothing that is known of it but that.
    Number,
    /// Reads the contents of the file, or of what is beneath the directory.
    Read,
    /// Looks at names and attributes.
    List,
    /// Writes the file or beneath the directory.
    Write,
    /// Edits the file in its place, if it is there.
    Edit,
    /// Works in the directory; what it writes is beneath.
    Within,
    /// Works in another repository, whose configuration may name programs.
    Repository,
    /// Names something of the workspace that is changed, a branch for example.
    Change,
    /// A program of the workspace's own, or code that cannot be judged.
    Code,
    /// A file that is run.
    Run,
    /// The name of a Python module that is run.
    Module,
    /// A script of the shell.
    Script,
    /// A command: this word and all that follow.
    Command,
    /// A command up to `;` or `+`, as `find -exec` has it.
    Exec,
    /// The same in the directory of what is found, as `find -execdir` has it.
    ExecThere,
    /// `NAME=value` before a command.
    Assign,
    /// A program in sed's language.
    Sed,
    /// A program in awk's language.
    Awk,
    /// A format, which begins with `+`.
    Plus,
    /// The name of a variable of the shell.
    Name,
    /// Text in which the shell's own arithmetic or substitutions would be code.
    Inert,
    /// An argument of a program that may do anything in its lane, unless it asks for the network.
    Argument,
    /// An archive: of the workspace, and not on another machine, which `host:path` would be.
    Archive,
    /// A setting's name, which has a dot in it: a word without one is a subcommand to some versions.
    Key,
    /// Ports, states and numeric addresses: a name would be looked up, and so leave the machine.
    Endpoint,
    /// The name of a file, or a port, with no host.
    Local,
    /// A file that is read, and no file of options, whose name would begin with `@`.
    Input,
    /// What git prints, which may have it ask gpg about signatures.
    Format,
    /// One of these words.
    Choice(Vec<String>),
    /// Nothing is accepted here.
    Refuse,
}

/// How often a positional argument may occur.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Times {
    Once,
    AtMostOnce,
    Any,
}

/// The positional arguments, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Arguments(pub(crate) Vec<(Kind, Times)>);

/// Whether an option has a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    None,
    /// Only if it is attached: `--color=auto`.
    Attached,
    /// In the same word, or the next ones.
    Required,
}

/// An option that a rule accepts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Accepted {
    /// Whether it has a value.
    pub(crate) value: Value,
    /// What is done with it; more than one kind means more than one word.
    pub(crate) kinds: Vec<Kind>,
    /// The least lane of a command that has the option.
    pub(crate) lane: Lane,
    /// The first positional argument is not expected any more.
    pub(crate) drops: bool,
    /// Positional arguments are these instead.
    pub(crate) arguments: Option<Arguments>,
    /// All that follows is positional.
    pub(crate) last: bool,
    /// What the positional arguments name is written, or edited.
    pub(crate) changes: Option<Kind>,
}

/// What is known of a tool or of one of its subcommands.
#[derive(Clone, Debug)]
pub(crate) struct Tool {
    /// The name under which it is found, which is also the rule's.
    pub(crate) name: String,
    /// The least lane.
    pub(crate) lane: Lane,
    /// The least lane without any argument: an interpreter then runs what it reads.
    pub(crate) bare: Lane,
    /// Why it is that lane.
    pub(crate) reason: Option<String>,
    short: HashMap<char, usize>,
    long: Vec<(String, usize)>,
    accepted: Vec<Accepted>,
    /// Positional arguments.
    pub(crate) arguments: Arguments,
    /// The first positional argument ends the options.
    pub(crate) posix: bool,
    /// Options of several letters begin with one `-`, as those of find.
    pub(crate) single_dash: bool,
    /// `-5` is a number.
    pub(crate) numeric: bool,
    /// `+…` is an option: a toolchain, a position.
    pub(crate) plus: bool,
    /// Long options may be abbreviated.
    pub(crate) abbreviate: bool,
    /// Every option is accepted: the lane fits whatever the tool does.
    pub(crate) any: bool,
    /// No option of the tool does more than read, so that a word of which nothing is known is none
    /// to fear.
    pub(crate) harmless: bool,
    /// The first positional argument names a subcommand.
    pub(crate) subcommands: bool,
    /// The first word is a cluster of options even without `-`, as tar's.
    pub(crate) cluster: bool,
    /// Runs a program that a repository's configuration may name.
    pub(crate) repository: bool,
    /// More words follow that come from standard input.
    pub(crate) appends: bool,
    /// Words that are neither options nor arguments: parentheses of an expression.
    pub(crate) operators: Vec<String>,
    /// The subcommand that is meant where none is given.
    pub(crate) default: Option<String>,
    /// The shell does it by itself, without a program.
    pub(crate) builtin: bool,
    /// It runs a program that the workspace has installed, and fetches one that it has not.
    pub(crate) fetches: bool,
    /// Words each of which alone only makes it tell something of itself.
    pub(crate) tells: Vec<String>,
    /// First words with which it changes nothing.
    pub(crate) looks: Vec<String>,
    /// The toolchain that it is part of.
    pub(crate) toolchain: Option<String>,
    /// The toolchain whose state it changes.
    pub(crate) installs: Option<String>,
}

/// What a word that begins with `-` turned out to be.
pub(crate) enum Found<'a> {
    /// An option that is accepted.
    One(&'a Accepted),
    /// None that is known.
    Unknown,
}

impl Tool {
    /// Whether it starts another command that it is given, or is one of several.
    pub(crate) fn leads_on(&self) -> bool {
        self.subcommands || self.arguments.0.iter().any(|(kind, _)| *kind == Kind::Command)
    }

    /// The option of one letter.
    pub(crate) fn short(&self, letter: char) -> Found<'_> {
        self.short.get(&letter).map_or(Found::Unknown, |index| Found::One(&self.accepted[*index]))
    }

    /// The option of several letters. An abbreviation has to belong to one option only: tools refuse
    /// others, and a version that knows fewer options must not find another meaning.
    pub(crate) fn long(&self, name: &str) -> Found<'_> {
        if let Some((_, index)) = self.long.iter().find(|(known, _)| known == name) {
            return Found::One(&self.accepted[*index]);
        }
        if self.abbreviate {
            let mut matches = self.long.iter().filter(|(known, _)| known.starts_with(name));
            if let (Some((_, index)), None) = (matches.next(), matches.next()) {
                return Found::One(&self.accepted[*index]);
            }
        }
        Found::Unknown
    }
}

/// A tool as it is written in a file of rules.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(crate) struct Written {
    lane: Option<String>,
    bare: Option<String>,
    reason: Option<String>,
    /// Options of one letter without a value.
    flags: String,
    /// Options of several letters without a value.
    long: String,
    /// Other options.
    options: Vec<String>,
    args: Option<String>,
    posix: bool,
    single_dash: bool,
    numeric: bool,
    plus: bool,
    exact: bool,
    any: bool,
    harmless: bool,
    subcommands: bool,
    cluster: bool,
    repository: bool,
    appends: bool,
    operators: Vec<String>,
    default: Option<String>,
    builtin: bool,
    fetches: bool,
    tells: String,
    looks: String,
    toolchain: Option<String>,
    installs: Option<String>,
    /// Other tools or sets of options (`%name`) whose options are added.
    with: Vec<String>,
}

/// Makes a rule of what is written. `find` gives what `with` names.
pub(crate) fn compile(
    name: &str,
    written: &Written,
    find: &dyn Fn(&str) -> Option<Written>,
) -> Result<Tool, String> {
    let lane = written.lane.as_deref().map_or(Ok(Lane::HostReadOnly), lane_named)?;
    let mut tool = Tool {
        name: name.to_owned(),
        lane,
        bare: written.bare.as_deref().map_or(Ok(lane), lane_named)?,
        reason: written.reason.clone(),
        short: HashMap::new(),
        long: Vec::new(),
        accepted: Vec::new(),
        arguments: arguments(written.args.as_deref().unwrap_or(""), ' ')?,
        posix: written.posix,
        single_dash: written.single_dash,
        numeric: written.numeric,
        plus: written.plus,
        abbreviate: !written.exact,
        any: written.any,
        harmless: written.harmless,
        subcommands: written.subcommands,
        cluster: written.cluster,
        repository: written.repository,
        appends: written.appends,
        operators: written.operators.clone(),
        default: written.default.clone(),
        builtin: written.builtin,
        fetches: written.fetches,
        tells: written.tells.split_whitespace().map(str::to_owned).collect(),
        looks: written.looks.split_whitespace().map(str::to_owned).collect(),
        toolchain: toolchain(written.toolchain.as_deref())?,
        installs: toolchain(written.installs.as_deref())?,
    };
    if tool.default.is_some() && !tool.subcommands {
        return Err("default names a subcommand, and there are none".to_owned());
    }
    tool.add(written)?;
    for other in &written.with {
        let other = find(other).ok_or_else(|| format!("{other} is not known"))?;
        tool.add(&other)?;
    }
    Ok(tool)
}

impl Tool {
    fn add(&mut self, written: &Written) -> Result<(), String> {
        let plain = Accepted {
            value: Value::None,
            kinds: Vec::new(),
            lane: Lane::HostReadOnly,
            drops: false,
            arguments: None,
            last: false,
            changes: None,
        };
        if !written.flags.is_empty() || !written.long.is_empty() {
            let index = self.accepted.len();
            self.accepted.push(plain.clone());
            for letter in written.flags.chars().filter(|letter| *letter != ' ') {
                self.short.entry(letter).or_insert(index);
            }
            for name in written.long.split_whitespace() {
                self.name_long(name, index);
            }
        }
        for option in &written.options {
            let index = self.accepted.len();
            let mut accepted = plain.clone();
            for part in option.split_whitespace() {
                if let Some(name) = part.strip_prefix('-') {
                    self.option(name, index, &mut accepted)?;
                } else {
                    attribute(part, &mut accepted)?;
                }
            }
            self.accepted.push(accepted);
        }
        Ok(())
    }

    /// One of an option's names, with its value if it is the last.
    fn option(&mut self, name: &str, index: usize, into: &mut Accepted) -> Result<(), String> {
        let (name, value) = match name.split_once('=') {
            None => (name, None),
            Some((name, kinds)) => match (name.strip_suffix('['), kinds.strip_suffix(']')) {
                (Some(name), Some(kinds)) => (name, Some((Value::Attached, kinds))),
                _ => (name, Some((Value::Required, kinds))),
            },
        };
        if let Some((value, kinds)) = value {
            into.value = value;
            into.kinds = kinds.split(',').map(kind).collect::<Result<_, _>>()?;
        }
        let mut letters = name.chars();
        match (letters.next(), letters.next()) {
            (Some('-'), Some(_)) => self.name_long(&name[1..], index),
            (Some(letter), None) if !self.single_dash => {
                self.short.entry(letter).or_insert(index);
            }
            _ if self.single_dash => self.name_long(name, index),
            _ => return Err(format!("-{name} is neither a letter nor a long option")),
        }
        Ok(())
    }

    fn name_long(&mut self, name: &str, index: usize) {
        if !self.long.iter().any(|(known, _)| known == name) {
            self.long.push((name.to_owned(), index));
        }
    }
}

fn attribute(text: &str, into: &mut Accepted) -> Result<(), String> {
    match text {
        "workspace" | "sandbox" => into.lane = lane_named(text)?,
        "drop" => into.drops = true,
        "last" => into.last = true,
        "writes" => into.changes = Some(Kind::Write),
        "edits" => into.changes = Some(Kind::Edit),
        _ => match text.strip_prefix("args:") {
            Some(list) => into.arguments = Some(arguments(list, ',')?),
            None => return Err(format!("{text} says nothing of an option")),
        },
    }
    Ok(())
}

/// The name of a toolchain is a word that may stand in a list and in a file's name.
fn toolchain(name: Option<&str>) -> Result<Option<String>, String> {
    let Some(name) = name else { return Ok(None) };
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if name.is_empty() || name.len() > MOST_TOOLCHAIN || !name.bytes().all(plain) {
        return Err(format!("{name} is no toolchain's name: small letters, digits, -"));
    }
    Ok(Some(name.to_owned()))
}

fn lane_named(name: &str) -> Result<Lane, String> {
    match name {
        "read-only" => Ok(Lane::HostReadOnly),
        "workspace" => Ok(Lane::HostWorkspace),
        "sandbox" => Ok(Lane::Sandbox),
        _ => Err(format!("{name} is no lane: read-only, workspace, sandbox")),
    }
}

fn arguments(text: &str, separator: char) -> Result<Arguments, String> {
    let mut items = Vec::new();
    for item in text.split(separator).filter(|item| !item.is_empty()) {
        let (name, times) = match (item.strip_suffix('*'), item.strip_suffix('?')) {
            (Some(name), _) => (name, Times::Any),
            (_, Some(name)) => (name, Times::AtMostOnce),
            _ => (item, Times::Once),
        };
        items.push((kind(name)?, times));
    }
    if items.iter().filter(|(_, times)| *times == Times::Any).count() > 1 {
        return Err(format!("{text}: only one argument may repeat"));
    }
    Ok(Arguments(items))
}

fn kind(name: &str) -> Result<Kind, String> {
    Ok(match name {
        "text" => Kind::Text,
        "number" => Kind::Number,
        "read" => Kind::Read,
        "list" => Kind::List,
        "write" => Kind::Write,
        "edit" => Kind::Edit,
        "within" => Kind::Within,
        "repository" => Kind::Repository,
        "change" => Kind::Change,
        "code" => Kind::Code,
        "run" => Kind::Run,
        "module" => Kind::Module,
        "script" => Kind::Script,
        "command" => Kind::Command,
        "exec" => Kind::Exec,
        "exec-there" => Kind::ExecThere,
        "assign" => Kind::Assign,
        "sed" => Kind::Sed,
        "awk" => Kind::Awk,
        "plus" => Kind::Plus,
        "name" => Kind::Name,
        "inert" => Kind::Inert,
        "archive" => Kind::Archive,
        "key" => Kind::Key,
        "argument" => Kind::Argument,
        "endpoint" => Kind::Endpoint,
        "local" => Kind::Local,
        "input" => Kind::Input,
        "format" => Kind::Format,
        "refuse" => Kind::Refuse,
        _ if name.contains('|') => Kind::Choice(name.split('|').map(str::to_owned).collect()),
        _ => return Err(format!("{name} is no kind of value")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compiled(text: &str) -> Result<Tool, String> {
        let written: Written = toml::from_str(text).map_err(|error| error.to_string())?;
        compile("x", &written, &|_| None)
    }

    #[test]
    fn an_option_is_found_by_each_of_its_names_and_by_a_clear_abbreviation() {
        let tool = compiled(
            "flags = 'ab'\nlong = 'reverse'\noptions = ['-o --output=write', '--color[=a|b]']",
        )
        .unwrap();
        assert!(matches!(tool.short('a'), Found::One(_)));
        assert!(matches!(tool.short('c'), Found::Unknown));
        for name in ["output", "outp", "o"] {
            let Found::One(option) = tool.long(name) else { panic!("{name}") };
            assert_eq!((option.value, &option.kinds[..]), (Value::Required, &[Kind::Write][..]));
        }
        assert!(matches!(tool.long("x"), Found::Unknown));
        assert!(matches!(tool.long(""), Found::Unknown), "any option begins with nothing");
    }

    #[test]
    fn a_mistake_in_a_rule_is_an_error_that_names_it() {
        for (text, named) in [
            ("lane = 'host'", "host"),
            ("options = ['-o=nothing']", "nothing"),
            ("options = ['-output']", "output"),
            ("options = ['-o maybe']", "maybe"),
            ("args = 'read* write*'", "repeat"),
            ("with = ['%none']", "%none"),
            ("flag = 'a'", "flag"),
            ("toolchain = 'My Python'", "My Python"),
            ("installs = ''", "toolchain"),
            ("default = 'install'", "default"),
        ] {
            let error = compiled(text).unwrap_err();
            assert!(error.contains(named), "{text}: {error}");
        }
    }
}
