//! Lanes, in a build that has none: every one is refused.

use std::convert::Infallible;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

use rustix::event::PollFlags;
use rustix::process::Pid;
use stigmer_core::{Denied, Lane as LaneKind, Routing};

use super::protocol::{Confine, Launch};

#[derive(Debug, Default)]
pub(super) struct Ahead;

impl Ahead {
    pub(super) fn make(_: LaneKind) -> Self {
        Self
    }
}

#[derive(Debug)]
pub(super) struct Lane(Infallible);

impl Lane {
    pub(super) fn plan(
        _: &Launch,
        _: &Confine,
        _: Option<&Path>,
        _: Option<PathBuf>,
        _: Ahead,
    ) -> Result<Self, String> {
        Err("this program was built without lanes".to_owned())
    }

    pub(super) fn routing(&self) -> &Routing {
        match self.0 {}
    }

    pub(super) fn has_namespaces(&self) -> bool {
        match self.0 {}
    }

    pub(super) fn forgo(&mut self) {
        match self.0 {}
    }

    pub(super) fn begin(
        &mut self,
        _: &Path,
        _: &OsStr,
        _: &[OsString],
        _: [BorrowedFd<'_>; 3],
        _: &dyn Fn() -> io::Result<()>,
    ) -> Result<io::Result<Pid>, String> {
        match self.0 {}
    }

    pub(super) fn ended(&self) {
        match self.0 {}
    }

    pub(super) fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        match self.0 {}
    }

    pub(super) fn answer(&mut self, _: PollFlags) {
        match self.0 {}
    }

    pub(super) fn stopped(&self) -> Option<Denied> {
        match self.0 {}
    }

    pub(super) fn told(&self) -> Option<Denied> {
        match self.0 {}
    }

    pub(super) fn take_away(&self) {
        match self.0 {}
    }
}
