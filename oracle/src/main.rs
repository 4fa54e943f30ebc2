//! The process of a world: reads trials and writes observations, one a line.
fn main() -> std::process::ExitCode {
    stigmer_oracle::serve()
}
