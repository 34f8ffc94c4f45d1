//! What makes local decoding valid and quick.

pub mod sampler;
pub mod session;

pub use sampler::Sampler;
pub use session::Session;
