//! Events as they happen: bars on a terminal, a plain line every few seconds elsewhere, JSON lines
//! for programs. Progress goes to standard error, JSON lines to standard output.

use super::style::Style;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use recoup_core::env::Clock;
use recoup_core::event::{Event, Outcome, Severity, Sink};
use recoup_core::units::{ByteSize, Span};
use std::collections::HashMap;
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// A line of plain progress no oftener than this.
const PLAIN_EVERY: Duration = Duration::from_secs(5);

/// Prints every event as a JSON line on standard output.
#[derive(Debug, Default)]
pub(crate) struct JsonLines;

impl Sink for JsonLines {
    fn emit(&self, event: Event) {
        if let Ok(line) = serde_json::to_string(&event) {
            // A closed pipe ends the reader's interest, not the backup.
            let _ = std::io::stdout().lock().write_all(format!("{line}\n").as_bytes());
        }
    }
}

/// Bars for a person at a terminal.
pub(crate) struct Bars {
    multi: MultiProgress,
    bars: Mutex<HashMap<(String, String), ProgressBar>>,
    style: Style,
}

impl Bars {
    pub(crate) fn new(style: Style) -> Self {
        Bars { multi: MultiProgress::new(), bars: Mutex::new(HashMap::new()), style }
    }

    fn bar(&self, stage: &str, address: &str) -> ProgressBar {
        let mut bars = self.bars.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (stage.to_owned(), address.to_owned());
        let new = || {
            let bar = self.multi.add(ProgressBar::new_spinner());
            bar.set_style(look("  {spinner} {prefix}  {msg}  {elapsed}"));
            bar.set_prefix(format!("{stage:<9} {address}"));
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        };
        bars.entry(key).or_insert_with(new).clone()
    }
}

/// The templates are constants of this module; a wrong one falls back to the default look.
fn look(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

impl Sink for Bars {
    fn emit(&self, event: Event) {
        match event {
            Event::StageStart { stage, address } => drop(self.bar(&stage, &address)),
            Event::Progress { stage, address, bytes, bytes_total, items, items_total } => {
                let bar = self.bar(&stage, &address);
                if let Some(total) = bytes_total.filter(|t| *t > 0) {
                    bar.set_style(look(
                        "  {spinner} {prefix}  {bar:24} {percent:>3} %  {binary_bytes_per_sec}  ETA {eta}  {msg}",
                    ));
                    bar.set_length(total);
                    bar.set_position(bytes);
                    bar.set_message(counted(items, items_total));
                } else {
                    bar.set_message(format!("{} {}", ByteSize(bytes), counted(items, items_total)));
                }
            }
            Event::StageEnd { stage, address, seconds, outcome, message } => {
                let bar = self.bar(&stage, &address);
                self.bars
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .remove(&(stage.clone(), address.clone()));
                bar.finish_and_clear();
                let line = end_line(&stage, &address, seconds, outcome, &message, self.style);
                let _ = self.multi.println(line);
            }
            Event::Finding(f) if f.severity >= Severity::Warning => {
                let _ = self.multi.println(format!("  ! {} {}: {}", f.id, f.address, f.message));
            }
            Event::Checkpoint { stage, message } => {
                let _ = self.multi.println(format!("  · {stage:<9} {message}"));
            }
            Event::Finding(_) => {}
        }
    }
}

/// Plain lines for logs and pipes.
pub(crate) struct Plain {
    clock: Arc<dyn Clock>,
    last: Mutex<Duration>,
    style: Style,
}

impl Plain {
    pub(crate) fn new(clock: Arc<dyn Clock>, style: Style) -> Self {
        Plain { clock, last: Mutex::new(Duration::ZERO), style }
    }

    fn is_due(&self) -> bool {
        let now = self.clock.monotonic();
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let due = now.saturating_sub(*last) >= PLAIN_EVERY;
        if due {
            *last = now;
        }
        due
    }
}

impl Sink for Plain {
    fn emit(&self, event: Event) {
        let line = match event {
            Event::Progress { stage, address, bytes, bytes_total, items, items_total } if self.is_due() => {
                let of = bytes_total.map(|t| format!(" of {}", ByteSize(t))).unwrap_or_default();
                format!("  … {stage:<9} {address}  {}{of} {}", ByteSize(bytes), counted(items, items_total))
            }
            Event::StageEnd { stage, address, seconds, outcome, message } => {
                end_line(&stage, &address, seconds, outcome, &message, self.style)
            }
            Event::Finding(f) if f.severity >= Severity::Warning => {
                format!("  ! {} {}: {}", f.id, f.address, f.message)
            }
            Event::Checkpoint { stage, message } => format!("  · {stage:<9} {message}"),
            _ => return,
        };
        let _ = writeln!(std::io::stderr().lock(), "{line}");
    }
}

fn counted(items: u64, total: Option<u64>) -> String {
    match (items, total) {
        (0, None) => String::new(),
        (n, None) => format!("{n} items"),
        (n, Some(total)) => format!("{n}/{total}"),
    }
}

fn end_line(
    stage: &str,
    address: &str,
    seconds: f64,
    outcome: Outcome,
    message: &str,
    style: Style,
) -> String {
    let mark = match outcome {
        Outcome::Pass => style.green("✓"),
        Outcome::Fail | Outcome::Refused => style.red("✗"),
        Outcome::Partial => style.yellow("~"),
        Outcome::Unknown => style.yellow("?"),
    };
    let took = Span(Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or_default());
    format!("  {mark} {stage:<9} {address:<14} {message}  {}", style.dim(&took.to_string()))
}
