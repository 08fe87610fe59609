//! Sealing: AES-256 in counter mode with Poly1305-AES over the ciphertext
//! (restic design, Keys, Encryption and MAC).
//!
//! ```text
//! sealed = IV (16) || ciphertext || MAC (16)
//! MAC    = Poly1305(ciphertext) under the one-time key  r (16) || AES-128_k(IV) (16)
//! ```
//!
//! The MAC is checked before anything is decrypted, in constant time. Nothing binds sealed bytes to
//! a place or a type, so callers compare the plaintext's SHA-256 with the name they asked for.
//! This is the only folder that may import cipher crates (`cargo xtask tidy`).

pub mod kdf;
mod key;

pub use key::{MasterKey, OVERHEAD_BYTES};
