//! Other processes of the same tests: this binary again, told by the environment what to do.

use std::{
    env,
    process::{Child, Command, Stdio},
};

/// Starts the test `name` (its full path, such as `rate_limit::across_processes::child`) in another process, with
/// `input` to be found there by [`input`].
pub fn start(name: &str, input: &str) -> Child {
    Command::new(env::current_exe().expect("this binary"))
        .args([name, "--exact", "--nocapture", "--test-threads=1"])
        .env(INPUT, input)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("another process")
}

/// An example, as it was built together with the tests.
pub fn example(name: &str) -> Command {
    let tests = env::current_exe().expect("this binary");
    let directory = tests.ancestors().nth(2).expect("a target directory");
    let program = directory.join("examples").join(name);
    let what = "an example: `cargo build --examples --all-features` makes them all";
    assert!(program.exists(), "{} is not {what}", program.display());
    Command::new(program)
}

/// What [`start`] was given, or nothing when this is not such a process: the test then has nothing to do.
pub fn input() -> Option<String> {
    env::var(INPUT).ok()
}

/// Waits for the end of a process, which must succeed, and gives the text that it printed after `marker`, one item a
/// line.
pub fn output(child: Child, marker: &str) -> Vec<String> {
    let output = child.wait_with_output().expect("the other process's end");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "the other process failed:\n{text}");
    text.lines()
        // The test runner prints its own words before on the same line.
        .filter_map(|line| {
            line.split_once(marker)
                .map(|(_, rest)| rest.trim().to_owned())
        })
        .collect()
}

const INPUT: &str = "TOWER_FRED_TEST_INPUT";
