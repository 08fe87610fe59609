//! Codes of the configuration file: E0100 to E0199.

use super::Code;

pub(super) const CODES: &[Code] = &[];
