//! The cases, one file for each kind of operation.

mod directories;
mod edits;
mod errors;
mod files;
mod identity;
mod kernel;
mod output;
mod processes;
mod search;
mod skills;
mod steering;
mod terminal;
mod transfer;
mod watch;

use crate::Case;

/// Every case, in the order of the operations.
pub(crate) fn all() -> Vec<Case> {
    [
        files::cases(),
        kernel::cases(),
        edits::cases(),
        directories::cases(),
        search::cases(),
        transfer::cases(),
        skills::cases(),
        watch::cases(),
        processes::cases(),
        identity::cases(),
        steering::cases(),
        output::cases(),
        terminal::cases(),
        errors::cases(),
    ]
    .concat()
}
