//! The loop: question, reply, step, tool, observation, answer.

pub mod event;
pub mod step;
