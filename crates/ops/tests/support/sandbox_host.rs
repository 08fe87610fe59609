//! What the drill tests start in place of the recoup binary: its stages of a sandbox and nothing else.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(recoup_ops::drill::sandbox_entry().unwrap_or(2))
}
