//! The example of the guide to embedding, run as it stands.

#[path = "../examples/embed.rs"]
mod embed;

#[test]
fn the_example_runs_to_its_end() {
    embed::main().unwrap();
    let lines = include_str!("../examples/embed.rs").lines().filter(|line| !line.trim().is_empty());
    assert!(lines.filter(|line| !line.trim_start().starts_with("//")).count() < 40);
}
