//! This machine: a model in this process.
