//! Password hashes.

use std::fmt;
use std::str::FromStr;

/// At cost 18, checking one password takes many seconds of CPU time, and each further step doubles it.
const MAX_COST: u32 = 18;
pub(super) const EXPECTED: &str =
    "a bcrypt hash of 60 characters, such as $2y$10$…, with a cost of 4 to 18";

/// A valid bcrypt hash. It prints as `***`.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash(String);

impl PasswordHash {
    /// Returns the hash for comparison with a password.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl FromStr for PasswordHash {
    /// The error does not quote the hash.
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts: bcrypt::HashParts = text
            .parse()
            .map_err(|_| "is not a bcrypt hash".to_owned())?;
        match parts.get_cost() {
            cost @ 0..=3 => Err(format!("has a cost of {cost}, which is too low for bcrypt")),
            4..=MAX_COST => Ok(Self(text.to_owned())),
            cost => Err(format!(
                "has a cost of {cost}, so checking one password would take minutes or hours"
            )),
        }
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}
