//! host.
fn main() {}
