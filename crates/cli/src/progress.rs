//! What a person sees who waits for a place.
//!
//! On a terminal each layer of an image has a line that changes; elsewhere there is a line for each
//! thing that is done. With `--json` there is nothing: the result says it all.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write as _};
use std::sync::{Mutex, PoisonError};

use stigmer_core::manager::Progress;

/// How much is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Telling {
    /// Nothing.
    Nothing,
    /// What takes long, and what should be known: whoever waits has asked for something else.
    Little,
    /// Everything: whoever waits has asked for this.
    All,
}

/// Shows progress on standard error.
pub(crate) struct Shown {
    telling: Telling,
    terminal: bool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The step that was begun and not shown.
    step: Option<String>,
    /// The layers on the terminal, in the order of their lines.
    layers: Vec<(String, String)>,
}

impl Shown {
    pub(crate) fn new(telling: Telling) -> Self {
        Self { telling, terminal: io::stderr().is_terminal(), state: Mutex::default() }
    }

    /// Shows what happens.
    pub(crate) fn show(&self, event: &Progress) {
        if self.telling == Telling::Nothing {
            return;
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let text = state.told(event, self.telling, self.terminal);
        // Nobody can be told that it cannot be written to.
        let _ = io::stderr().write_all(text.as_bytes());
    }
}

impl State {
    /// What to write.
    fn told(&mut self, event: &Progress, telling: Telling, terminal: bool) -> String {
        match event {
            Progress::Step(step) if telling == Telling::All || terminal => {
                self.layers.clear();
                format!("{}\n", clean(step))
            }
            Progress::Step(step) => {
                self.layers.clear();
                self.step = Some(clean(step));
                String::new()
            }
            Progress::Note(note) => {
                self.layers.clear();
                format!("note: {}\n", clean(note))
            }
            Progress::Layer { id, what, done, total } => {
                let begun = self.step.take().map(|step| format!("{step}\n"));
                let mut text = begun.unwrap_or_default();
                let (id, what) = (clean(id), clean(what));
                let line = match total {
                    0 => format!("  {id}  {what}"),
                    total => format!("  {id}  {what} {}", share(*done, *total)),
                };
                text.push_str(&self.line(&id, line, terminal, what == "complete"));
                text
            }
        }
    }

    /// Puts a layer's line in its place.
    fn line(&mut self, id: &str, line: String, terminal: bool, complete: bool) -> String {
        if !terminal {
            return if complete { format!("{line}\n") } else { String::new() };
        }
        let Some(at) = self.layers.iter().position(|(other, _)| other == id) else {
            let text = format!("{line}\n");
            self.layers.push((id.to_owned(), line));
            return text;
        };
        if self.layers[at].1 == line {
            return String::new();
        }
        // Up to its line, write it anew, and back below the last one.
        let up = self.layers.len() - at;
        let mut text = String::new();
        let _ = write!(text, "\x1b[{up}A\r\x1b[2K{line}\x1b[{up}B\r");
        self.layers[at].1 = line;
        text
    }
}

/// Texts of an engine and a registry cannot move the cursor.
fn clean(text: &str) -> String {
    /// Longer lines would wrap, and then lines could not be counted.
    const WIDTH: usize = 200;
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(WIDTH).collect()
}

fn share(done: u64, total: u64) -> String {
    let mega = |bytes: u64| bytes as f64 / 1e6;
    format!("{:.1}/{:.1} MB", mega(done.min(total)), mega(total))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(what: &str, done: u64) -> Progress {
        Progress::Layer { id: "abc".to_owned(), what: what.to_owned(), done, total: 2_000_000 }
    }

    #[test]
    fn elsewhere_than_on_a_terminal_there_is_a_line_for_what_is_done() {
        let mut state = State::default();
        let mut tell = |event: &Progress| state.told(event, Telling::Little, false);
        assert_eq!(tell(&Progress::Step("creating container".to_owned())), "");
        assert_eq!(tell(&Progress::Step("pulling x".to_owned())), "");
        assert_eq!(tell(&layer("downloading", 1_000_000)), "pulling x\n");
        assert_eq!(tell(&layer("complete", 2_000_000)), "  abc  complete 2.0/2.0 MB\n");
        assert_eq!(tell(&Progress::Note("a\x1b[31m copy".to_owned())), "note: a [31m copy\n");
    }

    #[test]
    fn on_a_terminal_a_layer_keeps_its_line() {
        let mut state = State::default();
        let mut tell = |event: &Progress| state.told(event, Telling::All, true);
        assert_eq!(tell(&layer("downloading", 0)), "  abc  downloading 0.0/2.0 MB\n");
        assert_eq!(tell(&layer("downloading", 0)), "");
        let text = tell(&layer("downloading", 1_000_000));
        assert_eq!(text, "\x1b[1A\r\x1b[2K  abc  downloading 1.0/2.0 MB\x1b[1B\r");
    }
}
