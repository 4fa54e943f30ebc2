//! What to do when the other side does not answer: which request may be repeated, when, and how
//! often before nobody asks any more.
//!
//! Everything here is a function of what it is given: time and chance come from outside.

pub mod backoff;
pub mod breaker;
mod circuit;
mod repeat;

pub use backoff::Backoff;
pub use breaker::{Breaker, BreakerOptions, BreakerState, Change, Refused};
pub use circuit::{Admission, Circuit, Permit};
pub use repeat::{Repeat, is_stream, repeat, table};
