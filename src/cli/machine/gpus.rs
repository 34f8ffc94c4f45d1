//! The GPUs of this machine.

use std::fs;
use std::path::Path;

use crate::cli::face::words;
use crate::llama::cuda::{self, Gpu};

/// Where the NVIDIA driver on Linux describes itself and its GPUs.
const NVIDIA: &str = "/proc/driver/nvidia";

/// What the NVIDIA driver offers.
#[derive(Clone, Debug, Default)]
pub struct Gpus {
    /// Those that programs can use, by their numbers.
    pub found: Vec<Gpu>,
    /// Why there is none of them.
    why: String,
    /// The names of all that the system's part of the driver runs.
    listed: Vec<String>,
    /// The driver's own version, where the system says.
    version: Option<String>,
}

impl Gpus {
    /// Asks the driver. That makes a context on each GPU for a moment.
    pub fn this() -> Self {
        let (found, why) = match cuda::gpus() {
            Ok(found) => (found, "the driver lets this program use none".into()),
            Err(error) => (Vec::new(), format!("{error:#}")),
        };
        let folder = Path::new(NVIDIA);
        Self { found, why, listed: listed(&folder.join("gpus")), version: version(folder) }
    }

    /// The one with the most free memory of those that models can run on.
    pub fn roomiest(&self) -> Option<&Gpu> {
        self.found.iter().filter(|gpu| gpu.is_supported()).max_by_key(|gpu| gpu.free)
    }

    /// Name, memory, compute capability and driver of each.
    pub fn described(&self) -> String {
        if !self.found.is_empty() {
            let all: Vec<String> = self.found.iter().map(|gpu| self.one(gpu)).collect();
            return all.join("; ");
        }
        match self.listed.is_empty() {
            true => "none that an NVIDIA driver runs".into(),
            false => format!("{}, which cannot be used: {}", self.listed.join(", "), self.why),
        }
    }

    fn one(&self, gpu: &Gpu) -> String {
        let Gpu { name, capability: (major, minor), total, free, cuda } = gpu;
        let version = self.version.as_ref().map(|version| format!("{version} "));
        let (total, free) = (words::bytes(*total), words::bytes(*free));
        let old = if gpu.is_supported() { "" } else { ", too old to run models" };
        format!(
            "{name}, {total}, {free} free, compute capability {major}.{minor}{old}, driver \
             {}for CUDA {}.{}",
            version.unwrap_or_default(),
            cuda.0,
            cuda.1
        )
    }
}

/// The model names of the GPUs in the driver's folder, which has one for each.
fn listed(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.sort();
    let name = |path: &Path| {
        let text = fs::read_to_string(path.join("information")).unwrap_or_default();
        let name = text.lines().find_map(|line| Some(line.strip_prefix("Model:")?.trim().into()));
        name.unwrap_or_else(|| "an NVIDIA GPU".into())
    };
    paths.iter().map(|path| name(path)).collect()
}

/// The driver's version: the first word of its description that is numbers and
/// dots.
fn version(folder: &Path) -> Option<String> {
    let text = fs::read_to_string(folder.join("version")).ok()?;
    let is_version =
        |word: &&str| word.contains('.') && word.chars().all(|c| c.is_ascii_digit() || c == '.');
    text.split_whitespace().find(is_version).map(Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gpus_are_named_as_the_driver_does() {
        let folder = tempfile::tempdir().expect("a folder");
        assert!(listed(&folder.path().join("none")).is_empty());
        for (bus, text) in [
            ("0000:01:00.0", "Model: \t\t NVIDIA H200\nIRQ:   \t\t 44\n"),
            ("0000:02:00.0", "IRQ:   \t\t 45\n"),
        ] {
            fs::create_dir(folder.path().join(bus)).expect("a folder");
            fs::write(folder.path().join(bus).join("information"), text).expect("written");
        }
        assert_eq!(listed(folder.path()), ["NVIDIA H200", "an NVIDIA GPU"]);
        let text = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.124.06  Release\n\
                    GCC version:  gcc version 12.3.0\n";
        assert_eq!(version(folder.path()), None);
        fs::write(folder.path().join("version"), text).expect("written");
        assert_eq!(version(folder.path()).as_deref(), Some("570.124.06"));
    }

    #[test]
    fn what_there_is_is_described() {
        let gpu = |name: &str, free, major| Gpu {
            name: name.into(),
            capability: (major, 0),
            total: 140 << 30,
            free,
            cuda: (12, 8),
        };
        let found = vec![gpu("NVIDIA H200", 4 << 30, 9), gpu("Tesla V100", 9 << 30, 7)];
        let gpus = Gpus { found, version: Some("570.1".into()), ..Gpus::default() };
        assert_eq!(
            gpus.described(),
            "NVIDIA H200, 140.0 GiB, 4.0 GiB free, compute capability 9.0, driver 570.1 for CUDA \
             12.8; Tesla V100, 140.0 GiB, 9.0 GiB free, compute capability 7.0, too old to run \
             models, driver 570.1 for CUDA 12.8"
        );
        assert_eq!(gpus.roomiest().map(|gpu| gpu.name.as_str()), Some("NVIDIA H200"));
        let gpus = Gpus { listed: vec!["NVIDIA H200".into()], why: "no".into(), ..Gpus::default() };
        assert_eq!(gpus.described(), "NVIDIA H200, which cannot be used: no");
        assert!(Gpus::default().described().starts_with("none"));
    }
}
