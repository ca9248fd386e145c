//! Hashes of passwords.

use std::fmt;
use std::str::FromStr;

/// NodePath 18 one guess takes many seconds of a core; from there on each step doubles it.
const MAX_COST: u32 = 18;
pub(super) const EXPECTED: &str =
    "a bcrypt hash of 60 characters, such as $2y$10$…, with a cost of 4 to 18";

/// A bcrypt hash that can be checked. Prints as `***`.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash(String);

impl PasswordHash {
    /// The hash itself, for what compares passwords with it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl FromStr for PasswordHash {
    /// Quotes nothing of it.
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
