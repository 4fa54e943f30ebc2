//! Listing and searching, with ripgrep's engine and its rules on what to leave out.
//!
//! The walker (`ignore`, ripgrep's own) works with path strings, and a hostile process may swap a
//! directory for a symbolic link at any moment. So a walk only *proposes* names: a file's content
//! comes from [`Root::open_file`](crate::Root::open_file), an entry's kind and size from
//! [`Root::stat`](crate::Root::stat), and a name that cannot be reached beneath the root is dropped.
//!
//! Every result is the same whatever the number of threads and the order in which they find things:
//! see [`smallest`].

mod find;
mod grep;
mod hits;
mod ignore_files;
mod list;
mod pattern;
mod smallest;
mod stop;
mod unreadable;
mod walk;

pub(crate) use find::search_files;
pub(crate) use grep::grep_search;
pub(crate) use list::list_directory;
pub(crate) use stop::{Stop, StopOnDrop};
