//! Skills: directories of instructions and files that an agent reads when it needs them.

use serde::{Deserialize, Serialize};

use crate::FilePath;

/// A skill that is in a workspace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skill {
    /// Its name, as its `SKILL.md` says: lower-case letters, digits and hyphens.
    pub name: String,
    /// What it does and when to use it, as its `SKILL.md` says.
    pub description: String,
    /// Its directory, absolute, as commands see it and file operations take it. The last component
    /// is its name; `SKILL.md` lies in it.
    pub path: FilePath,
    /// SHA-256 over all of its content, lower-case hexadecimal; the same on every backend.
    pub digest: String,
    /// How many files it has.
    pub files: u64,
    /// Bytes of content.
    pub bytes: u64,
    /// What is wrong with what is in the workspace; nothing else need be right then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// What adding a skill changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SkillChange {
    /// The workspace had no skill of this name.
    Added,
    /// It takes the place of another version, or of one that was damaged.
    Replaced,
    /// The workspace had exactly this content; nothing was written.
    Unchanged,
}

/// A skill that was added.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddedSkill {
    /// The skill.
    pub skill: Skill,
    /// What changed.
    pub change: SkillChange,
}
