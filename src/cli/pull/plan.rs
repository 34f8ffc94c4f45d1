//! What a download takes, and what would take less.

use super::room::Room;
use crate::cli::disk;
use crate::cli::face::words::bytes as size;
use crate::cli::fit::{Fit, Need, Shape, fit, fit_gpu};
use crate::hub::{KNOWN, Known, Spec};
use crate::llama::cuda::{Format, Gpu};

/// A download, before it begins.
pub struct Plan<'a> {
    pub spec: &'a Spec,
    /// What is downloaded.
    pub what: String,
    /// Bytes of it.
    pub size: u64,
    /// Bytes that are here already.
    pub here: u64,
    /// Bytes that quantizing writes afterwards.
    pub kept: u64,
    /// Bytes of weights in memory.
    pub weights: u64,
    /// What decides how much memory a conversation takes, where it is known.
    pub shape: Option<Shape>,
}

impl Plan<'_> {
    /// Size, disk and memory, a line each.
    pub fn lines(&self, room: &Room, context: Option<usize>) -> Vec<String> {
        let mut lines = vec![format!("{}: {}, {}", self.spec.repo, self.what, size(self.size))];
        if self.here >= self.size {
            lines.push("all of it is here already".into());
        } else if self.here > 0 {
            let rest = size(self.size - self.here);
            lines.push(format!("{} of it are here already, {rest} to go", size(self.here)));
        }
        if let Some(disk) = room.disk {
            lines.push(format!("disk: {} free in {}", size(disk), room.folder.display()));
        }
        lines.push(self.memory(room.memory, context));
        lines.extend(room.gpu.as_ref().and_then(|gpu| self.gpu(gpu, context)));
        lines
    }

    /// Of a model whose shape is known before it is here.
    fn gpu(&self, gpu: &Gpu, context: Option<usize>) -> Option<String> {
        let shape = self.shape?;
        let name = self.what.to_ascii_uppercase();
        let one = name.ends_with(".GGUF");
        if one && !Format::ALL.iter().any(|format| name.contains(format.name())) {
            return Some("GPU: it has no kernels for this quantization, the CPU runs it".into());
        }
        let need = Need::on_gpu(self.weights, shape, context).total();
        let fits = fit_gpu(self.weights, shape, context, gpu.free).said("");
        let fits = fits.unwrap_or("does not fit".into());
        Some(format!("GPU: {} of {} free on {}: {fits}", size(need), size(gpu.free), gpu.name))
    }

    fn memory(&self, memory: u64, context: Option<usize>) -> String {
        let (weights, have) = (size(self.weights), size(memory));
        let Some(shape) = self.shape else {
            // Less than this will not do.
            let fits = if self.weights < memory { "may fit" } else { "does not fit" };
            let smaller = if self.weights < memory { None } else { self.fitting(memory, context) };
            return format!(
                "memory: {weights} of weights, and what a conversation takes on top, which is \
                 known when the file is here, of {have} available: {fits}{}",
                smaller.unwrap_or_default()
            );
        };
        let need = Need::of(self.weights, shape, context);
        let tokens = context.unwrap_or(shape.context).min(shape.context);
        let taken = format!("{weights} of weights, and {} for", size(need.cache + need.room));
        let said = fit(self.weights, shape, context, memory).said("").unwrap_or_else(|| {
            let smaller = self.fitting(memory, context).unwrap_or_default();
            format!("does not fit{smaller}")
        });
        format!("memory: {taken} {tokens} tokens, of {have} available: {said}")
    }

    /// What would fit the memory with the whole context.
    fn fitting(&self, memory: u64, context: Option<usize>) -> Option<String> {
        let cache = self.shape.and_then(|shape| shape.cache);
        smaller(self.weights, |known, bytes| {
            fit(bytes, Shape::from(known).kept(cache), context, memory) == Fit::Whole
        })
    }

    /// None if the disk has room, else what to do.
    pub fn short_of_disk(&self, room: &Room) -> Option<String> {
        let needed = self.size.saturating_sub(self.here) + self.kept;
        let why = disk::short(&room.folder, room.disk, needed)?;
        let free = room.disk.unwrap_or_default();
        let instead = smaller(self.size, |_, bytes| bytes <= free).unwrap_or_default();
        Some(format!("{why} set HF_HOME to a folder on a larger disk{instead}"))
    }
}

/// The largest model of fewer than `bytes` bytes that has a short name and
/// fits: how to get it, as the end of a sentence.
fn smaller(bytes: u64, fits: impl Fn(&Known, u64) -> bool) -> Option<String> {
    KNOWN.iter().rev().find_map(|known| {
        let quant = known.files.iter().rev().map(|file| file.0).find(|quant| {
            known.bytes(quant).is_some_and(|file| file < bytes && fits(known, file))
        })?;
        let file = size(known.bytes(quant)?);
        Some(format!("; `agent pull {} --quant {quant}` would, {file}", known.name))
    })
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    const GIB: u64 = 1 << 30;

    fn room(disk: u64, memory: u64) -> Room {
        Room { folder: PathBuf::from("/models"), disk: Some(disk), memory, gpu: None }
    }

    fn plan(spec: &Spec, bytes: u64, here: u64) -> Plan<'_> {
        let shape = spec.known.map(Shape::from);
        Plan { spec, what: "a.gguf".into(), size: bytes, here, kept: 0, weights: bytes, shape }
    }

    #[test]
    fn what_fits_and_what_would_is_said() {
        let spec = Spec::parse("llama-2-70b-chat").unwrap().unwrap();
        let bytes = spec.known.unwrap().bytes("Q4_0").unwrap();
        let last = |memory: u64, context: Option<usize>| {
            plan(&spec, bytes, 0).lines(&room(1 << 40, memory), context).pop().unwrap()
        };
        assert!(last(64 * GIB, None).ends_with("available: fits"), "{}", last(64 * GIB, None));
        let less = last(38 * GIB + GIB / 4, None);
        assert!(
            less.ends_with("available: fits with --context 2048 or --cache-type q8_0"),
            "{less}"
        );
        let small = last(30 * GIB, None);
        let instead = "does not fit; `agent pull llama-2-70b-chat --quant Q2_K` would, 27.3 GiB";
        assert!(small.ends_with(instead), "{small}");
        let smaller = last(11 * GIB, None);
        assert!(
            smaller.contains("`agent pull llama-2-13b-chat --quant Q3_K_S` would"),
            "{smaller}"
        );
        assert!(last(GIB, None).ends_with("does not fit"));
    }

    #[test]
    fn a_gpu_has_a_line_of_its_own() {
        let spec = Spec::parse("llama-2-70b-chat").unwrap().unwrap();
        let said = |quant: &str, free: u64| {
            let gpu = Gpu {
                name: "NVIDIA H200".into(),
                capability: (9, 0),
                total: free,
                free,
                cuda: (12, 8),
            };
            let bytes = spec.known.unwrap().bytes(quant).unwrap();
            let plan = Plan { what: format!("a.{quant}.gguf"), ..plan(&spec, bytes, 0) };
            let room = Room { gpu: Some(gpu), ..room(1 << 40, 0) };
            plan.lines(&room, None).pop().unwrap()
        };
        let whole = said("Q4_0", 140 * GIB);
        assert_eq!(whole, "GPU: 37.5 GiB of 140.0 GiB free on NVIDIA H200: fits");
        let said_less = said("Q4_K_M", 39 * GIB + GIB / 2);
        assert!(said_less.ends_with("fits with --context 2048 or --cache-type q8_0"));
        assert!(said("Q4_0", 24 * GIB).ends_with("does not fit"));
        assert!(said("Q3_K_M", 140 * GIB).contains("the CPU runs it"));
    }

    #[test]
    fn of_what_is_not_known_its_weights_are_compared() {
        let spec = Spec::parse("a/b:c.gguf").unwrap().unwrap();
        let last =
            |memory| plan(&spec, 8 * GIB, 0).lines(&room(1 << 40, memory), None).pop().unwrap();
        assert!(last(9 * GIB).ends_with("may fit"));
        assert!(last(7 * GIB).contains("does not fit"), "{}", last(7 * GIB));
    }

    #[test]
    fn a_short_disk_is_refused_with_what_would_fit() {
        let spec = Spec::parse("llama-2-7b-chat").unwrap().unwrap();
        let bytes = spec.known.unwrap().bytes("Q8_0").unwrap();
        assert_eq!(plan(&spec, bytes, 0).short_of_disk(&room(bytes, 0)), None);
        let why = plan(&spec, bytes, 0).short_of_disk(&room(3_000_000_000, 0)).unwrap();
        assert!(why.contains("--quant Q3_K_S` would") && why.contains("HF_HOME"), "{why}");
        // What is here already needs no more room.
        assert_eq!(plan(&spec, bytes, bytes - 10).short_of_disk(&room(10, 0)), None);
        let lines = plan(&spec, bytes, bytes / 2).lines(&room(bytes, 0), None);
        assert!(lines[1].contains("to go"), "{lines:?}");
    }
}
