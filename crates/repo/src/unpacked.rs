//! Files that hold one JSON document each: index, snapshot, lock (restic design, Unpacked Data Format).
//!
//! Version 1 stores the JSON as it is. Version 2 stores a byte 2 and one zstd frame; readers take both,
//! since the first byte tells. The config is never compressed.

use crate::compress::{Compressor, decompress_bounded};
use crate::limits::Limits;
use recoup_core::{Error, Kind, Result};

/// Mark of a compressed document: the number two, not the digit.
const ZSTD: u8 = 2;

/// The plaintext to be sealed for `json` in a repository of `version`.
///
/// # Errors
/// `Kind::Bug` if zstd refuses.
pub fn encode(version: u32, json: Vec<u8>) -> Result<Vec<u8>> {
    if version < 2 {
        return Ok(json);
    }
    let mut out = vec![ZSTD];
    out.extend_from_slice(Compressor::new()?.compress(&json)?);
    Ok(out)
}

/// The JSON in an opened document.
///
/// # Errors
/// `Kind::Corrupt` if it is neither JSON nor compressed; `Kind::Refused` if it is larger than allowed.
pub fn decode(plain: Vec<u8>, limits: &Limits) -> Result<Vec<u8>> {
    let is_json = |bytes: &[u8]| matches!(bytes.first(), Some(b'{' | b'['));
    let json = match plain.first() {
        Some(&ZSTD) => decompress_bounded(&plain[1..], limits.unpacked_bytes_max)?,
        _ => plain,
    };
    if is_json(&json) {
        return Ok(json);
    }
    Err(Error::new(Kind::Corrupt, "read a document: its encoding is unknown").code("E0419"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_are_read_and_nothing_else() {
        let limits = Limits::default();
        for version in [1, 2] {
            let plain = encode(version, b"{\"a\":1}".to_vec()).unwrap();
            assert_eq!(plain[0], if version == 1 { b'{' } else { 2 });
            assert_eq!(decode(plain, &limits).unwrap(), b"{\"a\":1}");
        }
        let mut plain = encode(2, b"{\"a\":1}".to_vec()).unwrap();
        while plain.pop().is_some() {
            assert!(decode(plain.clone(), &limits).is_err());
        }
        assert!(decode(b"3x".to_vec(), &limits).is_err());
    }
}
