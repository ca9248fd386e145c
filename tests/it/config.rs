//! Tests of the configuration: each file in `tests/config` must give exactly the errors or the description beside it.
//! `UPDATE=1` rewrites the expected texts; review the diff before you commit it.

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::support::property::{cases, hostile};
use glue_integration_exporter::arn::Arn;
use glue_integration_exporter::config::{
    Config, ConfigDuration, ExternalId, IntegrationArn, Pattern, RegionName, RoleArn, Scope,
    ScopeRegion, TargetArn, ValueError, describe,
};
use glue_integration_exporter::toolkit::web_config::WebConfig;
use glue_integration_exporter::toolkit::yaml::format_duration;
use proptest::prelude::*;
use rustix::fs::FileType;

const EXAMPLE: &str = include_str!("../../config.example.yaml");

fn files(suffix: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir("tests/config")
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_str().unwrap().ends_with(suffix))
        .collect();
    files.sort();
    assert!(!files.is_empty());
    files
}

fn expect(actual: &str, path: &Path) {
    if std::env::var_os("UPDATE").is_some() {
        fs::write(path, actual).unwrap();
    }
    let expected = fs::read_to_string(path).unwrap_or_default();
    assert_eq!(actual, expected, "{}", path.display());
}

fn watches(config: &Config) -> Result<Vec<ScopeRegion>, String> {
    config
        .watches(|_| Ok("eu-north-1".parse().unwrap()))
        .map_err(|errors| errors.to_string())
}

fn parse(text: &str) -> Result<Config, String> {
    Config::from_yaml(text, Path::new("c.yaml")).map_err(|errors| errors.to_string())
}

#[test]
fn bad_files_report_expected_errors() {
    for path in files(".bad.yaml") {
        let errors = Config::load(&path).expect_err(path.to_str().unwrap());
        let text = errors.to_string().replace("tests/config/", "") + "\n";
        assert!(!text.contains("SECRET"), "{text}");
        expect(
            &text,
            Path::new(&path.to_str().unwrap().replace(".bad.yaml", ".err")),
        );
    }
}

#[test]
fn good_files_have_expected_description() {
    for path in files(".good.yaml") {
        let config = Config::load(&path).unwrap_or_else(|errors| panic!("{errors}"));
        let text = describe(
            &watches(&config).unwrap(),
            config.storage_path.as_deref(),
            config.requests_per_second,
            &config.tag_labels,
        );
        assert!(!text.contains("SECRET"), "{text}");
        assert!(!format!("{config:?}").contains("SECRET"));
        expect(
            &text,
            Path::new(&path.to_str().unwrap().replace(".good.yaml", ".txt")),
        );
    }
}

#[test]
fn shard_without_scopes_needs_zero_requests() {
    let text = describe(&[], None, 10, &[]);
    assert!(text.contains("at least 0 API requests"), "{text}");
}

/// Returns the example with all settings turned on, except `external_id_file`, which excludes `external_id`.
fn all_on() -> String {
    EXAMPLE
        .lines()
        .filter(|line| !line.contains("#external_id_file:"))
        .map(|line| {
            let indent = line.len() - line.trim_start().len();
            match line.trim_start().strip_prefix('#') {
                Some(setting) if setting.starts_with(|c: char| c.is_ascii_lowercase()) => {
                    format!("{}{setting}\n", &line[..indent])
                }
                _ => format!("{line}\n"),
            }
        })
        .collect()
}

#[test]
fn example_values_equal_defaults() {
    let example = parse(EXAMPLE).unwrap();
    assert_eq!(example, parse("scopes: [name: default]").unwrap());

    let on = &parse(&all_on()).unwrap().scopes[0];
    let off: &Scope = &example.scopes[0];
    assert_eq!(
        (on.interval, on.timeout, on.stale_after, on.concurrency),
        (off.interval, off.timeout, off.stale_after, off.concurrency)
    );
    let polling_on = all_on()
        .lines()
        .take_while(|line| !line.starts_with("storage:"))
        .filter(|line| !line.contains("page_size"))
        .collect::<Vec<_>>()
        .join("\n");
    assert_eq!(
        parse(&format!("{polling_on}\nscopes: [name: default]")).unwrap(),
        example
    );
}

#[test]
fn example_contains_every_key() {
    let message = parse("polling: {x: }\nstorage: {x: }\nscopes: [{x: }]\nx: ").unwrap_err();
    let mut keys = 0;
    for line in message.lines().filter(|line| line.contains("unknown key")) {
        let (_, allowed) = line.split_once("allowed: ").unwrap();
        for key in allowed.split(", ") {
            keys += 1;
            let is = |line: &str| {
                line.trim_start_matches([' ', '#', '-'])
                    .starts_with(&format!("{key}:"))
            };
            assert!(EXAMPLE.lines().any(is), "{key}");
        }
    }
    assert_eq!(keys, 30);
}

#[test]
fn external_id_of_wrong_type_is_not_shown() {
    for value in [
        "987654321",
        "98765.4321",
        "[987654321]",
        "{987654321: 987654321}",
        "{a: [987654321]}",
        "!x 987654321",
        "!!int \"987654321x\"",
        "!!null 987654321",
        "!!bool 987654321",
        "\"987654321 \"",
        "|\n    987654321\n    987654321\n",
        "987654321\n  external_id: 987654321",
        "987654321\n  987654321: 1",
        "&987654321 *987654321",
        "a: 987654321",
        "'987654321",
        "\"\\q987654321\"",
    ] {
        let text = format!("scopes:\n- profile: p\n  external_id: {value}\n");
        let message = parse(&text).unwrap_err();
        // Here the text is a key of the scope, not the value of external_id.
        if !value.contains("\n  987654321: 1") {
            assert!(!message.contains("987654321"), "{value}: {message}");
        }
    }
    // Without a space after the colon, YAML reads key and secret as one text, which becomes a part of the name or a key.
    for text in [
        "scopes:\n- name: a\n  external_id:SECRET/x\n",
        "scopes:\n- {name: a, external_id:SECRET/x}\n",
    ] {
        let message = parse(text).unwrap_err();
        assert!(!message.contains("SECRET"), "{message}");
    }
    let id: ExternalId = "SECRET".parse().unwrap();
    assert_eq!(format!("{id:?} {}", id.expose()), "*** SECRET");
}

#[test]
fn invalid_documents_are_rejected() {
    let dir = tempfile::tempdir().unwrap();
    let message = |name: &str, bytes: Option<&[u8]>| {
        let path = dir.path().join(name);
        if let Some(bytes) = bytes {
            fs::write(&path, bytes).unwrap();
        }
        let message = Config::load(&path).unwrap_err().to_string();
        message.replace(&format!("{}/", dir.path().display()), "")
    };
    assert_eq!(
        message("none", None),
        "none: cannot be read: No such file or directory (os error 2)"
    );
    assert_eq!(
        message("latin1", Some(b"scopes:\n- name: \xfcber\n")),
        "latin1: line 2 is not valid UTF-8"
    );
    assert_eq!(
        message("large", Some(&vec![b' '; 1024 * 1024 + 1])),
        "large: cannot be read: it is too large; allowed: 1 MiB"
    );
    assert_eq!(
        message("nul", Some(b"scopes:\n- name: a\0b\n")),
        "nul:1:1: control characters are not allowed at position 17"
    );
    assert_eq!(
        message("empty", Some(b"")),
        "empty:1:1: is empty; allowed: a map with the keys polling, storage, tag_labels, scopes"
    );
    // Without our limit, the YAML parser needs a quarter of an hour for each of these.
    for (name, unit) in [("lists", "["), ("maps", "{"), ("lines", "-\n [\n")] {
        let deep = unit.repeat(1024 * 1024 / unit.len());
        assert!(message(name, Some(deep.as_bytes())).contains("more than 128 brackets are open"));
    }
    assert!(message("blocks", Some("- ".repeat(10_000).as_bytes())).contains("recursion limit"));
    let many_scopes = format!("scopes: [{}]", "{name: a b},".repeat(200));
    assert!(message("beside", Some(many_scopes.as_bytes())).contains("100 more errors"));
    let laughs: String = (1..20).fold("a0: &a0 [x]\n".to_owned(), |text, i| {
        let alias = format!("*a{},", i - 1);
        format!("{text}a{i}: &a{i} [{}]\n", alias.repeat(10))
    });
    assert!(message("laughs", Some(laughs.as_bytes())).starts_with("laughs:"));
    let wide = format!(
        "a: &a [{}]\nb: [{}]\n",
        "x,".repeat(10_000),
        "*a,".repeat(10_000)
    );
    assert!(message("wide", Some(wide.as_bytes())).contains("too many values"));
    assert!(message("endless", Some(b"scopes: &a [*a]")).contains("recursion limit"));
}

#[test]
fn special_files_are_rejected() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    mkfifo(&path("pipe"));
    let _socket = UnixListener::bind(path("socket")).unwrap();
    symlink(path("pipe"), path("link")).unwrap();
    symlink("/dev/zero", path("zeros")).unwrap();
    for (name, kind) in [
        ("pipe", "a pipe"),
        ("link", "a pipe"),
        ("socket", "a socket or a device"),
        ("zeros", "a device"),
        (".", "a directory"),
    ] {
        let wrong = format!("cannot be read: it is {kind}; allowed: a regular file");
        let message = Config::load(&path(name)).unwrap_err().to_string();
        assert!(message.contains(&wrong), "{message}");
        let message = WebConfig::load(&path(name)).config.unwrap_err().to_string();
        assert!(message.contains(&wrong), "{message}");
        let role = format!(
            "scopes: [{{name: a, role_arn: 'arn:aws:iam::111122223333:role/r', external_id_file: {}}}]",
            path(name).display()
        );
        let message = parse(&role).unwrap_err();
        assert!(message.contains(&wrong), "{message}");
    }
    // Kubernetes mounts files as symbolic links.
    fs::write(path("file"), "scopes: [{name: a, regions: [eu-west-1]}]").unwrap();
    symlink("file", path("mounted")).unwrap();
    assert!(Config::load(&path("mounted")).is_ok());
}

fn mkfifo(path: &Path) {
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mknodat(rustix::fs::CWD, path, FileType::Fifo, mode, 0).unwrap();
}

#[test]
fn errors_beyond_100_are_only_counted() {
    let message = parse(&format!("scopes:\n{}", "- name: a b\n".repeat(150))).unwrap_err();
    assert_eq!(message.lines().count(), 101);
    assert!(
        message.contains("50 more errors are not shown"),
        "{message}"
    );
}

#[test]
fn aliases_and_byte_order_mark_are_accepted() {
    let text =
        "\u{feff}scopes:\n- {name: &n a, regions: &r [eu-west-1]}\n- name: b\n  regions: *r\n";
    assert_eq!(
        parse(text).unwrap().scopes[1].regions[0].as_str(),
        "eu-west-1"
    );
}

#[test]
fn scope_without_region_is_rejected() {
    let config = parse("scopes: [name: a, {name: b, regions: [eu-west-1]}]").unwrap();
    let without: Vec<&str> = config
        .scopes_without_region()
        .map(|s| s.name.as_str())
        .collect();
    assert_eq!(without, ["a"]);
    assert_eq!(
        config.watches(|_| Err(None)).unwrap_err().to_string(),
        "scopes[0]: scope `a` has no region; set `regions`, or the environment variable AWS_REGION or AWS_DEFAULT_REGION"
    );
}

#[test]
fn default_region_in_other_partition_is_rejected() {
    let config =
        parse("scopes: [{name: a, role_arn: 'arn:aws-cn:iam::111122223333:role/r'}]").unwrap();
    let watches = |region: &str| config.watches(|_| Ok(region.parse().unwrap()));
    assert_eq!(watches("cn-north-1").unwrap().len(), 1);
    assert_eq!(
        watches("eu-west-1").unwrap_err().to_string(),
        "scopes[0].role_arn: `arn:aws-cn:iam::111122223333:role/r` is in the partition `aws-cn`, but eu-west-1 is not; \
         allowed: a role in the partition `aws` (the region is the SDK's default region)"
    );
}

#[test]
fn short_interval_shortens_default_timeout() {
    let scope = &parse("scopes: [{name: a, interval: 10s}]").unwrap().scopes[0];
    assert_eq!(scope.timeout, Duration::from_millis(7500));
    assert_eq!(format_duration(scope.timeout), "7.5s");
}

/// ARNs of the kinds of sources and targets that AWS documents.
const ARNS: [&str; 11] = [
    "arn:aws:dynamodb:eu-west-1:111122223333:table/orders",
    "arn:aws:glue:eu-west-1:111122223333:connection/sales/force",
    "arn:aws:rds:eu-west-1:111122223333:cluster:orders",
    "arn:aws:odb:us-east-1:111122223333:odb-network/net_1",
    "arn:aws:dms:eu-west-1:111122223333:endpoint:ABCDEF",
    "arn:aws-cn:glue:cn-north-1:111122223333:database/lake",
    "arn:aws:glue:eu-west-1:111122223333:catalog/name",
    "arn:aws:glue:eu-west-1:111122223333:catalog/s3tablescatalog/bucket",
    "arn:aws:redshift:eu-west-1:444455556666:namespace:0a1b2c3d-0000-4000-8000-000000000001",
    "arn:aws-us-gov:redshift-serverless:us-gov-west-1:111122223333:namespace/0a1b2c3d",
    "arn:aws:s3:::lake",
];

fn arn_pattern(text: &str) -> Result<Pattern, ValueError> {
    let pattern: Pattern = text.parse()?;
    pattern.check_arn()?;
    Ok(pattern)
}

#[test]
fn arn_pattern_matches_like_iam() {
    for (pattern, which) in [
        ("*", vec![0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]),
        ("arn:aws:dynamodb:*", vec![0]),
        ("arn:aws*:glue:*", vec![1, 5, 6, 7]),
        ("arn:aws:*:eu-west-1:*", vec![0, 1, 2, 4, 6, 7, 8]),
        ("arn:*:111122223333:*", vec![0, 1, 2, 3, 4, 5, 6, 7, 9]),
        ("*connection/sales*", vec![1]),
        ("*:connection/sales/?????", vec![1]),
        ("*:connection/sales/????", vec![]),
        ("*:catalog/*", vec![6, 7]),
        ("*:catalog/*/*", vec![7]),
        ("*namespace?0a1b2c3d*", vec![8, 9]),
        ("arn:aws:s3???lake", vec![10]),
        ("arn:aws:s3:::lake", vec![10]),
        ("arn:aws:s3:::lakes", vec![]),
        ("arn:aws:s3:::Lake", vec![]),
        ("*lake**", vec![5, 10]),
        ("a*r*n*:*o*r*d*e*r*s", vec![0, 2]),
    ] {
        let parsed = arn_pattern(pattern).unwrap();
        let matched: Vec<usize> = (0..ARNS.len())
            .filter(|n| parsed.matches(ARNS[*n]))
            .collect();
        assert_eq!(matched, which, "{pattern}");
    }
    // Every ARN is a pattern that matches itself.
    for arn in ARNS {
        assert!(arn_pattern(arn).unwrap().matches(arn));
    }
}

#[test]
fn pattern_match_time_is_at_most_quadratic() {
    let pattern = arn_pattern(&("*a".repeat(255) + "*b")).unwrap();
    let begin = tokio::time::Instant::now();
    assert!(!pattern.matches(&"a".repeat(100_000)));
    assert!(pattern.matches(&("a".repeat(100_000) + "b")));
    assert!(begin.elapsed() < Duration::from_secs(10));
}

/// Matches by the definition of patterns, without regard to time.
fn matches_reference(text: &[char], pattern: &[char]) -> bool {
    match pattern {
        [] => text.is_empty(),
        ['*', rest @ ..] => (0..=text.len()).any(|taken| matches_reference(&text[taken..], rest)),
        ['?', rest @ ..] => !text.is_empty() && matches_reference(&text[1..], rest),
        [c, rest @ ..] => text.first() == Some(c) && matches_reference(&text[1..], rest),
    }
}

/// Generates a partition and a region in it.
fn partition_and_region() -> impl Strategy<Value = (&'static str, String)> {
    prop_oneof![
        "[a-z]{2}-[a-z]{4,9}-[1-9]"
            .prop_filter("a region of China is in its own partition", |region| {
                !region.starts_with("cn-")
            })
            .prop_map(|region| ("aws", region)),
        "cn-[a-z]{4,9}-[1-9]".prop_map(|region| ("aws-cn", region)),
        "us-gov-[a-z]{4}-[1-9]".prop_map(|region| ("aws-us-gov", region)),
        "us-iso-[a-z]{4}-[1-9]".prop_map(|region| ("aws-iso", region)),
        "us-isob-[a-z]{4}-[1-9]".prop_map(|region| ("aws-iso-b", region)),
        "eusc-[a-z]{2}-[a-z]{4}-[1-9]".prop_map(|region| ("aws-eusc", region)),
    ]
}

/// Generates text that resembles an ARN.
fn arn_like_text() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        6 => prop::sample::select(vec![
            "arn", "aws", "aws-cn", "glue", "iam", "s3", "eu-west-1", "cn-north-1", "111122223333", "integration", "role", "database",
            "0a1b2c3d-0000-4000-8000-000000000001", "",
        ]).prop_map(str::to_owned),
        1 => "[!-~ \u{e9}\u{0}]{0,8}",
    ];
    prop::collection::vec(
        (
            part,
            prop::sample::select(vec![":", ":", ":", "::", "/", ""]),
        ),
        1..10,
    )
    .prop_map(|parts| {
        parts
            .into_iter()
            .flat_map(|(part, end)| [part, end.to_owned()])
            .collect()
    })
}

/// Checks that each ARN type that accepts `text` reports the same parts as `Arn`.
fn arns_agree_with(text: &str) -> Result<(), TestCaseError> {
    let fields = Arn::split(text);
    if let Ok(arn) = text.parse::<IntegrationArn>() {
        prop_assert_eq!(arn.to_string(), text);
        prop_assert_eq!(arn.as_str(), text);
        prop_assert_eq!(
            (fields.service, fields.region, fields.account),
            (
                "glue",
                arn.region().as_str(),
                Arn::split(arn.as_str()).account
            )
        );
        let target: TargetArn = text.parse().unwrap();
        prop_assert_eq!(target.region(), Some(arn.region()));
    }
    if let Ok(arn) = text.parse::<TargetArn>() {
        prop_assert_eq!(arn.to_string(), text);
        prop_assert_eq!(arn.as_str(), text);
        prop_assert_eq!(arn.region().map_or("", RegionName::as_str), fields.region);
        prop_assert!(!fields.service.is_empty());
    }
    if let Ok(arn) = text.parse::<RoleArn>() {
        prop_assert_eq!(arn.to_string(), text);
        prop_assert_eq!(arn.as_str(), text);
        prop_assert_eq!(
            (fields.service, fields.region, fields.account.len()),
            ("iam", "", 12)
        );
    }
    Ok(())
}

proptest! {
    #![proptest_config(cases(2000))]

    #[test]
    fn parsed_arn_agrees_with_its_fields(text in prop_oneof![8 => arn_like_text(), 1 => hostile()]) {
        arns_agree_with(&text)?;
    }

    #[test]
    fn pattern_matches_like_reference(pattern in "[*?]?[ab:/\u{e9}?*]{0,7}\\*", text in "[ab:/*?\u{e9}]{0,9}") {
        let chars = |text: &str| text.chars().collect::<Vec<char>>();
        for parsed in [arn_pattern(&pattern), pattern.parse()].into_iter().flatten() {
            prop_assert_eq!(parsed.matches(&text), matches_reference(&chars(&text), &chars(&pattern)));
        }
    }

    #[test]
    fn arn_with_wildcard_matches_itself(text in arn_like_text(), from in 0usize..40, until in 0usize..40, open in "[*]|[?]{0,40}") {
        if let Ok(arn) = text.parse::<TargetArn>() {
            let chars: Vec<char> = text.chars().collect();
            let (from, until) = (from.min(chars.len()), until.min(chars.len()));
            prop_assume!(from <= until && (open == "*" || open.len() == until - from));
            let pattern: String = chars[..from].iter().copied().chain(open.chars()).chain(chars[until..].iter().copied()).collect();
            if !pattern.contains(['[', ']', '{', '}', '\\']) {
                let parsed = arn_pattern(&pattern);
                prop_assert!(parsed.is_ok_and(|parsed| parsed.matches(arn.as_str())), "{}", pattern);
            }
        }
    }

    #[test]
    fn arns_round_trip(
        (partition, region) in partition_and_region(),
        account in "[0-9]{12}",
        kind in "integration[:/]",
        id in "[0-9a-zA-Z-]{1,40}",
        resource in "[!-9;-~][!-~]{0,60}",
        service in "[a-z][a-z0-9-]{0,12}",
        has_region: bool,
        has_account: bool,
        role in "[a-zA-Z0-9_+=,.@-]{1,40}",
    ) {
        let text = format!("arn:{partition}:glue:{region}:{account}:{kind}{id}");
        let arn: IntegrationArn = text.parse().unwrap();
        prop_assert_eq!((arn.as_str(), arn.region().as_str(), Arn::split(arn.as_str()).account), (&*text, &*region, &*account));
        arns_agree_with(&text)?;
        let (region, account_) = (if has_region { &*region } else { "" }, if has_account { &*account } else { "" });
        let text = format!("arn:{partition}:{service}:{region}:{account_}:{resource}");
        let arn: TargetArn = text.parse().unwrap();
        prop_assert_eq!((arn.as_str(), arn.region().map_or("", RegionName::as_str)), (&*text, region));
        let text = format!("arn:{partition}:iam::{account}:role/{role}");
        let arn: RoleArn = text.parse().unwrap();
        prop_assert_eq!(arn.as_str(), text);
    }
}

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn arbitrary_text_does_not_panic(text in any::<String>()) {
        let _ = parse(&text);
    }

    #[test]
    fn mutated_example_does_not_panic(
        at in 0usize..4000,
        cut in 0usize..40,
        put in "[-:#&*!|>\\[\\]{}\"'%@` \n\ta-z0-9]{0,6}",
        on: bool,
    ) {
        let mut text: Vec<char> = if on { all_on() } else { EXAMPLE.to_owned() }.chars().collect();
        let at = at.min(text.len());
        let end = (at + cut).min(text.len());
        text.splice(at..end, put.chars());
        if let Ok(config) = parse(&text.iter().collect::<String>()) {
            let _ = watches(&config).map(|watches| describe(&watches, None, 1, &config.tag_labels));
        }
    }

    #[test]
    fn arbitrary_durations_fail_or_round_trip(text in prop_oneof!["([0-9]{0,20}[smhdx ]?){0,5}", any::<String>()]) {
        if let Ok(ConfigDuration(duration)) = text.parse() {
            prop_assert_eq!(format_duration(duration).parse(), Ok(ConfigDuration(duration)));
        }
    }

    #[test]
    fn durations_round_trip(seconds in 0..=36_500_u64 * 86_400) {
        let duration = Duration::from_secs(seconds);
        prop_assert_eq!(format_duration(duration).parse(), Ok(ConfigDuration(duration)));
    }

    #[test]
    fn regions_round_trip(name in "[a-z]{2,4}(-[a-z]{1,5}){1,3}-[0-9]{1,2}") {
        prop_assert_eq!(name.parse::<RegionName>().unwrap().to_string(), name);
    }
}
