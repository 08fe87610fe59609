//! The reference of the command line: the doc comment of a verb is its help is its page.

use super::{cell, head};
use clap::{Arg, Command};

pub(super) fn page(mut command: Command) -> String {
    command.build();
    let mut page = head("Command line");
    page.push_str("\nEvery verb takes the options of `recoup` itself too, before or after its name.\n");
    section(&command, 2, &mut page);
    page
}

fn section(command: &Command, depth: usize, page: &mut String) {
    let name = command.get_bin_name().unwrap_or(command.get_name()).to_owned();
    page.push_str(&format!("\n{} `{name}`\n", "#".repeat(depth.min(4))));
    if let Some(about) = command.get_long_about().or(command.get_about()) {
        page.push_str(&format!("\n{}\n", about.to_string().trim()));
    }
    let usage = command.clone().render_usage().to_string();
    page.push_str(&format!("\n```text\n{}\n```\n", usage.trim_start_matches("Usage: ").trim()));
    let args: Vec<&Arg> = command.get_arguments().filter(|arg| shown(arg, depth)).collect();
    if !args.is_empty() {
        page.push_str("\n| argument | what it does |\n|---|---|\n");
        for arg in args {
            page.push_str(&format!("| {} | {} |\n", spelled(arg), explained(arg)));
        }
    }
    if let Some(after) = command.get_after_long_help().or(command.get_after_help()) {
        page.push_str(&format!("\n```text\n{}\n```\n", after.to_string().trim()));
    }
    for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set() && sub.get_name() != "help") {
        section(sub, depth + 1, page);
    }
}

/// The options of `recoup` itself are shown once, at the top.
fn shown(arg: &Arg, depth: usize) -> bool {
    let everywhere = arg.is_global_set() || matches!(arg.get_id().as_str(), "help" | "version");
    !arg.is_hide_set() && (depth == 2 || !everywhere)
}

fn spelled(arg: &Arg) -> String {
    let takes = arg.get_action().takes_values();
    let names: Vec<String> =
        arg.get_value_names().unwrap_or_default().iter().map(|n| n.to_string()).collect();
    let value = if names.is_empty() { arg.get_id().to_string().to_uppercase() } else { names.join(" ") };
    let spelled: Vec<String> = arg
        .get_short()
        .map(|c| format!("-{c}"))
        .into_iter()
        .chain(arg.get_long().map(|long| format!("--{long}")))
        .collect();
    match (spelled.is_empty(), takes) {
        (true, _) => format!("`{}`", cell(&value)),
        (false, true) => format!("`{} {}`", spelled.join("`, `"), cell(&value)),
        (false, false) => format!("`{}`", spelled.join("`, `")),
    }
}

fn explained(arg: &Arg) -> String {
    let help = arg.get_long_help().or(arg.get_help()).map(ToString::to_string).unwrap_or_default();
    let mut said = cell(help.trim());
    if !said.is_empty() && !said.ends_with(['.', '!', '?']) {
        said.push('.');
    }
    let choices: Vec<String> = arg
        .get_possible_values()
        .iter()
        .filter(|v| !v.is_hide_set())
        .map(|v| format!("`{}`", v.get_name()))
        .collect();
    if arg.get_action().takes_values() && !choices.is_empty() {
        said.push_str(&format!(" One of {}.", choices.join(", ")));
    }
    let usual: Vec<String> =
        arg.get_default_values().iter().map(|v| v.to_string_lossy().into_owned()).collect();
    if arg.get_action().takes_values() && !usual.is_empty() {
        said.push_str(&format!(" Default: `{}`.", cell(&usual.join(" "))));
    }
    if let Some(env) = arg.get_env() {
        said.push_str(&format!(" Environment: `{}`.", env.to_string_lossy()));
    }
    said
}
