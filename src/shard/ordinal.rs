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
        let name = match self {
            Self::Environment(name) => name,
            // With setHostnameAsFQDN the host name contains the domain.
            Self::Host(name) => name.split('.').next().unwrap_or_default(),
        };
        let (set, ordinal) = name.rsplit_once('-').unwrap_or_default();
        let previous = set.rsplit('-').next().unwrap_or_default();
        if matches!(self, Self::Host(_)) && previous.parse::<u64>().is_ok() {
            return Err(format!(
                "{self} ends in two numbers, so it looks like a node name with an IP address"
            ));
        }
        match ordinal.parse::<u16>() {
            // An ordinal has no leading zero and no sign.
            Ok(number) if !set.is_empty() && number.to_string() == ordinal => Ok(number),
            _ => Err(format!("{self} does not end in `-` and an ordinal")),
        }
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
