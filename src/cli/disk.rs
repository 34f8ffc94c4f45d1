//! Is there room on a disk?

use std::path::Path;

use super::face::words::bytes as size;

/// None if `needed` bytes fit into `free` ones of the disk that a folder is
/// on, or nobody knows what is free; else why not. The caller adds what to do
/// besides removing something.
pub fn short(folder: &Path, free: Option<u64>, needed: u64) -> Option<String> {
    let free = free.filter(|free| *free < needed)?;
    Some(format!(
        "the disk is too small: {} are needed, and {} are free in {}: remove something there, or",
        size(needed),
        size(free),
        folder.display()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits_to_the_byte_fits() {
        let short = |free, needed| short(Path::new("/models"), free, needed);
        assert_eq!((short(Some(10), 10), short(None, u64::MAX)), (None, None));
        let why = short(Some(1 << 30), 3 << 30).expect("too small");
        for part in ["3.0 GiB are needed", "1.0 GiB are free in /models"] {
            assert!(why.contains(part), "{why}");
        }
    }
}
