//! What makes local decoding valid and quick.

pub mod sampler;
pub mod session;
pub mod snapshot;

pub use sampler::Sampler;
pub use session::Session;
pub use snapshot::Snapshots;
