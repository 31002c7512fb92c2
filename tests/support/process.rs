//! Tests of what a process reads from its environment once.

use std::process::Command;

/// Whether this process has the setting; if not, the test of this name in this module has passed in one that has.
pub fn has(setting: &str, module: &str, test: &str) -> bool {
    if std::env::var(setting).is_ok_and(|value| value == "1") {
        return true;
    }
    let program = std::env::current_exe().expect("the test's own path");
    let (_, module) = module.split_once("::").expect("a module's path");
    let run = Command::new(program)
        .args([&format!("{module}::{test}"), "--exact", "--nocapture"])
        .env(setting, "1")
        .output()
        .expect("a process");
    let told =
        String::from_utf8_lossy(&run.stdout).to_string() + &String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{told}");
    assert!(told.contains("1 passed"), "{told}");
    false
}
