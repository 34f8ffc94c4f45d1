//! What there is: the driver, and the GPUs that it offers.

use anyhow::{Context, Result, ensure};
use cudarc::driver::{result, sys};
use sys::CUdevice_attribute_enum as Attribute;

/// Drivers for CUDA 12.0 and later have every function that is called here.
const OLDEST: i32 = 12_000;

/// The driver's library, as it is called here.
const LIBRARY: &str = if cfg!(windows) { "nvcuda.dll" } else { "libcuda.so.1" };

/// A GPU, as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gpu {
    pub name: String,
    /// Compute capability, major and minor.
    pub capability: (i32, i32),
    /// Bytes of its memory.
    pub total: u64,
    /// Bytes that no program has taken.
    pub free: u64,
    /// The version of CUDA that its driver is for, major and minor.
    pub cuda: (i32, i32),
}

/// The least compute capability that the kernels are compiled for.
pub(super) const LEAST: (i32, i32) = (8, 0);

impl Gpu {
    /// It has the instructions that the kernels use.
    pub fn is_supported(&self) -> bool {
        self.capability >= LEAST
    }
}

/// Finds the driver; returns the version of CUDA that it is for, 12080 for 12.8.
///
/// # Errors
/// There is none, it is too old, or it does not start.
pub(super) fn start() -> Result<i32> {
    // SAFETY: only tries to load the library.
    ensure!(
        unsafe { sys::is_culib_present() },
        "there is no NVIDIA driver on this machine ({LIBRARY} is not found): install the driver of \
         the GPU, or use --device cpu"
    );
    result::init().context("the NVIDIA driver does not start (use --device cpu without a GPU)")?;
    let mut version = 0;
    // SAFETY: writes one integer.
    unsafe { sys::cuDriverGetVersion(&mut version) }.result()?;
    ensure!(
        version >= OLDEST,
        "the NVIDIA driver is for CUDA {}.{}, and 12.0 or later is needed: update the driver, or \
         use --device cpu",
        version / 1000,
        version % 1000 / 10
    );
    Ok(version)
}

/// How many GPUs a driver on this machine offers; 0 where there is none.
pub fn devices() -> usize {
    let count = start().ok().and_then(|_| result::device::get_count().ok());
    count.and_then(|count| usize::try_from(count).ok()).unwrap_or(0)
}

/// The GPUs that a driver on this machine offers, in the order of their numbers.
///
/// # Errors
/// There is no driver that can be used.
pub fn gpus() -> Result<Vec<Gpu>> {
    let version = start()?;
    (0..result::device::get_count()?).map(|ordinal| gpu(ordinal, version)).collect()
}

/// A device's compute capability, major and minor.
pub(super) fn capability(device: sys::CUdevice) -> Result<(i32, i32)> {
    // SAFETY: attributes of a device that the driver named.
    let attribute = |what| unsafe { result::device::get_attribute(device, what) };
    Ok((
        attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?,
        attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?,
    ))
}

fn gpu(ordinal: i32, version: i32) -> Result<Gpu> {
    let device = result::device::get(ordinal)?;
    let name = result::device::get_name(device)?;
    let capability = capability(device)?;
    // SAFETY: the device is valid; its context is let go of once, after it has
    // stopped being this thread's.
    unsafe {
        let context = result::primary_ctx::retain(device)?;
        let memory = result::ctx::set_current(context).and_then(|()| result::mem_get_info());
        let _ = result::ctx::set_current(std::ptr::null_mut());
        let _ = result::primary_ctx::release(device);
        let (free, total) = memory?;
        let cuda = (version / 1000, version % 1000 / 10);
        Ok(Gpu { name, capability, total: total as u64, free: free as u64, cuda })
    }
}
