//! Moving trees in and out.

mod download;
mod incoming;
mod upload;

pub(crate) use download::download;
pub(crate) use upload::upload;
