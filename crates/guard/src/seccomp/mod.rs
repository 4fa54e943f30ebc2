//! What the lanes refuse by the number and arguments of a system call.
//!
//! `calls.rs` has the tables, `program.rs` makes the kernel's filter of them.

mod calls;
mod program;

pub(crate) use calls::{Answer, Options, Shape, find, opens_for_writing, program};
pub(crate) use program::Program;
