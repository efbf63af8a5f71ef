//! Other processes: this test binary again, with its task in the environment, and the examples.

use std::{
    env,
    process::{Child, Command, Stdio},
};

/// Starts the test `name` (its full path, such as `rate_limit::across_processes::child`) in another process. There,
/// [`input`] gives `input`.
pub fn start(name: &str, input: &str) -> Child {
    Command::new(env::current_exe().expect("this binary"))
        .args([name, "--exact", "--nocapture", "--test-threads=1"])
        .env(INPUT, input)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("another process")
}

/// The program of an example, which was built together with the tests.
pub fn example(name: &str) -> Command {
    let tests = env::current_exe().expect("this binary");
    let directory = tests.ancestors().nth(2).expect("a target directory");
    let program = directory.join("examples").join(name);
    let what = "an example: `cargo build --examples --all-features` makes them all";
    assert!(program.exists(), "{} is not {what}", program.display());
    Command::new(program)
}

/// The input that [`start`] was given, or `None` in the first process, where such a test does nothing.
pub fn input() -> Option<String> {
    env::var(INPUT).ok()
}

/// Waits for a process to end with success. Gives what it printed after `marker`, one item a line.
pub fn output(child: Child, marker: &str) -> Vec<String> {
    let output = child.wait_with_output().expect("the other process's end");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "the other process failed:\n{text}");
    text.lines()
        // The test runner prints before the marker on the same line.
        .filter_map(|line| {
            line.split_once(marker)
                .map(|(_, rest)| rest.trim().to_owned())
        })
        .collect()
}

const INPUT: &str = "TOWER_FRED_TEST_INPUT";
