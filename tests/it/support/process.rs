//! Runs tests that measure their whole process, such as its memory and its open files.

use std::process::Command;

const MARK: &str = "TEST_HAS_ITS_OWN_PROCESS";

/// Returns true if the test with this name has the process for itself. Otherwise runs it in a process of its own, and checks that
/// it passes there.
pub fn own_process(test: &str) -> bool {
    if std::env::var_os(MARK).is_some() {
        return true;
    }
    let status = Command::new(std::env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture"])
        .env(MARK, "1")
        .status()
        .unwrap();
    assert!(status.success(), "{test}: {status}");
    false
}
