//! Password hashes.

use crate::toolkit::yaml::{Checked, ValueError};
use std::fmt;
use std::str::FromStr;

/// At cost 18, checking one password takes many seconds of CPU time, and each further step doubles it.
const MAX_COST: u32 = 18;

/// A valid bcrypt hash. It prints as `***`.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash(String);

impl PasswordHash {
    /// Returns the hash for comparison with a password.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl Checked for PasswordHash {
    const EXPECTED: &'static str =
        "a bcrypt hash of 60 characters, such as $2y$10$…, with a cost of 4 to 18";
}

impl FromStr for PasswordHash {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let why = match text.parse::<bcrypt::HashParts>() {
            Err(_) => "is not a bcrypt hash".to_owned(),
            Ok(parts) => match parts.get_cost() {
                4..=MAX_COST => return Ok(Self(text.to_owned())),
                cost => format!("has a cost of {cost}"),
            },
        };
        Err(ValueError::of::<Self>(why))
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}
