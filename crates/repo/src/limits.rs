//! What a repository may make us spend. A repository is written by others: every claim in it is
//! checked against one of these before memory, disk or time follows it (I6).

/// Upper bounds for everything that a repository can claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Memory of one password derivation (fault row 158): 128 bytes times N times r, and p lanes.
    pub scrypt_memory_bytes_max: u64,
    /// Work of one password derivation: 128 bytes times N times r times p. Two GB/s is usual.
    pub scrypt_work_bytes_max: u64,
    /// How many key files are tried with one password.
    pub keys_max: usize,
    /// Sealed pack header. Restic's own limit is 16 MiB.
    pub header_bytes_max: u64,
    /// Plaintext of a data blob (fault row 146). Restic cuts at 8 MiB.
    pub blob_bytes_max: u64,
    /// Plaintext of a tree blob. A directory takes about 500 bytes an entry, so this is a million.
    pub tree_bytes_max: u64,
    /// Plaintext of an index, snapshot or lock. 50,000 blobs take 10 MB; restic splits above 459,000.
    pub unpacked_bytes_max: u64,
    /// Entries that one walk meets. Directories that hold each other many times can stand for more
    /// entries than atoms.
    pub entries_max: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            scrypt_memory_bytes_max: 1 << 30,
            scrypt_work_bytes_max: 16 << 30,
            keys_max: 20,
            header_bytes_max: (16 << 20) + 4096,
            blob_bytes_max: 16 << 20,
            tree_bytes_max: 512 << 20,
            unpacked_bytes_max: 256 << 20,
            entries_max: 500_000_000,
        }
    }
}

impl Limits {
    /// The bound for the plaintext of a blob of `kind`.
    pub const fn plain_bytes_max(&self, kind: crate::blob::BlobKind) -> u64 {
        match kind {
            crate::blob::BlobKind::Data => self.blob_bytes_max,
            crate::blob::BlobKind::Tree => self.tree_bytes_max,
        }
    }
}
