//! Codes of restore, promote and rollback: E0600 to E0699, R0100 to R0199.

use super::Code;

pub(super) const CODES: &[Code] = &[];
