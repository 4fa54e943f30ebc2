//! What crosses the wire arrives as it was, and nothing that arrives does harm.

mod any;
mod errors;
mod hostile;
mod round_trips;
mod splitting;
