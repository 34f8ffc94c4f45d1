//! The `agent` program: parse, run, exit code. Everything else is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    // SAFETY: this is the first thing that the program's only thread does.
    unsafe { llama_agent::llama::threads::settle() };
    llama_agent::cli::main(std::env::args_os())
}
