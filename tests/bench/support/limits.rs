//! What must hold, and whether it did.

use std::process::ExitCode;

/// What was measured against a limit so far.
#[derive(Default)]
pub struct Limits {
    told: Vec<String>,
    broken: bool,
}

impl Limits {
    /// `what` was measured as `value`, in `unit`.
    pub fn at_most(&mut self, what: &str, value: f64, limit: f64, unit: &str) {
        // What could not be measured holds nothing.
        let held = value <= limit;
        let verdict = if held { "limit held" } else { "limit NOT held" };
        self.told.push(format!(
            "{verdict}: {what}: {value:.3} {unit}, at most {limit:.2}"
        ));
        self.broken |= !held;
    }

    /// Tells all, and fails if anything did not hold.
    pub fn tell(self) -> ExitCode {
        println!();
        for line in self.told {
            println!("{line}");
        }
        if self.broken {
            ExitCode::FAILURE
        } else {
            ExitCode::SUCCESS
        }
    }
}
