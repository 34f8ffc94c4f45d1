//! A shard: training samples as token ids in one file, which
//! `training/samples.py` maps into memory and reads.
//!
//! A sample is a prefix (the system part, the same ids for many samples) and a
//! body (the exchanges that follow it), with a mask that is 1 where the model
//! wrote the token. Samples are grouped by prefix by the trainer, which
//! processes each prefix once a batch: a prefix should come with at least
//! sixteen samples in a shard, or its own length is most of the work.
//!
//! The file, little endian, sections one after the other, without padding:
//!
//! | section | type | length |
//! |---|---|---|
//! | magic | bytes | `LASHARD1` |
//! | P prefixes, N samples, tokens of all prefixes, tokens of all bodies | u32 | 4 |
//! | where each prefix ends among the prefix tokens | u32 | P |
//! | the prefix of each sample | u32 | N |
//! | where each body ends among the body tokens | u32 | N |
//! | prefix tokens | u16 | |
//! | body tokens | u16 | |
//! | mask of the body tokens | u8 | |

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

const MAGIC: &[u8; 8] = b"LASHARD1";

/// Samples gathered in memory until they are written.
#[derive(Default)]
pub struct Shard {
    known: HashMap<Vec<u16>, u32>,
    prefix_ids: Vec<u16>,
    prefix_ends: Vec<u32>,
    owners: Vec<u32>,
    body_ids: Vec<u16>,
    body_ends: Vec<u32>,
    mask: Vec<u8>,
}

impl Shard {
    /// Adds a sample: the ids of its prefix, the ids of its body, and for each
    /// of the latter whether the model wrote it.
    pub fn add(&mut self, prefix: &[u32], body: &[u32], written: &[bool]) -> Result<()> {
        ensure!(body.len() == written.len(), "{} ids, {} mask bits", body.len(), written.len());
        ensure!(
            written.contains(&true),
            "a sample in which the model wrote nothing teaches nothing"
        );
        let prefix = narrow(prefix)?;
        let body = narrow(body)?;
        let owner = match self.known.get(&prefix) {
            Some(&owner) => owner,
            None => {
                let owner = position(self.prefix_ends.len())?;
                self.prefix_ids.extend(&prefix);
                self.prefix_ends.push(position(self.prefix_ids.len())?);
                self.known.insert(prefix, owner);
                owner
            }
        };
        self.body_ids.extend(&body);
        self.body_ends.push(position(self.body_ids.len())?);
        self.mask.extend(written.iter().map(|&written| u8::from(written)));
        self.owners.push(owner);
        Ok(())
    }

    /// The file's bytes.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let mut bytes = MAGIC.to_vec();
        let counts =
            [self.prefix_ends.len(), self.owners.len(), self.prefix_ids.len(), self.body_ids.len()];
        for count in counts {
            bytes.extend(position(count)?.to_le_bytes());
        }
        for numbers in [&self.prefix_ends, &self.owners, &self.body_ends] {
            bytes.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
        }
        for ids in [&self.prefix_ids, &self.body_ids] {
            bytes.extend(ids.iter().flat_map(|id| id.to_le_bytes()));
        }
        bytes.extend(&self.mask);
        Ok(bytes)
    }

    /// Writes the file under a temporary name first, so that whoever watches
    /// the folder never sees half of it.
    pub fn write(&self, path: &Path) -> Result<()> {
        let part = path.with_extension("part");
        fs::write(&part, self.to_bytes()?)
            .with_context(|| format!("cannot write {}", part.display()))?;
        fs::rename(&part, path).with_context(|| format!("cannot write {}", path.display()))
    }
}

fn narrow(ids: &[u32]) -> Result<Vec<u16>> {
    ids.iter()
        .map(|&id| u16::try_from(id).with_context(|| format!("token id {id} is more than 16 bits")))
        .collect()
}

fn position(index: usize) -> Result<u32> {
    u32::try_from(index)
        .context("a shard holds at most 4,294,967,295 tokens: write more, smaller ones")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_prefixes_and_lays_sections_out_in_order() {
        let mut shard = Shard::default();
        shard.add(&[1, 300], &[7, 8], &[false, true]).unwrap();
        shard.add(&[2], &[9], &[true]).unwrap();
        shard.add(&[1, 300], &[4], &[true]).unwrap();
        let bytes = shard.to_bytes().unwrap();
        assert_eq!(&bytes[..8], MAGIC);
        let words: Vec<u32> = bytes[8..8 + 4 * 12]
            .chunks(4)
            .map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]]))
            .collect();
        assert_eq!(
            words,
            [
                2, 3, 3, 4, /* prefixes */ 2, 3, /* owners */ 0, 1, 0,
                /* bodies */ 2, 3, 4
            ]
        );
        assert_eq!(bytes[56..], [1, 0, 44, 1, 2, 0, 7, 0, 8, 0, 9, 0, 4, 0, 0, 1, 1, 1]);
    }

    #[test]
    fn refuses_what_cannot_be_stored() {
        let mut shard = Shard::default();
        assert!(shard.add(&[1], &[70_000], &[true]).is_err());
        assert!(shard.add(&[1], &[7, 8], &[true]).is_err());
        assert!(shard.add(&[1], &[7], &[false]).is_err());
        assert!(shard.owners.is_empty());
    }
}
