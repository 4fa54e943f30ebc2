//! `stigmer completions`.

use clap::{Args, CommandFactory, ValueEnum};
use clap_complete::{Shell as Generator, generate};

use crate::arguments::Arguments;
use crate::output::{Failure, Output};

/// Prints what a shell needs to complete the command line.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  stigmer completions bash > ~/.local/share/bash-completion/completions/stigmer
  stigmer completions zsh > ~/.zfunc/_stigmer
  stigmer completions fish > ~/.config/fish/completions/stigmer.fish")]
pub(crate) struct Completions {
    /// The shell
    shell: Shell,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
}

impl Completions {
    pub(crate) fn run(self, output: &mut Output) -> Result<u8, Failure> {
        let shell = match self.shell {
            Shell::Bash => Generator::Bash,
            Shell::Zsh => Generator::Zsh,
            Shell::Fish => Generator::Fish,
        };
        // Into memory first: the generator panics when it cannot write.
        let mut script = Vec::new();
        generate(shell, &mut Arguments::command(), "stigmer", &mut script);
        output.bytes(&script)?;
        Ok(0)
    }
}
