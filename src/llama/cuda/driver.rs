//! The NVIDIA driver: one device, its memory, its kernels and its graphs.
//!
//! Everything `unsafe` of the engine is here and below. The driver is looked for when it
//! is first needed; without one, opening a device is an error like any other.

mod found;
mod owned;

use std::collections::HashMap;
use std::ffi::{CString, c_void};
use std::ptr;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use cudarc::driver::{result, sys};

pub use self::found::{Gpu, devices, gpus};
use self::found::{LEAST, capability, start};
pub(super) use self::owned::{Buffer, Graph, Pinned, Stream};

use super::kernels::FATBIN;
use super::plan::Launch;

/// A device with the kernels loaded.
pub(super) struct Device {
    ordinal: i32,
    device: sys::CUdevice,
    context: sys::CUcontext,
    pub(super) stream: Stream,
    module: sys::CUmodule,
    functions: HashMap<String, sys::CUfunction>,
    /// Compute capability, major and minor.
    pub(super) capability: (i32, i32),
    multiprocessors: i32,
    pub(super) name: String,
}

// SAFETY: the driver's handles may be used from any thread that has the
// context; `bind` sees to that before each use.
unsafe impl Send for Device {}

impl Device {
    /// Opens the device of this number and loads the kernels.
    pub(super) fn open(ordinal: usize) -> Result<Self> {
        start()?;
        let count = result::device::get_count()?;
        let ordinal = i32::try_from(ordinal).unwrap_or(i32::MAX);
        ensure!(
            ordinal < count,
            "there is no GPU {ordinal}, they are numbered from 0 and this machine has {count}: give \
             another number, or use --device cpu"
        );
        let device = result::device::get(ordinal)?;
        let name = result::device::get_name(device)?;
        use sys::CUdevice_attribute_enum as Attribute;
        let capability = capability(device)?;
        if capability < LEAST {
            bail!(
                "{name} has compute capability {}.{}, {}.{} or later is needed: use --device cpu",
                capability.0,
                capability.1,
                LEAST.0,
                LEAST.1
            );
        }
        // SAFETY: the device is valid; handles are made from valid handles.
        unsafe {
            let count = Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT;
            let multiprocessors = result::device::get_attribute(device, count)?;
            let context = result::primary_ctx::retain(device)?;
            result::ctx::set_current(context)?;
            let stream = Stream(result::stream::create(result::stream::StreamKind::NonBlocking)?);
            let module = result::module::load_data(FATBIN.as_ptr().cast())
                .with_context(|| format!("the kernels cannot be loaded on {name}"))?;
            let functions = HashMap::new();
            Ok(Self {
                ordinal,
                device,
                context,
                stream,
                module,
                functions,
                capability,
                multiprocessors,
                name,
            })
        }
    }

    /// Makes this thread work on the device.
    pub(super) fn bind(&self) -> Result<()> {
        // SAFETY: the context lives as long as `self`.
        unsafe { result::ctx::set_current(self.context) }
            .with_context(|| format!("GPU {} ({}) is gone", self.ordinal, self.name))
    }

    /// Free bytes of device memory, and all.
    pub(super) fn memory(&self) -> Result<(usize, usize)> {
        Ok(result::mem_get_info()?)
    }

    /// Bytes a second that a copy within the device's memory reads and writes.
    pub(super) fn copy_rate(&self) -> Result<f64> {
        // More than any cache holds, and often enough for the clock.
        let (bytes, times) = ((self.memory()?.0 / 8).min(1 << 30), 20);
        let (from, to) = (self.zeroed(bytes)?, self.allocate(bytes)?);
        let copy = || {
            // SAFETY: both sides were just allocated with this size.
            unsafe { sys::cuMemcpyDtoDAsync_v2(to.at, from.at, bytes, self.stream.0) }.result()
        };
        copy()?;
        self.synchronize(self.stream)?;
        let begun = Instant::now();
        (0..times).try_for_each(|_| copy())?;
        self.synchronize(self.stream)?;
        Ok((2 * bytes * times) as f64 / begun.elapsed().as_secs_f64())
    }

    /// Hopper's own code runs: blocks with all of its shared memory, dependent launches.
    pub(super) fn hopper(&self) -> bool {
        self.capability == (9, 0)
    }

    /// Memory with anything in it.
    pub(super) fn allocate(&self, bytes: usize) -> Result<Buffer> {
        // SAFETY: a plain allocation.
        let at = unsafe { result::malloc_sync(bytes.max(16)) }
            .with_context(|| format!("{bytes} bytes on {}", self.name))?;
        Ok(Buffer { at })
    }

    /// Memory full of zeros.
    pub(super) fn zeroed(&self, bytes: usize) -> Result<Buffer> {
        let buffer = self.allocate(bytes)?;
        // SAFETY: just allocated with this size.
        unsafe { result::memset_d8_async(buffer.at, 0, bytes, self.stream.0)? };
        // Not of the whole context: another engine may be recording on it.
        self.synchronize(self.stream)?;
        Ok(buffer)
    }

    pub(super) fn pinned(&self, bytes: usize) -> Result<Pinned> {
        // SAFETY: a plain allocation.
        let at = unsafe { result::malloc_host(bytes.max(16), 0)? };
        Ok(Pinned { at, bytes })
    }

    /// A stream besides the device's own.
    pub(super) fn stream(&self) -> Result<Stream> {
        Ok(Stream(result::stream::create(result::stream::StreamKind::NonBlocking)?))
    }

    /// Copies to device memory; the source stays as it is until the stream is
    /// synchronized.
    pub(super) fn upload(&self, to: u64, from: &Pinned, bytes: usize, on: Stream) -> Result<()> {
        ensure!(bytes <= from.bytes, "an upload past the end of its source");
        // SAFETY: both sides are valid for `bytes`; pinned memory outlives the copy.
        Ok(unsafe { sys::cuMemcpyHtoDAsync_v2(to, from.at, bytes, on.0) }.result()?)
    }

    /// Copies to device memory and waits.
    pub(super) fn write<T: Copy>(&self, to: u64, from: &[T]) -> Result<()> {
        // SAFETY: the caller's address is valid for as many bytes.
        unsafe { result::memcpy_htod_async(to, from, self.stream.0)? };
        // The source may be free again before the copy has arrived.
        self.synchronize(self.stream)
    }

    /// Copies from device memory, after everything on the stream.
    pub(super) fn read<T: Copy>(&self, to: &mut [T], from: u64) -> Result<()> {
        // SAFETY: as for `write`.
        unsafe { result::memcpy_dtoh_async(to, from, self.stream.0)? };
        self.synchronize(self.stream)
    }

    pub(super) fn synchronize(&self, stream: Stream) -> Result<()> {
        // SAFETY: the stream is valid.
        unsafe { result::stream::synchronize(stream.0) }
            .with_context(|| format!("work on {} failed", self.name))
    }

    fn function(&mut self, launch: &Launch) -> Result<sys::CUfunction> {
        if let Some(function) = self.functions.get(&launch.kernel) {
            return Ok(*function);
        }
        use sys::CUfunction_attribute_enum as Attribute;
        let name = CString::new(launch.kernel.as_str())?;
        // SAFETY: the module is loaded; the attribute is one of functions.
        let function = unsafe {
            let function = result::module::get_function(self.module, name)
                .with_context(|| format!("the kernel {}", launch.kernel))?;
            let most = Attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            result::function::set_function_attribute(function, most, launch.shared as i32)
                .with_context(|| format!("shared memory of the kernel {}", launch.kernel))?;
            function
        };
        self.functions.insert(launch.kernel.clone(), function);
        Ok(function)
    }

    /// Records launches that run one after the other. On Hopper each may begin
    /// before the last has ended; the kernels wait where they need to.
    pub(super) fn record(&mut self, launches: &[Launch]) -> Result<Graph> {
        let functions =
            launches.iter().map(|launch| self.function(launch)).collect::<Result<Vec<_>>>()?;
        let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        // SAFETY: between begin and end nothing but launches goes to the stream.
        unsafe { result::stream::begin_capture(self.stream.0, mode)? };
        let launched = launches
            .iter()
            .zip(functions)
            .try_for_each(|(launch, function)| self.launch(launch, function));
        // SAFETY: the capture was begun above; the graph is destroyed once.
        unsafe {
            let graph = result::stream::end_capture(self.stream.0);
            launched?;
            let graph = graph?;
            let exec = result::graph::instantiate(graph, sys::CUgraphInstantiate_flags(0));
            result::graph::destroy(graph)?;
            Ok(Graph(exec?))
        }
    }

    /// Blocks of a launch that the device runs at the same time.
    fn at_once(&self, launch: &Launch, function: sys::CUfunction) -> Result<u32> {
        let mut blocks = 0;
        // SAFETY: the function is of the loaded module.
        unsafe {
            sys::cuOccupancyMaxActiveBlocksPerMultiprocessor(
                &mut blocks,
                function,
                launch.threads as i32,
                launch.shared as usize,
            )
        }
        .result()?;
        ensure!(blocks > 0, "the kernel {} does not fit {}", launch.kernel, self.name);
        Ok((blocks * self.multiprocessors) as u32)
    }

    fn launch(&self, launch: &Launch, function: sys::CUfunction) -> Result<()> {
        use sys::CUlaunchAttributeID_enum as Id;
        let blocks = match launch.shares {
            true => launch.grid.0.min(self.at_once(launch, function)?),
            false => launch.grid.0,
        };
        let mut early = sys::CUlaunchAttribute {
            id: Id::CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION,
            pad: [0; 4],
            value: sys::CUlaunchAttributeValue { programmaticStreamSerializationAllowed: 1 },
        };
        let config = sys::CUlaunchConfig {
            gridDimX: blocks,
            gridDimY: launch.grid.1,
            gridDimZ: 1,
            blockDimX: launch.threads,
            blockDimY: 1,
            blockDimZ: 1,
            sharedMemBytes: launch.shared,
            hStream: self.stream.0,
            attrs: if self.hopper() { &mut early } else { ptr::null_mut() },
            numAttrs: self.hopper().into(),
        };
        let arguments = launch.arguments.iter();
        let mut arguments: Vec<*mut c_void> =
            arguments.map(|words| words.as_ptr().cast_mut().cast()).collect();
        // SAFETY: the arguments are laid out as the kernel declares them; the
        // driver copies them during the call.
        let launched = unsafe {
            sys::cuLaunchKernelEx(&config, function, arguments.as_mut_ptr(), ptr::null_mut())
        };
        launched.result().with_context(|| format!("the kernel {}", launch.kernel))
    }

    pub(super) fn run(&self, graph: &Graph) -> Result<()> {
        // SAFETY: both are valid.
        Ok(unsafe { result::graph::launch(graph.0, self.stream.0) }?)
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        // SAFETY: retained once in `open`. What fails now has nobody to tell.
        let _ = unsafe { result::primary_ctx::release(self.device) };
    }
}
