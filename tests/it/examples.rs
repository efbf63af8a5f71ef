//! The examples that check themselves succeed.

use crate::support::{Server, process};

#[test]
fn the_tour_succeeds() {
    let server = Server::start();
    let output = process::example("tour")
        .env("REDIS_URL", server.url())
        .output()
        .expect("the tour");
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}\n{errors}");
    assert!(text.contains("all steps as expected"), "{text}");
}
