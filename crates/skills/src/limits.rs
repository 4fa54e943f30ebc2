//! Every limit of skills, each with its reason.

use std::time::Duration;

/// The longest name, as the format says (agentskills.io).
pub const MAX_NAME: usize = 64;

/// The longest description in characters, as the format says (agentskills.io).
pub const MAX_DESCRIPTION: usize = 1024;

/// The longest head of a `SKILL.md`: a name, a description and a few words more.
pub const MAX_FRONTMATTER_BYTES: usize = 64 << 10;

/// The most files, directories and links of one skill. Large published ones have some hundreds.
pub const MAX_ENTRIES: usize = 1_000;

/// The most bytes of one file.
pub const MAX_FILE_BYTES: u64 = 16 << 20;

/// The most bytes of all files of a skill: it is held in memory while it is looked at. The most that
/// hosted agents take is 30 MB.
pub const MAX_SKILL_BYTES: u64 = 32 << 20;

/// How deep its directories may lie in each other.
pub const MAX_DEPTH: usize = 16;

/// The longest name in an archive, and the longest target of a link: more is no path (`PATH_MAX`).
pub const MAX_PATH: usize = 4096;

/// The most bytes of an archive, unpacked: the content, and what stands around that many entries. An
/// entry has a header and padding, and for a long name two more blocks of each (`tar(5)`).
pub const MAX_ARCHIVE_BYTES: usize = MAX_SKILL_BYTES as usize + MAX_ENTRIES * 4096;

/// The most skills in a workspace: an agent is told the description of each.
pub const MAX_SKILLS: usize = 256;

/// How many skills are added at a time by one process: each is held in memory.
pub(crate) const ADDED_AT_ONCE: usize = 2;

/// How long a version that was replaced, or what a process that died has left, stays. Whoever was
/// told the path of a replaced version goes on with it.
pub(crate) const KEPT: Duration = Duration::from_secs(24 * 3600);

/// How often a skill is put in its place anew because somebody else removed it meanwhile.
pub(crate) const TRIES: usize = 4;
