//! The limits of measured values.

use std::process::ExitCode;

/// The results of the limits that were checked so far.
#[derive(Default)]
pub struct Limits {
    lines: Vec<String>,
    exceeded: bool,
}

impl Limits {
    /// Checks that a measured value is not above its limit.
    pub fn check_max(&mut self, name: &str, value: f64, limit: f64, unit: &str) {
        // Comparisons with NaN are false, so an invalid measurement fails.
        self.check(
            value <= limit,
            &format!("{name}: {value:.2} {unit}, at most {limit:.2}"),
        );
    }

    /// Checks that a measured value is not below its limit.
    pub fn check_min(&mut self, name: &str, value: f64, limit: f64, unit: &str) {
        self.check(
            value >= limit,
            &format!("{name}: {value:.2} {unit}, at least {limit:.2}"),
        );
    }

    fn check(&mut self, held: bool, line: &str) {
        let verdict = if held { "limit held" } else { "limit EXCEEDED" };
        self.lines.push(format!("{verdict}: {line}"));
        self.exceeded |= !held;
    }

    /// Prints all results, and returns a failure if a limit was exceeded.
    pub fn report(self) -> ExitCode {
        println!();
        for line in self.lines {
            println!("{line}");
        }
        if self.exceeded {
            ExitCode::FAILURE
        } else {
            ExitCode::SUCCESS
        }
    }
}
