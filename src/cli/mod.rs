//! The command line: the only module that knows clap, rustyline and exit codes.
