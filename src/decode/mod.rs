//! What makes local decoding valid and quick.
