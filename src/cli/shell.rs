//! What a shell wants to know of the program: completions and manual pages.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use anyhow::Context;
use clap_complete::Shell;

use super::exit::Exit;
use super::{Failure, args};

/// Prints the completion script for a shell.
pub fn completions(shell: Shell) -> Result<Exit, Failure> {
    // Not straight to standard output: the generator panics if that is closed.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut args::command(), "agent", &mut script);
    io::stdout().write_all(&script)?;
    Ok(Exit::Answered)
}

/// Prints the program's manual page, or writes the pages of all its commands
/// into a folder, which is made if need be.
pub fn man(folder: Option<&Path>) -> Result<Exit, Failure> {
    match folder {
        None => {
            let mut page = Vec::new();
            clap_mangen::Man::new(args::command()).render(&mut page)?;
            io::stdout().write_all(&page)?;
        }
        Some(folder) => fs::create_dir_all(folder)
            .and_then(|()| clap_mangen::generate_to(args::command(), folder))
            .with_context(|| format!("cannot write manual pages into {}", folder.display()))?,
    }
    Ok(Exit::Answered)
}
