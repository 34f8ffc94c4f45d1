//! The `agent` program: parse, run, exit code. Everything else is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    llama_agent::cli::main(std::env::args_os())
}
