//! Running the program, and reading what it printed and wrote.

use std::path::Path;
use std::process::{Command, Output};

/// Runs the program to its end.
pub(crate) fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_clipseg"))
        .args(arguments)
        .output()
        .expect("the program starts")
}

/// Runs a command of the program to its end.
pub(crate) fn run_command(command: &str, arguments: &[&str]) -> Output {
    run(&[&[command], arguments].concat())
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

pub(crate) fn stdout(output: &Output) -> String {
    text(&output.stdout)
}

pub(crate) fn stderr(output: &Output) -> String {
    text(&output.stderr)
}

pub(crate) fn path(path: &Path) -> &str {
    path.to_str().expect("plain names")
}

/// The sorted names of the entries of a folder.
pub(crate) fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}
