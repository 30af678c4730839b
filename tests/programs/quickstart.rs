//! The output of the quickstart in the README is the real output.

use std::process::Command;

use crate::common::example;

/// Replaces random parts by a word, and sorts credentials of the same time.
fn settled(output: &str) -> Vec<String> {
    let mut settled: Vec<String> = Vec::new();
    for line in output.trim().lines() {
        let words = line.split(' ').map(|word| match word.len() {
            44 if word.ends_with('=') => "PASSWORD",
            21 if word.starts_with("ACCA") => "ID",
            _ => word,
        });
        settled.push(words.collect::<Vec<_>>().join(" "));
    }
    for listed in settled.chunk_by_mut(|one, next| one.starts_with("ID") && next.starts_with("ID"))
    {
        listed.sort();
    }
    settled
}

#[test]
fn the_readme_shows_the_output_of_the_quickstart() {
    let readme = include_str!("../../README.md");
    let (_, shown) = readme.split_once("```text\n").unwrap();
    let (shown, _) = shown.split_once("```").unwrap();
    let printed = Command::new(example("quickstart")).output().unwrap();
    assert!(printed.status.success());
    assert_eq!(settled(std::str::from_utf8(&printed.stdout).unwrap()), settled(shown));
}
