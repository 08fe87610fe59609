//! The recoup binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    // A drill's sandbox is this same program inside its own namespaces; it is not a verb.
    if let Some(code) = recoup_ops::drill::sandbox_entry() {
        return ExitCode::from(code);
    }
    ExitCode::from(recoup::run(std::env::args_os().collect()))
}
