//! Which tensor of the folder becomes which tensor of the file, and how it is
//! kept there. Refuses a folder that lacks a tensor, has one of another shape,
//! or has one that is no part of a Llama.

use std::collections::HashSet;

use candle_core::quantized::GgmlDType;

use super::Target;
use super::checkpoint::Checkpoint;
use super::config::Config;
use super::error::ConvertError;

/// The output matrix: what chooses among tokens is worth more bits.
const OUTPUT: &str = "lm_head.weight";
const EMBEDDING: &str = "model.embed_tokens.weight";

/// A tensor on its way.
#[derive(Clone, Debug)]
pub(super) struct Planned {
    /// Its name in the folder.
    pub source: String,
    /// Its name in the file.
    pub name: String,
    pub shape: Vec<usize>,
    pub kind: GgmlDType,
    /// Rows of a head, where the rows of each head change their order: see
    /// [`source_row`].
    pub head: Option<usize>,
}

/// Which row of the folder's matrix is row `row` of the file's. Hugging Face
/// rotates element i of a head together with element i + head/2, GGUF's Llama
/// with its neighbour: the second half goes between the rows of the first.
pub(super) fn source_row(row: usize, head: Option<usize>) -> usize {
    let Some(head) = head else { return row };
    let (start, i) = (row / head * head, row % head);
    start + i / 2 + (i % 2) * (head / 2)
}

/// Everything that the file needs of the folder, in the order in which it
/// lies there, and what a person should know of it.
pub(super) fn plan(
    config: &Config,
    checkpoint: &Checkpoint,
    target: Target,
) -> Result<(Vec<Planned>, Vec<String>), ConvertError> {
    let mut planned = Vec::new();
    let mut fallen = 0;
    for (source, name, shape, head) in expected(config) {
        let found = checkpoint.shape(&source).ok_or_else(|| {
            ConvertError::Unsupported(format!(
                "the tensor {source} is missing: download every file of the model"
            ))
        })?;
        if found != shape {
            return Err(ConvertError::Unsupported(format!(
                "the tensor {source} has the shape {found:?}, its config.json needs {shape:?}: \
                 take both from the same model"
            )));
        }
        let output = source == OUTPUT || (config.tied && source == EMBEDDING);
        let (kind, wanted) = match shape[..] {
            [_, columns] => kind(target, output, columns),
            _ => (GgmlDType::F32, true),
        };
        fallen += usize::from(!wanted);
        planned.push(Planned { source, name, shape, kind, head });
    }
    let known: HashSet<_> = planned.iter().map(|planned| planned.source.as_str()).collect();
    let other = checkpoint.names().find(|name| {
        let left_out = name.ends_with(".rotary_emb.inv_freq") || (config.tied && *name == OUTPUT);
        !known.contains(name) && !left_out
    });
    if let Some(other) = other {
        return Err(ConvertError::Unsupported(format!(
            "it has a tensor {other}, which is no part of a Llama: use a plain Llama model"
        )));
    }
    let notices = match fallen {
        0 => Vec::new(),
        _ => vec![format!(
            "{fallen} matrices whose rows {target} cannot divide into blocks are kept in {}",
            kinds(&planned, target)
        )],
    };
    planned.sort_by_key(|planned| checkpoint.place(&planned.source));
    Ok((planned, notices))
}

/// Name there, name here, shape, and the rows of a head if they are reordered.
fn expected(config: &Config) -> Vec<(String, String, Vec<usize>, Option<usize>)> {
    let Config { dim, ffn, vocab, head_dim, .. } = *config;
    let (queries, keys) = (config.heads * head_dim, config.kv_heads * head_dim);
    let mut all = vec![
        (EMBEDDING.into(), "token_embd.weight".into(), vec![vocab, dim], None),
        ("model.norm.weight".into(), "output_norm.weight".into(), vec![dim], None),
    ];
    if !config.tied {
        all.push((OUTPUT.into(), "output.weight".into(), vec![vocab, dim], None));
    }
    for layer in 0..config.layers {
        for (source, name, shape, head) in [
            ("input_layernorm", "attn_norm", vec![dim], None),
            ("self_attn.q_proj", "attn_q", vec![queries, dim], Some(head_dim)),
            ("self_attn.k_proj", "attn_k", vec![keys, dim], Some(head_dim)),
            ("self_attn.v_proj", "attn_v", vec![keys, dim], None),
            ("self_attn.o_proj", "attn_output", vec![dim, queries], None),
            ("post_attention_layernorm", "ffn_norm", vec![dim], None),
            ("mlp.gate_proj", "ffn_gate", vec![ffn, dim], None),
            ("mlp.up_proj", "ffn_up", vec![ffn, dim], None),
            ("mlp.down_proj", "ffn_down", vec![dim, ffn], None),
        ] {
            all.push((
                format!("model.layers.{layer}.{source}.weight"),
                format!("blk.{layer}.{name}.weight"),
                shape,
                head,
            ));
        }
    }
    all
}

/// How a matrix of rows of `columns` is kept, and whether that is as asked.
fn kind(target: Target, output: bool, columns: usize) -> (GgmlDType, bool) {
    let fits = |kind: &GgmlDType| columns.is_multiple_of(kind.block_size());
    let asked = match target {
        Target::Q8_0 => GgmlDType::Q8_0,
        _ if output => GgmlDType::Q6K,
        other => other.kind(),
    };
    let instead = match asked {
        GgmlDType::Q4K => GgmlDType::Q4_0,
        _ => GgmlDType::Q8_0,
    };
    match [asked, instead].into_iter().find(fits) {
        Some(kind) => (kind, kind == asked),
        None => (GgmlDType::F16, false),
    }
}

/// The kinds that matrices fell back to.
fn kinds(planned: &[Planned], target: Target) -> String {
    let used = |kind: GgmlDType| planned.iter().any(|planned| planned.kind == kind);
    [(GgmlDType::Q4_0, "q4_0"), (GgmlDType::Q8_0, "q8_0"), (GgmlDType::F16, "f16")]
        .into_iter()
        .filter(|(kind, _)| *kind != target.kind() && used(*kind))
        .map(|(_, name)| name)
        .collect::<Vec<_>>()
        .join(" and ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_halves_of_a_head_are_interleaved() {
        let rows: Vec<_> = (0..8).map(|row| source_row(row, Some(4))).collect();
        assert_eq!(rows, [0, 2, 1, 3, 4, 6, 5, 7]);
        assert_eq!(source_row(5, None), 5);
    }

    #[test]
    fn rows_that_blocks_do_not_divide_fall_back() {
        use GgmlDType::{F16, Q4_0, Q4K, Q6K, Q8_0};
        assert_eq!(kind(Target::Q4K, false, 4096), (Q4K, true));
        assert_eq!(kind(Target::Q4K, false, 3200), (Q4_0, false));
        assert_eq!(kind(Target::Q4K, true, 4096), (Q6K, true));
        assert_eq!(kind(Target::Q4_0, true, 3200), (Q8_0, false));
        assert_eq!(kind(Target::Q6K, false, 3200), (Q8_0, false));
        assert_eq!(kind(Target::Q8_0, true, 4096), (Q8_0, true));
        assert_eq!(kind(Target::Q8_0, false, 100), (F16, false));
    }
}
