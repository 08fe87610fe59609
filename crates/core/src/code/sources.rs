//! Codes of capture from live data: E0500 to E0599.

use super::Code;

pub(super) const CODES: &[Code] = &[];
