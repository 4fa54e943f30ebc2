//! What a lane is made for.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// What a lane is made for: where the command works and who called it.
///
/// All of it is the caller's word and trusted, but for what lies in the workspace.
#[derive(Clone)]
pub struct Policy {
    /// The root of the workspace.
    pub workspace: PathBuf,
    /// Where the command begins.
    pub cwd: PathBuf,
    /// The caller's variables. The last of a name counts. `HOME` and `PATH` are taken from here.
    pub environment: Vec<(OsString, OsString)>,
    /// Variables that were said for this command. It has them, instead of the caller's of the same name; but
    /// they may be an agent's word, so that no right follows from them.
    pub declared: Vec<(OsString, OsString)>,
    /// More directories that hold tools.
    pub tool_roots: Vec<PathBuf>,
    /// The command, as a shell's text or a program and its arguments. It gives no rights but one: in the
    /// read-only lane files of the caller's own in `/tmp` that it names may be read. It says what is worth a
    /// look, too; without it the lane does not name what could not be read.
    pub command: Vec<OsString>,
    /// The programs that the command is known to call, as it names them.
    pub programs: Vec<OsString>,
    /// The command's terminal, if it has one (`/dev/pts/4`).
    pub terminal: Option<PathBuf>,
    /// Where the read-only lane's private directory is made; `None` chooses a place in memory.
    pub temporary: Option<PathBuf>,
    /// Whether it is named what could not be read: in the workspace lane, and in the read-only lane of a
    /// command that seems to read elsewhere. The supervisor is asked about every file that is opened for
    /// reading then, which takes some microseconds each.
    pub name_reads: bool,
}

/// Values of variables are nobody's to print.
impl fmt::Debug for Policy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut policy = formatter.debug_struct("Policy");
        policy.field("workspace", &self.workspace).field("cwd", &self.cwd).finish_non_exhaustive()
    }
}

impl Policy {
    /// A policy for a workspace, with nothing special.
    pub fn new(workspace: impl Into<PathBuf>, environment: Vec<(OsString, OsString)>) -> Self {
        let workspace = workspace.into();
        Self {
            cwd: workspace.clone(),
            workspace,
            environment,
            declared: Vec::new(),
            tool_roots: Vec::new(),
            command: Vec::new(),
            programs: Vec::new(),
            terminal: None,
            temporary: None,
            name_reads: true,
        }
    }

    /// A variable's value.
    pub(crate) fn variable(&self, name: &str) -> Option<&OsStr> {
        let mut all = self.environment.iter().rev();
        all.find(|(key, _)| key == name).map(|(_, value)| value.as_os_str())
    }

    /// The caller's home directory, if it is one.
    pub(crate) fn home(&self) -> Option<&Path> {
        let home = Path::new(self.variable("HOME")?);
        home.is_absolute().then_some(home)
    }

    /// Where the caller's programs are.
    pub(crate) fn path(&self) -> impl Iterator<Item = PathBuf> {
        self.entries(self.variable("PATH"))
    }

    /// Where the command looks programs up.
    pub(crate) fn search(&self) -> impl Iterator<Item = PathBuf> {
        let declared = self.declared.iter().rev().find(|(name, _)| name == "PATH");
        self.entries(declared.map(|(_, value)| value.as_os_str()).or(self.variable("PATH")))
    }

    fn entries<'a>(&'a self, path: Option<&'a OsStr>) -> impl Iterator<Item = PathBuf> {
        let path = path.unwrap_or(OsStr::new("/usr/local/bin:/usr/bin:/bin"));
        path.as_bytes().split(|byte| *byte == b':').map(|entry| match entry {
            // An empty entry is the working directory (POSIX, "Environment Variables").
            b"" => self.cwd.clone(),
            entry => self.cwd.join(OsStr::from_bytes(entry)),
        })
    }

    /// A place of the data files for this caller; `None` if it begins with what there is not.
    pub(crate) fn place(&self, text: &str) -> Option<PathBuf> {
        let (first, rest) = text.split_once('/').unwrap_or((text, ""));
        let base = match first {
            "" => Path::new("/"),
            "~" => self.home()?,
            variable => Path::new(self.variable(variable.strip_prefix('$')?)?),
        };
        let plain = |path: &Path| path.is_absolute() && path.as_os_str().len() > 1;
        (plain(base) || first.is_empty())
            .then(|| if rest.is_empty() { base.to_owned() } else { base.join(rest) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_begins_at_the_root_the_home_directory_or_a_variable() {
        let variables =
            [("HOME", "/h"), ("NVM_DIR", "/n"), ("EMPTY", ""), ("ROOT", "/"), ("REL", "a")];
        let policy = Policy::new(
            "/w",
            variables.iter().map(|(name, value)| (name.into(), value.into())).collect(),
        );
        let place = |text| policy.place(text).map(|path| path.to_str().unwrap().to_owned());
        assert_eq!(place("/usr").as_deref(), Some("/usr"));
        assert_eq!(place("~").as_deref(), Some("/h"));
        assert_eq!(place("~/.cargo").as_deref(), Some("/h/.cargo"));
        assert_eq!(place("$NVM_DIR").as_deref(), Some("/n"));
        assert_eq!(place("$NVM_DIR/x").as_deref(), Some("/n/x"));
        for nothing in ["$MISSING", "$EMPTY", "$ROOT", "$REL"] {
            assert_eq!(place(nothing), None, "{nothing}");
        }
    }

    #[test]
    fn an_empty_entry_of_path_is_the_working_directory() {
        let policy = Policy::new("/w", vec![("PATH".into(), "/a::b:".into())]);
        let path: Vec<_> = policy.path().collect();
        assert_eq!(path, ["/a", "/w", "/w/b", "/w"].map(PathBuf::from));
    }
}
