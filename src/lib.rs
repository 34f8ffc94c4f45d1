//! An agent that runs a chat model on this machine and uses tools.
//!
//! One way through:
//!
//! ```text
//! question → prompt → token ids → reply → step → tool → observation → … → answer → memory
//! ```
//!
//! A module may import any layer below it, never one above or beside it:
//! `cli > agent > llm > decode > {llama, tool} > chat`; `hub` stands alone.
//! `tests/architecture.rs` reads the imports and fails on any other arrow.
//!
//! Laws:
//!
//! 1. Within a turn the prompt is append-only; from turn to turn it is
//!    byte-identical up to where the memory window moved.
//! 2. Same weights, engine, seed and conversation: same tokens, with caching
//!    and every other way of saving work switched on or off.
//! 3. A turn is atomic: it ends in an answer and is remembered whole, or
//!    memory is as it was.
//! 4. Nothing is dropped silently: an exchange that no longer fits is named,
//!    the system message and the question are never cut, and what cannot fit
//!    is an error before a token is spent.
//! 5. Every number in an answer is the person's, memory's or a tool's.

pub mod agent;
pub mod chat;
pub mod cli;
pub mod decode;
pub mod hub;
pub mod llama;
pub mod llm;
pub mod tool;
