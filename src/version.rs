//! Which build this is.

/// The version of the crate.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The commit that it was built from, with `-dirty` if the tree had changes; `unknown` outside a checkout.
pub const REVISION: &str = git_version::git_version!(
    args = ["--always", "--abbrev=40", "--dirty", "--exclude=*"],
    fallback = "unknown"
);

/// The compiler's version.
pub fn rust_version() -> String {
    rustc_version_runtime::version().to_string()
}

/// What `--version` prints, as Prometheus' programs print it.
pub fn long() -> String {
    format!(
        "version {VERSION} (revision: {REVISION})\n  rust version: {}\n  platform: {}/{}",
        rust_version(),
        std::env::consts::OS,
        std::env::consts::ARCH
    )
}
