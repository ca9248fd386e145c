//! Which of its pods a StatefulSet started this one as. Kubernetes says it in the name: `NAME-2` is the third.

use std::fmt;

/// What the pod is called, and who says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PodName {
    /// `POD_NAME` of the environment, which a manifest sets on purpose.
    Environment(String),
    /// The host's name. A pod's is its own unless it uses the node's network.
    Host(String),
}

impl PodName {
    /// The number at the end.
    ///
    /// # Errors
    /// Why it has none, or none that is surely an ordinal. A wrong shard watches nothing that nobody else does, and says nothing.
    pub fn ordinal(&self) -> Result<u16, String> {
        let none = |why: &str| Err(format!("{self} {why}"));
        let name = match self {
            Self::Environment(name) => name,
            // With setHostnameAsFQDN it has a domain.
            Self::Host(name) => name.split('.').next().unwrap_or_default(),
        };
        let Some((set, ordinal)) = name.rsplit_once('-') else {
            return none("does not end in `-` and an ordinal");
        };
        let is_number =
            |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if set.is_empty() || !is_number(ordinal) {
            return none("does not end in `-` and an ordinal");
        }
        if ordinal.len() > 1 && ordinal.starts_with('0') {
            return none("ends in a number that begins with 0, which no ordinal does");
        }
        let before = set.rsplit('-').next().unwrap_or_default();
        if matches!(self, Self::Host(_)) && is_number(before) {
            return none("ends in two numbers, as a node's name with its address does");
        }
        ordinal
            .parse()
            .or_else(|_| none("ends in a number that is too large for an ordinal"))
    }
}

impl fmt::Display for PodName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Environment(name) => write!(f, "POD_NAME `{}`", name.escape_debug()),
            Self::Host(name) => write!(f, "the host name `{}`", name.escape_debug()),
        }
    }
}
