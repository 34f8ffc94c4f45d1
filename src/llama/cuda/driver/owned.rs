//! What the driver gave and takes back.

use std::ffi::c_void;

use cudarc::driver::{result, sys};

/// An order in which work is done.
#[derive(Clone, Copy)]
pub(in super::super) struct Stream(pub(super) sys::CUstream);

// SAFETY: the driver's handles may be used from any thread with the context.
unsafe impl Send for Stream {}

/// Device memory, freed with the value.
pub(in super::super) struct Buffer {
    pub(in super::super) at: u64,
}

/// Host memory that the device reads at full speed.
pub(in super::super) struct Pinned {
    pub(super) at: *mut c_void,
    pub(super) bytes: usize,
}

// SAFETY: plain memory.
unsafe impl Send for Pinned {}

/// A recorded sequence of launches.
pub(in super::super) struct Graph(pub(super) sys::CUgraphExec);

// SAFETY: the driver's handles may be used from any thread with the context.
unsafe impl Send for Graph {}

impl Drop for Buffer {
    fn drop(&mut self) {
        // SAFETY: allocated by `allocate`, freed once.
        let _ = unsafe { result::free_sync(self.at) };
    }
}

impl Drop for Graph {
    fn drop(&mut self) {
        // SAFETY: instantiated by `record`, destroyed once.
        let _ = unsafe { result::graph::exec_destroy(self.0) };
    }
}

impl Pinned {
    /// The memory; not to be changed while an upload of it is under way.
    pub(in super::super) fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: allocated with this length, borrowed with `self`.
        unsafe { std::slice::from_raw_parts_mut(self.at.cast(), self.bytes) }
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // SAFETY: allocated by `pinned`, freed once.
        let _ = unsafe { result::free_host(self.at) };
    }
}
