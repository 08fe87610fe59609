//! Codes of drills: E0700 to E0799, R0200 to R0399.

use super::Code;

pub(super) const CODES: &[Code] = &[];
