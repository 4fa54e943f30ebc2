//! Small languages in which a tool takes its program as an argument.

pub(crate) mod awk;
pub(crate) mod sed;
