//! What a file's etag says of its content. The hub names a large file by the
//! SHA-256 of its bytes, a small one as git does: by the SHA-1 of its length
//! and bytes. <https://git-scm.com/book/en/v2/Git-Internals-Git-Objects>

use sha1::Sha1;
use sha2::{Digest, Sha256};

/// Reads a file's bytes as they come and compares them with its etag.
#[derive(Clone)]
pub struct Check {
    kind: Kind,
    expected: String,
}

#[derive(Clone)]
enum Kind {
    Sha256(Sha256),
    Git(Sha1),
    /// The etag is of no kind that can be verified: a mirror's.
    Nothing,
}

impl Check {
    /// For a file of `size` bytes.
    pub fn new(etag: &str, size: u64) -> Self {
        let hex = etag.bytes().all(|byte| byte.is_ascii_hexdigit());
        let kind = match etag.len() {
            64 if hex => Kind::Sha256(Sha256::new()),
            40 if hex => Kind::Git(Sha1::new_with_prefix(format!("blob {size}\0"))),
            _ => Kind::Nothing,
        };
        Self { kind, expected: etag.to_ascii_lowercase() }
    }

    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.kind {
            Kind::Sha256(hash) => hash.update(bytes),
            Kind::Git(hash) => hash.update(bytes),
            Kind::Nothing => {}
        }
    }

    /// None if the bytes are those that the etag names, else what they are.
    pub fn difference(&self) -> Option<String> {
        let (name, found) = match self.kind.clone() {
            Kind::Sha256(hash) => ("SHA-256", hex(&hash.finalize())),
            Kind::Git(hash) => ("git SHA-1", hex(&hash.finalize())),
            Kind::Nothing => return None,
        };
        (found != self.expected).then(|| format!("its {name} is {found}, not {}", self.expected))
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn etags_of_both_kinds_are_verified() {
        // What `git hash-object` and `sha256sum` print for "hello\n".
        let git = "ce013625030ba8dba906f756967f9e9ca394464a";
        let sha256 = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03";
        for etag in [git, sha256, "W-something-else"] {
            let mut check = Check::new(etag, 6);
            check.update(b"hel");
            check.update(b"lo\n");
            assert_eq!(check.difference(), None, "{etag}");
            check.update(b"!");
            assert_eq!(check.difference().is_some(), etag.len() >= 40, "{etag}");
        }
    }
}
