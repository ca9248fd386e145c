//! The ordinal of a StatefulSet pod. Kubernetes appends it to the pod name: `NAME-2` is the third pod.

use std::fmt;

/// The name of the pod, and its origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PodName {
    /// The environment variable `POD_NAME`, which a manifest sets explicitly.
    Environment(String),
    /// The host name. It is the pod name unless the pod uses the network of the node.
    Host(String),
}

impl PodName {
    /// Returns the ordinal at the end of the name.
    ///
    /// # Errors
    /// If the name does not certainly end in an ordinal. A wrong shard index would silently leave a part unwatched.
    pub fn ordinal(&self) -> Result<u16, String> {
        let error = |why: &str| Err(format!("{self} {why}"));
        let name = match self {
            Self::Environment(name) => name,
            // With setHostnameAsFQDN the host name contains the domain.
            Self::Host(name) => name.split('.').next().unwrap_or_default(),
        };
        let Some((set, ordinal)) = name.rsplit_once('-') else {
            return error("does not end in `-` and an ordinal");
        };
        let is_number =
            |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if set.is_empty() || !is_number(ordinal) {
            return error("does not end in `-` and an ordinal");
        }
        if ordinal.len() > 1 && ordinal.starts_with('0') {
            return error("ends in a number with a leading 0, which is not an ordinal");
        }
        let previous = set.rsplit('-').next().unwrap_or_default();
        if matches!(self, Self::Host(_)) && is_number(previous) {
            return error("ends in two numbers, so it looks like a node name with an IP address");
        }
        ordinal
            .parse()
            .or_else(|_| error("ends in a number that is too large for an ordinal"))
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
