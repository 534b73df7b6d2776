//! `logferry man`: the manual page, made of the command line's own descriptions.

use std::io::Write;
use std::process::ExitCode;

use clap::{Command, CommandFactory};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use super::complain;
use super::exit::{self, ExitStatus};
use super::{CONFIG, Cli};

pub(super) fn man() -> ExitCode {
    match page() {
        Ok(text) => super::print(&text),
        Err(error) => {
            complain(&format!("logferry: cannot write the manual page: {error}"));
            ExitStatus::Internal.into()
        }
    }
}

fn page() -> std::io::Result<Vec<u8>> {
    let mut command = Cli::command().after_help("");
    command.build();
    let mut text = Vec::new();
    let man = Man::new(command.clone());
    man.render_title(&mut text)?;
    man.render_name_section(&mut text)?;
    man.render_synopsis_section(&mut text)?;
    man.render_description_section(&mut text)?;
    man.render_options_section(&mut text)?;
    let mut roff = Roff::new();
    roff.control("SH", ["COMMANDS"]);
    for command in command.get_subcommands() {
        describe(&mut roff, "logferry", command);
    }
    roff.control("SH", ["EXIT STATUS"]);
    for line in exit::HELP.lines().skip(1) {
        if let Some((code, meaning)) = line.trim().split_once("  ") {
            roff.control("TP", []);
            roff.text([bold(code)]);
            roff.text([roman(meaning)]);
        }
    }
    roff.control("SH", ["FILES"]);
    roff.control("TP", []);
    roff.text([bold(CONFIG)]);
    roff.text([roman(
        "The configuration. `logferry schema` describes every key.",
    )]);
    text.write_all(roff.render().as_bytes())?;
    Ok(text)
}

/// A command and those below it.
fn describe(roff: &mut Roff, above: &str, command: &Command) {
    let title = format!("{above} {}", command.get_name());
    roff.control("SS", [title.as_str()]);
    if let Some(about) = command.get_about() {
        roff.text([roman(format!("{about}."))]);
    }
    for argument in command
        .get_arguments()
        .filter(|argument| argument.get_id() != "help")
    {
        roff.control("TP", []);
        let help = argument
            .get_help()
            .map(ToString::to_string)
            .unwrap_or_default();
        // What has no long name shows its short one by itself.
        let short = argument
            .get_short()
            .filter(|_| argument.get_long().is_some())
            .map(|letter| format!("-{letter}, "));
        roff.text([bold(format!("{}{argument}", short.unwrap_or_default()))]);
        roff.text([roman(help)]);
    }
    for below in command.get_subcommands() {
        if below.get_name() != "help" {
            describe(roff, &title, below);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_every_command_and_every_exit_code() {
        let text = String::from_utf8(page().unwrap()).unwrap();
        for part in [
            "logferry run",
            "logferry check",
            "logferry checkpoints list",
            "logferry checkpoints reset",
            "logferry topics create",
            "logferry groups reset",
            "\\-X <KEY=VALUE>",
            "logferry status",
            "logferry schema",
            "logferry partition-of",
            "EXIT STATUS",
            "\\-\\-once",
        ] {
            assert!(text.contains(part), "{part} is missing in {text}");
        }
    }
}
