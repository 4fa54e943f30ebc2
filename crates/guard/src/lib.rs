#![doc = include_str!("../README.md")]

mod data;
mod denials;
mod entry;
mod family;
mod grants;
mod handover;
mod held;
mod lane;
mod look;
mod masks;
mod namespaces;
mod nest;
mod outlook;
mod pattern;
mod plan;
mod planted;
mod policy;
mod probe;
mod repository;
mod roots;
mod rules;
mod scratch;
mod seccomp;
mod settings;
mod variables;
mod view;

pub use denials::Denials;
pub use entry::Entry;
pub use held::{Holding, held, is_held, is_held_in};
pub use lane::{HostLane, Refusal};
pub use nest::Nest;
pub use outlook::{Outlook, outlook};
pub use plan::{Pending, Plan, plan};
pub use policy::Policy;
pub use probe::Probe;
pub use variables::{Variables, Why, filter};
