//! Skills in a workspace: added, listed and removed through any executor.
//!
//! A skill is a directory with a `SKILL.md` (agentskills.io). Written once over
//! [`ToolExecutor`](stigmer_core::ToolExecutor), it is the same on the host, in containers and in
//! whatever comes: a backend needs nothing of its own.
//!
//! ```text
//! <root>/.stigmer/skills/
//!     .gitignore            so that git sees nothing of it
//!     <name>.json           which version of a skill there is; appears and changes by rename
//!     <digest>/<name>/      its content; appears by rename, whole, and is never written to again
//!     .tmp-<random>/        content on its way in or out
//! ```
//!
//! Nothing is locked. A version's directory has its digest for a name, so that two who add the same
//! skill at once make the same; the record says which version counts, and whoever writes it last has
//! decided.

mod archive;
mod frontmatter;
pub mod limits;
mod pack;
mod package;
mod place;
mod record;
mod store;

pub use store::Skills;
