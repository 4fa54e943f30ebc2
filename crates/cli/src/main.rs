//! stigmer.
fn main() {}
