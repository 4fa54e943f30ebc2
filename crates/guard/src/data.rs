//! The tables of `data/`, as constants; `build.rs` makes them.

include!(concat!(env!("OUT_DIR"), "/data.rs"));
