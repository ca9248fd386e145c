//! Tests of the web configuration: each file in `tests/web-config` must give exactly the errors or the description beside it.
//! The test generates most certificates and keys that the files name.
//! `UPDATE=1` rewrites the expected texts; review the diff before you commit it.

use crate::support::certificates::{self, Authority};
use crate::support::property::{cases, hostile};
use glue_integration_exporter::toolkit::web_config::WebConfig;
use proptest::prelude::*;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;

/// Creates a directory with the files that the configurations name.
fn directory() -> TempDir {
    let directory = TempDir::new().unwrap();
    let path = |name: &str| directory.path().join(name);
    let authority = Authority::new("authority");
    let server = certificates::write(directory.path(), &authority);
    fs::write(path("other.key"), authority.server().key).unwrap();
    fs::write(path("both.pem"), server.certificate + &server.key).unwrap();
    fs::write(
        path("broken.pem"),
        "-----BEGIN CERTIFICATE-----\nSECRET?\n-----END CERTIFICATE-----\n",
    )
    .unwrap();
    fs::write(
        path("encrypted.key"),
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
    )
    .unwrap();
    fs::write(
        path("broken.key"),
        "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
    )
    .unwrap();
    fs::copy("tests/web-config/v1.crt", path("v1.crt")).unwrap();
    let self_signed = Authority::new("prometheus").pem();
    fs::write(path("prometheus.crt"), self_signed).unwrap();
    fs::create_dir(path("directory")).unwrap();
    directory
}

fn files(suffix: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir("tests/web-config")
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_str().unwrap().ends_with(suffix))
        .collect();
    files.sort();
    assert!(files.len() > 4);
    files
}

fn expect(actual: &str, path: &Path) {
    if std::env::var_os("UPDATE").is_some() {
        fs::write(path, actual).unwrap();
    }
    let expected = fs::read_to_string(path).unwrap_or_default();
    assert_eq!(actual, expected, "{}", path.display());
}

/// Writes `text` to `web.yml` in `directory` and loads it.
fn load(directory: &TempDir, text: impl AsRef<[u8]>) -> Result<WebConfig, String> {
    let path = directory.path().join("web.yml");
    fs::write(&path, text).unwrap();
    let prefix = format!("{}/", directory.path().display());
    let errors = |errors| format!("{errors}").replace(&prefix, "");
    WebConfig::load(&path).config.map_err(errors)
}

#[test]
fn bad_files_report_expected_errors() {
    let directory = directory();
    for path in files(".bad.yml") {
        let name = path.file_name().unwrap().to_str().unwrap();
        let loaded = load(&directory, fs::read(&path).unwrap());
        let text = loaded
            .expect_err(name)
            .replace("web.yml:", &format!("{name}:"))
            + "\n";
        assert!(
            !text.contains("SECRET") && !text.contains("QOauhQ"),
            "{text}"
        );
        expect(
            &text,
            Path::new(&path.to_str().unwrap().replace(".bad.yml", ".err")),
        );
    }
}

#[test]
fn good_files_have_expected_description() {
    let directory = directory();
    for path in files(".good.yml") {
        let config = load(&directory, fs::read(&path).unwrap());
        let config = config.unwrap_or_else(|errors| panic!("{errors}"));
        assert!(!format!("{config:?}").contains("QOauhQ"));
        expect(
            &config.describe(),
            Path::new(&path.to_str().unwrap().replace(".good.yml", ".txt")),
        );
    }
}

#[test]
fn documented_example_is_valid() {
    let page = fs::read_to_string("docs/tls.md").unwrap();
    let (_, example) = page.split_once("```yaml\ntls_server_config:").unwrap();
    let (example, _) = example.split_once("```").unwrap();
    let config = load(&directory(), format!("tls_server_config:{example}")).unwrap();
    assert!(config.tls.is_some() && config.users.len() == 1 && config.rate_limit.is_some());
    assert_eq!(config.headers.len(), 2);
}

#[test]
fn inline_certificates_are_accepted() {
    let directory = directory();
    let read = |name| fs::read_to_string(directory.path().join(name)).unwrap();
    let indented = |name| read(name).replace('\n', "\n    ");
    let text = format!(
        "tls_server_config:\n  cert: |\n    {}\n  key: |\n    {}\n  client_ca: |\n    {}\n  client_auth_type: RequireAndVerifyClientCert\n",
        indented("server.crt"),
        indented("server.key"),
        indented("ca.crt")
    );
    assert!(load(&directory, text).unwrap().tls.is_some());
}

#[test]
fn rate_limit_interval_parses_like_go() {
    let directory = directory();
    for (text, nanos) in [
        ("1s", 1_000_000_000),
        ("1.5s", 1_500_000_000),
        (".5s", 500_000_000),
        ("1.s", 1_000_000_000),
        ("1m30s", 90_000_000_000),
        ("100ms", 100_000_000),
        ("10us", 10_000),
        ("10µs", 10_000),
        ("3ns", 3),
        ("0.000000001s", 1),
        ("0.3333333333333333333h", 1_200_000_000_000),
        ("876000h", 100 * 365 * 86_400 * 1_000_000_000),
    ] {
        let config = load(
            &directory,
            format!("rate_limit: {{interval: {text}, burst: 1}}"),
        );
        let limit = config.unwrap().rate_limit.unwrap();
        assert_eq!(limit.interval, Duration::from_nanos(nanos), "{text}");
    }
    for text in ["0s", "0h0m", "'0'", "0", "null", "''"] {
        let config = load(&directory, format!("rate_limit: {{interval: {text}}}"));
        assert_eq!(config.unwrap().rate_limit, None, "{text}");
    }
    for text in [
        "1",
        "s",
        ".s",
        "1.2.3s",
        "1x",
        "1 s",
        "-1s",
        "1d",
        "1e3s",
        "1s1",
        "876000h1s",
        "+1s",
        "30s1m",
    ] {
        let config = load(
            &directory,
            format!("rate_limit: {{interval: {text}, burst: 1}}"),
        );
        assert!(
            config.unwrap_err().contains("rate_limit.interval"),
            "{text}"
        );
    }
}

proptest! {
    #![proptest_config(cases(64))]

    #[test]
    fn arbitrary_text_does_not_panic(text in hostile()) {
        let directory = TempDir::new().unwrap();
        let _ = load(&directory, &text);
        let _ = load(&directory, format!("tls_server_config: {{cert: {text:?}, key: {text:?}, client_auth_type: {text:?}}}"));
        let _ = load(&directory, format!("basic_auth_users: {{{text:?}: {text:?}}}"));
        let _ = load(&directory, format!("rate_limit: {{interval: {text:?}, burst: 1}}"));
        let _ = load(&directory, format!("http_server_config: {{headers: {{X-XSS-Protection: {text:?}}}}}"));
    }
}
