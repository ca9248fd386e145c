//! `completions`: the completion script of a shell.

use super::output::{Failure, print_unescaped};
use crate::cli::Cli;
use clap::CommandFactory;
use clap_complete::Shell;

/// The name of the program in the bash script. The script writes it in these two ways, so it would complete no flag of a command:
/// <https://github.com/clap-rs/clap/issues/6421>
const BASH_NAME: [&str; 2] = [
    "glue__subcmd__integration__subcmd__exporter",
    "glue__integration__exporter",
];
/// Lines of the fish script that find the command in the words before the cursor. `argparse` rejects flags with a dot, so the script
/// would complete nothing. Only flags for logs can stand before a command, so the first other word is the command.
const FISH_COMMAND: [&str; 2] = [
    "    argparse -s (__fish_glue_integration_exporter_global_optspecs) -- $cmd 2>/dev/null\n    or return\n",
    "    set -l argv (string match --invert -- '-*' $cmd)\n",
];

pub(super) fn print(shell: Shell) -> Result<(), Failure> {
    let mut command = Cli::command();
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, name, &mut script);
    let mut script = String::from_utf8_lossy(&script).into_owned();
    for [wrong, right] in [BASH_NAME, FISH_COMMAND] {
        script = script.replace(wrong, right);
    }
    print_unescaped(script.as_bytes())
}
