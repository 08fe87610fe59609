//! Codes of the host, the command line and keys: E0800 to E0899.

use super::Code;

pub(super) const CODES: &[Code] = &[];
