//! Codes of the contract against the means: E0300 to E0399, W0400 to W0499.

use super::Code;

pub(super) const CODES: &[Code] = &[];
