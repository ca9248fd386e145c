//! The man page and the completion scripts in the Debian package. `UPDATE=1 cargo test --test it -- manual::` rewrites them.

use crate::e2e::support::Setup;
use clap::{Command, CommandFactory};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};
use glue_integration_exporter::cli::Cli;
use std::fs;

const NAME: &str = env!("CARGO_PKG_NAME");
const DEBIAN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/debian");

/// Checks that a file of the package is `expected`.
fn check_file(name: &str, expected: &str) {
    let path = format!("{DEBIAN}/{name}");
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&path, expected).unwrap();
    } else {
        let current = fs::read_to_string(&path).unwrap();
        assert!(current == expected, "{name}: UPDATE=1 rewrites the file");
    }
}

#[test]
fn completions_match_shipped_files() {
    let setup = Setup::bare();
    for shell in ["bash", "fish", "zsh"] {
        let printed = setup.run(&["completions", shell]);
        assert_eq!((printed.code, &*printed.stderr), (Some(0), ""));
        // With it, fish completes nothing.
        assert!(!printed.stdout.contains("    argparse -s"));
        check_file(&format!("{NAME}.{shell}"), &printed.stdout);
    }
    assert_eq!(setup.run(&["completions", "csh"]).code, Some(2));
}

#[test]
fn man_page_matches_command_line() {
    let command = Cli::command();
    let man = Man::new(command.clone());
    // The empty argument is the date. `Man::render_title` omits it, so the version would take its place.
    let title = format!(
        ".TH {NAME} 1 \"\" \"{NAME} {}\" \"User Commands\"\n",
        env!("CARGO_PKG_VERSION")
    );
    let mut page = title.into_bytes();
    man.render_name_section(&mut page).unwrap();
    page.extend(include_bytes!("manual/synopsis.roff"));
    man.render_description_section(&mut page).unwrap();
    man.render_options_section(&mut page).unwrap();
    page.extend(b".SH COMMANDS\n");
    for subcommand in command.get_subcommands() {
        page.extend(describe(subcommand, &command).bytes());
    }
    page.extend(include_bytes!("manual/sections.roff"));
    let page = String::from_utf8(page).unwrap();
    check_file(&format!("{NAME}.1"), &page);
}

#[test]
fn debian_changelog_has_the_version() {
    let changelog = fs::read_to_string(format!("{DEBIAN}/changelog")).unwrap();
    let version = format!("{NAME} ({}-1) ", env!("CARGO_PKG_VERSION"));
    assert!(changelog.starts_with(&version), "{changelog}");
}

/// Describes a command and its own flags. Flags of the daemon are only named, because OPTIONS describes them.
fn describe(command: &Command, daemon: &Command) -> String {
    let is_shared = |name: Option<&str>| {
        name.is_some() && daemon.get_arguments().any(|arg| arg.get_long() == name)
    };
    let names = command.get_arguments().filter_map(|arg| arg.get_long());
    let shared: Vec<String> = names
        .filter(|name| is_shared(Some(name)))
        .map(|name| format!("--{name}"))
        .collect();
    let own = command.clone().disable_help_flag(true).mut_args(|arg| {
        let hidden = is_shared(arg.get_long());
        arg.hide(hidden)
    });
    let man = Man::new(own);

    let mut roff = Roff::new();
    roff.control("SS", [command.get_name()]);
    let mut text = roff.to_roff();
    text += &section(|out| man.render_description_section(out));
    text += &section(|out| man.render_options_section(out));
    if !shared.is_empty() {
        let mut roff = Roff::new();
        roff.control("PP", []);
        roff.text([roman("Flags of the daemon: "), bold(shared.join(", "))]);
        text += &roff.to_roff();
    }
    text
}

/// Returns a section without its heading.
fn section(render: impl Fn(&mut dyn std::io::Write) -> std::io::Result<()>) -> String {
    let mut section = Vec::new();
    render(&mut section).unwrap();
    let section = String::from_utf8(section).unwrap();
    let (_, body) = section.split_once("\n.SH ").unwrap_or_default();
    let (_, body) = body.split_once('\n').unwrap_or_default();
    body.to_owned()
}
