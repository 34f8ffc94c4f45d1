//! What this machine has: processor, memory, free disk, GPU, and how fast it
//! reads its memory.

mod gpus;

use std::io;
use std::path::Path;
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use rayon::prelude::*;
use sysinfo::{CpuRefreshKind, MemoryRefreshKind, RefreshKind, System};

pub use self::gpus::Gpus;

/// The machine that the program runs on.
#[derive(Clone, Debug)]
pub struct Machine {
    /// The processor's own name for itself.
    pub processor: String,
    /// Threads that run at once, within the limits of a container.
    pub cores: usize,
    /// The vector instructions that matter to matrix products.
    pub features: Vec<&'static str>,
    pub memory: Memory,
    pub gpus: Gpus,
}

/// Main memory in bytes, within the limits of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    pub total: u64,
    /// What can be had without swapping.
    pub available: u64,
}

impl Machine {
    /// Looks at this machine.
    pub fn this() -> Self {
        let system = System::new_with_specifics(
            RefreshKind::nothing()
                .with_cpu(CpuRefreshKind::nothing())
                .with_memory(MemoryRefreshKind::nothing().with_ram()),
        );
        let processor = system.cpus().first().map(|cpu| cpu.brand().trim()).unwrap_or_default();
        Self {
            processor: if processor.is_empty() { "unknown" } else { processor }.into(),
            cores: available_parallelism().map_or(1, usize::from),
            features: features(),
            memory: Memory::of(&system),
            gpus: Gpus::this(),
        }
    }
}

impl Memory {
    /// The memory of this machine.
    pub fn this() -> Self {
        let ram = MemoryRefreshKind::nothing().with_ram();
        Self::of(&System::new_with_specifics(RefreshKind::nothing().with_memory(ram)))
    }

    fn of(system: &System) -> Self {
        let (total, available) = (system.total_memory(), system.available_memory());
        match system.cgroup_limits() {
            // What a control group uses besides `rss` is the cache of files,
            // which gives way.
            Some(group) if group.total_memory > 0 => Self {
                total: group.total_memory.min(total),
                available: group.total_memory.saturating_sub(group.rss).min(available),
            },
            _ => Self { total, available },
        }
    }
}

/// Bytes that can still be written at a path, which need not exist yet.
///
/// # Errors
/// The system does not say.
pub fn free_disk(path: &Path) -> io::Result<u64> {
    let path = std::path::absolute(path)?;
    let there = path.ancestors().find(|folder| folder.exists());
    fs4::available_space(there.ok_or(io::ErrorKind::NotFound)?)
}

/// Bytes a second that all cores together read from memory: the best of the
/// passes over a block, larger than caches are, that fit into a fifth of a
/// second. Uses rayon's threads, as the engine does.
pub fn bandwidth(memory: Memory) -> f64 {
    const BLOCK: u64 = 512 << 20;
    const TIME: Duration = Duration::from_millis(200);
    let words = (BLOCK.min(memory.available / 4) as usize / size_of::<u64>()).max(1 << 16);
    let block: Vec<u64> = (0..words as u64).into_par_iter().collect();
    let part = words.div_ceil(rayon::current_num_threads() * 4);
    let mut best = Duration::MAX;
    let begun = Instant::now();
    while best == Duration::MAX || begun.elapsed() < TIME {
        let pass = Instant::now();
        let sum = block
            .par_chunks(part)
            .map(|part| part.iter().fold(0u64, |sum, word| sum.wrapping_add(*word)))
            .reduce(|| 0, u64::wrapping_add);
        std::hint::black_box(sum);
        best = best.min(pass.elapsed());
    }
    (words * size_of::<u64>()) as f64 / best.as_secs_f64().max(1e-9)
}

#[cfg(target_arch = "x86_64")]
fn features() -> Vec<&'static str> {
    [
        ("avx", is_x86_feature_detected!("avx")),
        ("avx2", is_x86_feature_detected!("avx2")),
        ("fma", is_x86_feature_detected!("fma")),
        ("f16c", is_x86_feature_detected!("f16c")),
        ("avxvnni", is_x86_feature_detected!("avxvnni")),
        ("avx512f", is_x86_feature_detected!("avx512f")),
        ("avx512bw", is_x86_feature_detected!("avx512bw")),
        ("avx512vnni", is_x86_feature_detected!("avx512vnni")),
        ("avx512bf16", is_x86_feature_detected!("avx512bf16")),
    ]
    .into_iter()
    .filter_map(|(name, there)| there.then_some(name))
    .collect()
}

#[cfg(target_arch = "aarch64")]
fn features() -> Vec<&'static str> {
    use std::arch::is_aarch64_feature_detected;
    [
        ("neon", is_aarch64_feature_detected!("neon")),
        ("fp16", is_aarch64_feature_detected!("fp16")),
        ("dotprod", is_aarch64_feature_detected!("dotprod")),
        ("i8mm", is_aarch64_feature_detected!("i8mm")),
        ("bf16", is_aarch64_feature_detected!("bf16")),
        ("sve", is_aarch64_feature_detected!("sve")),
    ]
    .into_iter()
    .filter_map(|(name, there)| there.then_some(name))
    .collect()
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn features() -> Vec<&'static str> {
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_makes_sense() {
        let Machine { cores, memory, .. } = Machine::this();
        assert!(cores >= 1 && memory.total > 64 << 20, "{memory:?}");
        assert!(0 < memory.available && memory.available <= memory.total, "{memory:?}");
        // Slower than a hundredth of the slowest, or faster than any.
        let rate = bandwidth(memory);
        assert!((1e8..1e14).contains(&rate), "{rate}");
    }

    #[test]
    fn free_disk_is_asked_of_what_exists() {
        let folder = tempfile::tempdir().expect("a folder");
        let deep = folder.path().join("not/yet/there.gguf");
        let (here, there) = (free_disk(folder.path()), free_disk(&deep));
        assert!(here.expect("free disk") > 0 && there.expect("free disk") > 0);
        assert!(free_disk(Path::new("relative/to/here")).is_ok());
    }
}
