//! Our own terminal.

use std::os::fd::AsRawFd;

use rustix::stdio::{stdin, stdout};
use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr};
use stigmer_core::process::TerminalSize;

/// Whether a person sits at both ends: keys in, characters out.
pub(crate) fn is_interactive() -> bool {
    isatty(stdin()) && isatty(stdout())
}

/// Whether standard input is a terminal whose keys are for others: we run in the background.
///
/// Groups are compared as numbers: one of an outer PID namespace has the number 0 here, which is no
/// process id for whoever reads it as one.
pub(crate) fn is_background() -> bool {
    // SAFETY: both take numbers and give numbers, and touch no memory.
    let (foreground, own) = unsafe { (libc::tcgetpgrp(stdin().as_raw_fd()), libc::getpgrp()) };
    foreground >= 0 && foreground != own
}

/// The size of our terminal.
pub(crate) fn size() -> Option<TerminalSize> {
    let size = tcgetwinsize(stdout()).or_else(|_| tcgetwinsize(stdin())).ok()?;
    (size.ws_row > 0 && size.ws_col > 0)
        .then_some(TerminalSize { rows: size.ws_row, columns: size.ws_col })
}

/// Our terminal passing on every key as it is, until this is dropped.
pub(crate) struct RawTerminal(Termios);

impl RawTerminal {
    /// Takes the terminal, if standard input is one.
    pub(crate) fn enter() -> Option<Self> {
        let before = tcgetattr(stdin()).ok()?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(stdin(), OptionalActions::Drain, &raw).ok()?;
        Some(Self(before))
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        let _ = tcsetattr(stdin(), OptionalActions::Drain, &self.0);
    }
}

/// Watches for the keys that leave a command without ending it: Ctrl-P Ctrl-Q, as `docker attach`
/// has them.
#[derive(Debug, Default)]
pub(crate) struct DetachKeys {
    first: bool,
}

impl DetachKeys {
    /// Whether the keys are complete with these bytes.
    pub(crate) fn complete_in(&mut self, bytes: &[u8]) -> bool {
        const CTRL_P: u8 = 0x10;
        const CTRL_Q: u8 = 0x11;
        for byte in bytes {
            if self.first && *byte == CTRL_Q {
                return true;
            }
            self.first = *byte == CTRL_P;
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keys_may_come_together_or_apart() {
        let complete = |pieces: &[&[u8]]| {
            let mut keys = DetachKeys::default();
            pieces.iter().any(|piece| keys.complete_in(piece))
        };
        assert!(complete(&[b"\x10\x11"]) && complete(&[b"a\x10", b"\x11"]));
        assert!(!complete(&[b"\x10a\x11"]) && !complete(&[b"\x11\x10"]));
    }
}
