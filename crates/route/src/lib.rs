//! Auto mode's decision: which lane a command belongs in, by which rule, and why.
//!
//! [`decide`] is a pure function of a command, a few facts about the place it would run in, and a
//! [`Policy`]. Nothing here reads a file, an environment variable or the clock, so the same
//! question always has the same answer, and asking costs microseconds.
//!
//! The decision is made by acceptance, never by suspicion. A command line is parsed twice, by
//! tree-sitter's Bash grammar and by a small lexer of our own; a node that is not known, or a word
//! on which the two do not agree, sends the command to the sandbox. So does a tool, an option or a
//! use of an argument that no rule names. Of several parts the strictest decides.
//!
//! The lane is where to *try*. What the host lanes may do is enforced by the kernel: this crate
//! makes the right lane likely, the guard makes the wrong one harmless.
//!
//! ```
//! use stigmer_core::Lane;
//! use stigmer_core::process::Command;
//! use stigmer_route::{Facts, Policy, decide};
//!
//! let facts = Facts::at("/home/ada/project");
//! let command = Command::Shell("ls -la | tee out.txt".into());
//! let verdict = decide(&command, &facts, Policy::embedded());
//! assert_eq!(verdict.lane, Lane::HostWorkspace);
//! assert_eq!(verdict.rule, "tee");
//! assert_eq!(verdict.token, "out.txt");
//! ```

mod environments;
mod judge;
mod languages;
mod path;
mod policy;
mod rules;
mod shell;
mod verdict;

pub use environments::{Environment, TEMPORARY, environments};
pub use judge::decide;
pub use policy::{BadPolicy, Policy};
pub use verdict::{Facts, Verdict};

/// What a test of the cost of decisions needs to see: what was counted, and the most that there may
/// be. Not for other use.
#[doc(hidden)]
pub fn work(
    command: &stigmer_core::process::Command,
    facts: &Facts,
    policy: &Policy,
) -> [(usize, usize); 6] {
    judge::work(command, facts, policy)
}

/// What a test against bash itself needs to see of how words are read. Not for other use.
#[doc(hidden)]
pub fn static_words(line: &str) -> Option<Vec<String>> {
    judge::static_words(line)
}
