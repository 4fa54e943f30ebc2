//! The rules in force: ours, the user's, and what a project adds to be stricter.

use std::collections::HashMap;
use std::fmt;
use std::sync::{LazyLock, OnceLock};

use serde::Deserialize;

use crate::path::Names;
use crate::rules::{self, Tool, Written};

/// The rules that every policy begins with, one file for each family.
const EMBEDDED: &[(&str, &str)] = &[
    ("build.toml", include_str!("../rules/build.toml")),
    ("files.toml", include_str!("../rules/files.toml")),
    ("git.toml", include_str!("../rules/git.toml")),
    ("languages.toml", include_str!("../rules/languages.toml")),
    ("places.toml", include_str!("../rules/places.toml")),
    ("refused.toml", include_str!("../rules/refused.toml")),
    ("shell.toml", include_str!("../rules/shell.toml")),
    ("system.toml", include_str!("../rules/system.toml")),
    ("text.toml", include_str!("../rules/text.toml")),
];

/// A file of rules that is larger has not been written by a person.
const MOST_BYTES: usize = 1024 * 1024;

static POLICY: LazyLock<Policy> = LazyLock::new(Policy::read_embedded);

/// A file of rules that cannot be used. The message names the tool or the line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadPolicy(String);

impl fmt::Display for BadPolicy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for BadPolicy {}

/// Names of files, variables and words that rules share.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(crate) struct Lists {
    /// Files and directories that hold credentials.
    pub(crate) credentials: Vec<String>,
    /// Paths in the workspace that are not written from the host.
    pub(crate) protected: Vec<String>,
    /// Variables that change nothing but how output looks.
    pub(crate) harmless_variables: Vec<String>,
    /// Variables that make programs load, run or connect.
    pub(crate) influential_variables: Vec<String>,
    /// Directories whose programs are what their names say.
    pub(crate) program_directories: Vec<String>,
    /// Python modules that install or serve.
    pub(crate) refused_modules: Vec<String>,
    /// Words in code that speak of the network or of installing.
    pub(crate) network_words: Vec<String>,
    /// Devices that anyone may read and write.
    pub(crate) devices: Vec<String>,
    /// What may be read of the kernel's directory of processes.
    pub(crate) kernel_files: Vec<String>,
}

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    lists: Lists,
    #[serde(flatten)]
    tools: HashMap<String, Written>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Layer {
    User,
    Project,
}

/// A rule, and what it was made from.
#[derive(Clone, Debug)]
struct Entry {
    /// The rule as it is written, if it is one of ours: compiling all of them takes longer than the
    /// whole of a short command.
    section: &'static str,
    tool: OnceLock<Option<Tool>>,
}

/// The rules in force.
///
/// A user's file may add tools and replace ours. A project's file, which comes with the code that
/// an agent works on, can only make a verdict stricter: its rule for a tool is applied in addition
/// to ours, and the stricter of the two decides.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    tools: HashMap<String, Entry>,
    project: HashMap<String, Tool>,
    fragments: HashMap<String, Written>,
    lists: Lists,
    credentials: Names,
    protected: Names,
    kernel: Names,
}

impl Policy {
    /// The rules that come with stigmer.
    pub fn embedded() -> &'static Self {
        &POLICY
    }

    /// Adds a user's rules, which may extend and replace.
    ///
    /// # Errors
    ///
    /// The text is not TOML, or a rule in it is not understood. Nothing of it is taken then.
    pub fn with_user(&self, text: &str) -> Result<Self, BadPolicy> {
        let mut policy = self.clone();
        policy.add(text, Layer::User)?;
        Ok(policy)
    }

    /// Adds a project's rules, which may only tighten.
    ///
    /// # Errors
    ///
    /// The text is not TOML, a rule in it is not understood, or it would loosen something. Nothing
    /// of it is taken then.
    pub fn with_project(&self, text: &str) -> Result<Self, BadPolicy> {
        let mut policy = self.clone();
        policy.add(text, Layer::Project)?;
        Ok(policy)
    }

    /// The rule for a tool (`ls`) or a subcommand (`git log`).
    pub(crate) fn tool(&self, name: &str) -> Option<&Tool> {
        let entry = self.tools.get(name)?;
        entry.tool.get_or_init(|| self.compile(name, entry.section).ok()).as_ref()
    }

    /// What the project says in addition.
    pub(crate) fn project_tool(&self, name: &str) -> Option<&Tool> {
        self.project.get(name)
    }

    /// Files and directories that hold credentials.
    pub(crate) fn credentials(&self) -> &Names {
        &self.credentials
    }

    /// Paths in the workspace that are not written from the host.
    pub(crate) fn protected(&self) -> &Names {
        &self.protected
    }

    /// Patterns that may mean the kernel's own directories.
    pub(crate) fn kernel(&self) -> &Names {
        &self.kernel
    }

    /// Makes of the lists what is compared.
    fn compile_lists(&mut self) {
        self.credentials = Names::new(&self.lists.credentials);
        self.protected = Names::new(&self.lists.protected);
        self.kernel = Names::new(&["/pro*", "/de*"]);
    }

    pub(crate) fn lists(&self) -> &Lists {
        &self.lists
    }

    fn read_embedded() -> Self {
        let mut policy = Self::default();
        for (_, text) in EMBEDDED {
            for (names, section) in sections(text) {
                if names == "lists" {
                    policy.lists = one(section).unwrap_or_default();
                } else if names.starts_with('%') {
                    let fragment = one(section).unwrap_or_default();
                    policy.fragments.insert(names.to_owned(), fragment);
                } else {
                    for name in names.split(',') {
                        let entry = Entry { section, tool: OnceLock::new() };
                        policy.tools.insert(name.trim().to_owned(), entry);
                    }
                }
            }
        }
        policy.compile_lists();
        policy
    }

    fn compile(&self, name: &str, section: &str) -> Result<Tool, BadPolicy> {
        self.compile_written(name, &one(section)?)
    }

    fn compile_written(&self, name: &str, written: &Written) -> Result<Tool, BadPolicy> {
        let find = |name: &str| self.fragments.get(name).cloned();
        rules::compile(name, written, &find).map_err(|error| BadPolicy(format!("{name}: {error}")))
    }

    fn add(&mut self, text: &str, layer: Layer) -> Result<(), BadPolicy> {
        if text.len() > MOST_BYTES {
            return Err(BadPolicy(format!("rules may have {MOST_BYTES} bytes")));
        }
        let file: File = toml::from_str(text).map_err(|error| BadPolicy(error.to_string()))?;
        self.add_lists(file.lists, layer)?;
        for (names, written) in file.tools {
            for name in names.split(',').map(str::trim) {
                if name.starts_with('%') {
                    return Err(BadPolicy(format!("{name}: sets of options are ours alone")));
                }
                let tool = self.compile_written(name, &written)?;
                if layer == Layer::Project {
                    self.project.insert(name.to_owned(), tool);
                } else {
                    let entry = Entry { section: "", tool: OnceLock::from(Some(tool)) };
                    self.tools.insert(name.to_owned(), entry);
                }
            }
        }
        Ok(())
    }

    fn add_lists(&mut self, lists: Lists, layer: Layer) -> Result<(), BadPolicy> {
        let ours = &mut self.lists;
        ours.credentials.extend(lists.credentials);
        ours.protected.extend(lists.protected);
        ours.influential_variables.extend(lists.influential_variables);
        ours.refused_modules.extend(lists.refused_modules);
        ours.network_words.extend(lists.network_words);
        for (name, loosens, into) in [
            ("harmless-variables", lists.harmless_variables, &mut ours.harmless_variables),
            ("program-directories", lists.program_directories, &mut ours.program_directories),
            ("devices", lists.devices, &mut ours.devices),
            ("kernel-files", lists.kernel_files, &mut ours.kernel_files),
        ] {
            if layer == Layer::Project && !loosens.is_empty() {
                return Err(BadPolicy(format!("{name}: a project may only tighten")));
            }
            into.extend(loosens);
        }
        self.compile_lists();
        Ok(())
    }
}

/// The tables of a file of ours: what is in the brackets, and the table's text.
fn sections(text: &'static str) -> impl Iterator<Item = (&'static str, &'static str)> {
    let begins = |at: usize| text[at..].starts_with('[') && (at == 0 || text[..at].ends_with('\n'));
    let starts = text.match_indices('[').map(|(at, _)| at).filter(move |at| begins(*at));
    let mut starts = starts.peekable();
    std::iter::from_fn(move || {
        let start = starts.next()?;
        let section = &text[start..starts.peek().copied().unwrap_or(text.len())];
        let header = section.lines().next().unwrap_or("");
        Some((header.trim_matches(['[', ']', '"']), section))
    })
}

/// The one table of a text.
fn one<T: serde::de::DeserializeOwned>(section: &str) -> Result<T, BadPolicy> {
    let bad = |error: String| BadPolicy(error);
    let tables: HashMap<String, T> =
        toml::from_str(section).map_err(|error| bad(error.to_string()))?;
    tables.into_values().next().ok_or_else(|| bad("there is no table".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_of_ours_can_be_read() {
        let policy = Policy::embedded();
        for (file, text) in EMBEDDED {
            let whole: toml::Table = toml::from_str(text).unwrap();
            let cut: Vec<_> = sections(text).map(|(names, _)| names).collect();
            assert_eq!(cut.len(), whole.len(), "{file}");
            for names in cut {
                assert!(whole.contains_key(names), "{file}: {names}");
            }
        }
        assert!(!policy.lists.credentials.is_empty());
        for (name, entry) in &policy.tools {
            if let Err(error) = policy.compile(name, entry.section) {
                panic!("{error}");
            }
        }
        assert!(policy.tools.len() > 500, "{}", policy.tools.len());
    }

    #[test]
    fn no_rule_is_written_twice() {
        let mut seen = HashMap::new();
        for (file, text) in EMBEDDED {
            for (names, _) in sections(text) {
                for name in names.split(',').map(str::trim) {
                    assert_eq!(seen.insert(name, *file), None, "{name} in {file}");
                }
            }
        }
    }

    #[test]
    fn a_project_may_not_loosen() {
        let policy = Policy::embedded();
        for text in [
            "[lists]\nharmless-variables = ['PATH']",
            "[lists]\nprogram-directories = ['/tmp']",
            "[lists]\ndevices = ['/dev/sda']",
            "['%diff']\nflags = 'x'",
        ] {
            assert!(policy.with_project(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_mistake_in_a_file_of_rules_is_an_error() {
        let policy = Policy::embedded();
        for text in ["[x", "[x]\nlane = 'host'", "[x]\nlanes = 'sandbox'", "[lists]\nnone = []"] {
            assert!(policy.with_user(text).is_err(), "{text}");
            assert!(policy.with_project(text).is_err(), "{text}");
        }
        assert!(policy.with_user(&" ".repeat(MOST_BYTES + 1)).is_err());
    }
}
