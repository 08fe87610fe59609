//! The command as a whole: parse, hand to a verb, write the answer, give the exit code.

use crate::context::{Context, Globals};
use crate::exit;
use crate::render::answer::{Answer, Format};
use crate::render::error;
use crate::render::style::Style;
use crate::verb::{self, Verb};
use clap::{CommandFactory, FromArgMatches, Parser};
use recoup_core::Error;
use serde_json::json;
use std::ffi::OsString;
use std::io::Write;

/// Backup and proven recovery for Python applications.
///
/// recoup captures everything an application needs, keeps it encrypted and deduplicated in the
/// restic repository format, restores it aside, and proves it by starting the application on it.
#[derive(Debug, Parser)]
#[command(
    name = "recoup",
    version,
    propagate_version = false,
    disable_help_subcommand = true,
    max_term_width = 100,
    after_help = "From nothing to a first proven restore:\n  recoup init      find what this application needs, write recoup.toml\n  recoup backup    make the first point\n  recoup drill     restore it aside, start the application on it, measure\n  recoup status    is the promise kept, and how do we know\n\nExit codes: 0 proven, 1 bad, 2 usage, 3 could not find out, 4 partial, 5 refused, 6 resumable."
)]
pub(crate) struct App {
    #[command(flatten)]
    globals: Globals,
    #[command(subcommand)]
    verb: Verb,
}

/// The whole command line as clap sees it, for the reference, the man page and the completions.
pub fn command() -> clap::Command {
    App::command()
}

/// Runs one command line to its end and gives the exit code.
pub fn run(args: Vec<OsString>) -> u8 {
    let app = match App::command().try_get_matches_from(args).and_then(|m| App::from_arg_matches(&m)) {
        Ok(mut app) => {
            if app.verb.wants_json() && app.globals.output == Format::Text {
                app.globals.output = Format::Json;
            }
            app
        }
        Err(problem) => {
            // Help and version are answers; everything else is a usage error.
            let code = if problem.use_stderr() { exit::USAGE } else { exit::DONE };
            let _ = problem.print();
            return code;
        }
    };
    let format = app.globals.output;
    let style = Style::stderr(app.globals.color, app.globals.no_color.is_some());
    if let Some(dir) = &app.globals.directory
        && let Err(cause) = std::env::set_current_dir(dir)
    {
        let error = Error::io("go to the directory given with -C", cause)
            .with("directory", recoup_core::name::escape(dir.as_os_str().as_encoded_bytes()))
            .effect("nothing was attempted");
        return fail(&error, exit::USAGE, "recoup", format, style);
    }
    let timeout = app.globals.timeout;
    let context = Context::new(app.globals);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(cause) => {
            return fail(&Error::io("start worker threads", cause), exit::UNKNOWN, "recoup", format, style);
        }
    };
    let kind = app.verb.kind();
    let is_engine = app.verb.is_engine();
    let ends_by_itself = app.verb.ends_by_itself();
    let records_itself = app.verb.records_itself();
    let work = async {
        let done = verb::dispatch(app.verb, &context).await;
        if let (Err(error), false) = (&done, records_itself) {
            context.refused(kind, error).await;
        }
        done
    };
    let ending = runtime.block_on(race(work, timeout, ends_by_itself));
    runtime.shutdown_background();
    match ending {
        Ending::Answer(answer) => write(&answer, format, context.style),
        Ending::Error(e) if is_engine => fail(&e, exit::of_repo_error(&e), kind, format, style),
        Ending::Error(e) => fail(&e, exit::of_error(&e), kind, format, style),
        Ending::Cancelled => cancelled(kind, format, context.resume()),
    }
}

enum Ending {
    Answer(Box<Answer>),
    Error(Error),
    Cancelled,
}

/// The verb against Ctrl-C, SIGTERM and `--timeout`; a verb that `ends_by_itself` hears the signals alone.
async fn race(
    work: impl Future<Output = recoup_core::Result<Answer>>,
    timeout: Option<recoup_core::units::Span>,
    ends_by_itself: bool,
) -> Ending {
    use tokio::signal::unix::{SignalKind, signal};
    let stop = async {
        if ends_by_itself {
            return std::future::pending().await;
        }
        let (Ok(mut int), Ok(mut term)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
        else {
            return std::future::pending().await;
        };
        tokio::select! { _ = int.recv() => {}, _ = term.recv() => {} }
    };
    let work = async {
        match timeout {
            None => work.await,
            Some(span) => tokio::time::timeout(span.0, work).await.unwrap_or_else(|_| {
                Err(Error::new(recoup_core::Kind::TimedOut, "finish within --timeout")
                    .with("timeout", span)
                    .code("E0802"))
            }),
        }
    };
    tokio::select! {
        ending = work => match ending {
            Ok(answer) => Ending::Answer(Box::new(answer)),
            Err(e) => Ending::Error(e),
        },
        () = stop => Ending::Cancelled,
    }
}

fn write(answer: &Answer, format: Format, style: Style) -> u8 {
    match answer.write(format, style) {
        Ok(()) => answer.code,
        // The reader went away: the work is done all the same.
        Err(cause) if cause.kind() == std::io::ErrorKind::BrokenPipe => answer.code,
        Err(_) => answer.code.max(exit::UNKNOWN),
    }
}

fn fail(error: &Error, code: u8, kind: &str, format: Format, style: Style) -> u8 {
    let _ = std::io::stderr().lock().write_all(error::text(error, style).as_bytes());
    if matches!(format, Format::Json | Format::Jsonl) {
        let mut doc = json!({
            "schema": "recoup/1", "kind": kind, "outcome": exit::outcome_of_error(error), "code": code,
            "findings": [], "error": error::json(error),
        });
        if format == Format::Jsonl {
            doc["event"] = "result".into();
        }
        let _ = writeln!(std::io::stdout().lock(), "{doc}");
    }
    code
}

/// Ctrl-C: what has a journal can be resumed, and the last line says how.
fn cancelled(kind: &str, format: Format, resume: Option<String>) -> u8 {
    let code = if resume.is_some() { exit::RESUMABLE } else { exit::CANCELLED };
    let mut err = std::io::stderr().lock();
    let _ = writeln!(err, "stopped; nothing that was complete before is touched");
    if let Some(command) = &resume {
        let _ = writeln!(err, "go on with:\n{command}");
    }
    if matches!(format, Format::Json | Format::Jsonl) {
        let doc = json!({
            "schema": "recoup/1", "kind": kind, "event": "result", "outcome": "unknown", "code": code,
            "findings": [], "resume": resume,
        });
        let _ = writeln!(std::io::stdout().lock(), "{doc}");
    }
    code
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        command().debug_assert();
    }
}
