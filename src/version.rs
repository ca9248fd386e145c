//! The version of this build.

pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The commit of the build, with `-dirty` after uncommitted changes, or `unknown` outside a checkout.
pub(crate) const REVISION: &str = git_version::git_version!(
    args = ["--always", "--abbrev=40", "--dirty", "--exclude=*"],
    fallback = "unknown"
);

pub(crate) fn rust_version() -> String {
    rustc_version_runtime::version().to_string()
}

/// Returns the output of `--version`, in the form of Prometheus' programs.
pub(crate) fn long() -> String {
    format!(
        "version {VERSION} (revision: {REVISION})\n  rust version: {}\n  platform: {}/{}",
        rust_version(),
        std::env::consts::OS,
        std::env::consts::ARCH
    )
}
