//! A snapshot's file: a head of 64 bytes, then the rows.
//!
//! | bytes | what, little-endian |
//! |---|---|
//! | 0..8 | `MARK` |
//! | 8..40 | the key |
//! | 40..48 | tokens |
//! | 48..56 | bytes of rows |
//! | 56..64 | checksum of all other bytes |

use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Write};
use std::path::Path;
use std::time::Duration;

use super::Key;
use crate::llama::CacheRows;

/// What a snapshot's file begins with; the digit is the version of the form.
const MARK: &[u8; 8] = b"agentKV1";
const HEAD: usize = 64;
/// No snapshot takes longer to write.
const PART_LIFE: Duration = Duration::from_secs(3600);

/// Reads the rows of `key`. None for a file that is not there, of another key,
/// larger than `most` bytes, cut short, longer than it says, or damaged.
pub fn read(path: &Path, key: &Key, most: u64) -> Option<CacheRows> {
    let (mut file, head) = open(path)?;
    let length = head.bytes.checked_add(HEAD as u64)?;
    if head.key != *key || length > most || length != file.metadata().ok()?.len() {
        return None;
    }
    let mut bytes = Vec::with_capacity(usize::try_from(head.bytes).ok()?);
    (&mut file).take(head.bytes).read_to_end(&mut bytes).ok()?;
    let rows = CacheRows { tokens: usize::try_from(head.tokens).ok()?, bytes };
    (head.checksum == checksum(&Head::new(key, &rows).unsigned(), &rows.bytes)).then_some(rows)
}

/// The tokens that a file says it holds.
pub fn tokens(path: &Path) -> Option<u64> {
    Some(open(path)?.1.tokens)
}

/// Writes a file that is not there yet. It is locked while it is open, so that
/// others know it from one whose writer was killed.
pub fn write(path: &Path, key: &Key, rows: &CacheRows) -> io::Result<File> {
    let mut head = Head::new(key, rows).unsigned();
    let sum = checksum(&head, &rows.bytes);
    head[56..].copy_from_slice(&sum.to_le_bytes());
    let mut file = File::create_new(path)?;
    // Some file systems have no locks.
    let _ = file.try_lock();
    file.write_all(&head)?;
    file.write_all(&rows.bytes)?;
    Ok(file)
}

/// Nobody writes this file any more. Unlocked files count as such, and where
/// there are no locks those that are older than an hour.
pub fn is_abandoned(path: &Path) -> bool {
    let Ok(file) = File::open(path) else { return false };
    let old = |file: &File| file.metadata()?.modified().map(|time| time.elapsed());
    match file.try_lock() {
        Ok(()) => true,
        Err(TryLockError::WouldBlock) => false,
        Err(TryLockError::Error(_)) => {
            old(&file).is_ok_and(|age| age.is_ok_and(|age| age > PART_LIFE))
        }
    }
}

/// The bytes that a file of these rows takes.
pub fn size(rows: &CacheRows) -> u64 {
    (HEAD + rows.bytes.len()) as u64
}

struct Head {
    key: Key,
    tokens: u64,
    bytes: u64,
    checksum: u64,
}

impl Head {
    fn new(key: &Key, rows: &CacheRows) -> Self {
        let (tokens, bytes) = (rows.tokens as u64, rows.bytes.len() as u64);
        Self { key: *key, tokens, bytes, checksum: 0 }
    }

    fn parse(bytes: &[u8; HEAD]) -> Option<Self> {
        let number = |at: usize| Some(u64::from_le_bytes(bytes[at..at + 8].try_into().ok()?));
        if bytes[..8] != MARK[..] {
            return None;
        }
        let key = bytes[8..40].try_into().ok()?;
        Some(Self { key, tokens: number(40)?, bytes: number(48)?, checksum: number(56)? })
    }

    /// Its bytes, with 0 for the checksum.
    fn unsigned(&self) -> [u8; HEAD] {
        let mut bytes = [0; HEAD];
        bytes[..8].copy_from_slice(MARK);
        bytes[8..40].copy_from_slice(&self.key);
        bytes[40..48].copy_from_slice(&self.tokens.to_le_bytes());
        bytes[48..56].copy_from_slice(&self.bytes.to_le_bytes());
        bytes
    }
}

fn open(path: &Path) -> Option<(File, Head)> {
    // Opening anything but a file, a pipe for one, might wait for ever.
    if !fs::metadata(path).ok()?.is_file() {
        return None;
    }
    let mut file = File::open(path).ok()?;
    let mut head = [0; HEAD];
    file.read_exact(&mut head).ok()?;
    Some((file, Head::parse(&head)?))
}

/// A checksum against damage, not against forgery, at the speed of memory:
/// eight strands of 64-bit words. Every step can be undone, so a change in one
/// word always changes its strand, and the strands are mixed in the same way.
fn checksum(head: &[u8; HEAD], bytes: &[u8]) -> u64 {
    const STRANDS: usize = HEAD / 8;
    /// 2^64 divided by the golden ratio, made odd.
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let step = |sum: u64, word: u64| (sum ^ word).wrapping_mul(FACTOR).rotate_left(29);
    let mut strands: [u64; STRANDS] = std::array::from_fn(|i| i as u64);
    let mut add = |block: &[u8]| {
        for (sum, word) in strands.iter_mut().zip(block.as_chunks().0) {
            *sum = step(*sum, u64::from_le_bytes(*word));
        }
    };
    add(head);
    let (blocks, rest) = bytes.as_chunks::<HEAD>();
    blocks.iter().for_each(|block| add(block));
    let mut last = [0; HEAD];
    last[..rest.len()].copy_from_slice(rest);
    add(&last);
    strands.into_iter().fold(bytes.len() as u64, step)
}
