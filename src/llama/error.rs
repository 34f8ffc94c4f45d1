//! Why a model cannot be used.

use std::path::PathBuf;

/// Why a model cannot be used: each in one sentence that ends in what to do.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// There is no such file.
    #[error("there is no model file at {}: check the path given to --model", .0.display())]
    Missing(PathBuf),
    /// The file is there and the system does not let us read it.
    #[error("the model file {} cannot be read ({source}): check what it is and its permissions", path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
    /// Its first bytes are not those of a GGUF file.
    #[error("this is not a GGUF model file ({}): give the path of a .gguf file", one_line(.0))]
    NotGguf(String),
    /// Its header says more than the file holds, or contradicts itself.
    #[error("the model file is cut short or damaged ({}): download or convert it again", one_line(.0))]
    Damaged(String),
    /// It is whole, and of a kind that this program does not run.
    #[error("this model cannot be run here: {}", one_line(.0))]
    Unsupported(String),
}

/// What a damaged file says of itself may hold anything, line breaks included.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

impl ModelError {
    /// The file is damaged in this way.
    pub(crate) fn damaged(what: impl Into<String>) -> Self {
        Self::Damaged(what.into())
    }
}

impl From<candle_core::Error> for ModelError {
    fn from(error: candle_core::Error) -> Self {
        // candle appends a backtrace on further lines.
        let text = error.to_string();
        Self::Damaged(text.lines().next().unwrap_or_default().to_string())
    }
}
