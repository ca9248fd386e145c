//! Credentials that are missing, expired, rejected or hang, and recover. The failure reason is `credentials`, the log has a hint and no
//! secret, and the first poll after the recovery succeeds without a restart.

use std::fs;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use glue_integration_exporter::simulator::{Account, Fault, FaultKind, RequestMatcher};
use procfs::process::{Stat, all_processes};
use rustix::process::{Pid, Signal, kill_process};

use crate::e2e::cloud::in_seconds;
use crate::e2e::doubles::{Double, ROLE, sts_answer};
use crate::e2e::exposition::Scrape;
use crate::e2e::support::{
    Daemon, Process, SECRET_KEY, SOON, STOP, Setup, Sim, integration, simulator, until,
};

const REGION: &str = "eu-west-1";
/// No log line may contain these.
const SECRETS: [&str; 8] = [
    SECRET_KEY,
    "session-token-value",
    "external-id-value",
    "web-token-one",
    "web-token-two",
    "sso-token-value",
    "sso-client-value",
    "printed-by-the-process",
];

// ------------------------------------------------------------------------------------------------------------------ the cases

#[test]
fn credentials_missing_is_reported() {
    let mut case = Case::new("", |setup| setup);
    case.fails_with(&[
        "no credentials found",
        "Environment",
        "Profile",
        "WebIdentityToken",
        "AWS_PROFILE",
    ]);
    case.write(".aws/credentials", &keys("default", "AKIDEXAMPLE"));
    case.recovers_with("AKIDEXAMPLE");
}

#[test]
fn profile_missing_is_reported() {
    let mut case = Case::new("profile: analytics", |setup| setup);
    case.fails_with(&["(profile analytics)", "`profile`"]);
    // The same with other profiles.
    case.write(".aws/credentials", &keys("default", "AKIDEXAMPLE"));
    case.fails_with(&[
        "`analytics` does not exist",
        ".aws/config",
        ".aws/credentials",
        "(existing profiles: default)",
        "(profile analytics)",
        "Correct the profile",
    ]);
    case.write(".aws/credentials", &keys("analytics", "AKIDANALYTICS"));
    case.recovers_with("AKIDANALYTICS");
}

#[test]
fn profile_of_environment_missing_is_reported() {
    let mut case = Case::new("", |setup| setup.env("AWS_PROFILE", "analytics"));
    case.write(".aws/credentials", &keys("default", "AKIDEXAMPLE"));
    case.fails_with(&[
        "`analytics` does not exist",
        "no credentials found",
        "AWS_PROFILE to an existing profile",
    ]);
    case.write(".aws/credentials", &keys("analytics", "AKIDANALYTICS"));
    case.recovers_with("AKIDANALYTICS");
}

#[test]
fn profile_with_invalid_name_is_reported() {
    let quoted = |name: &str| {
        format!(
            "[profile \"{name}\"]\n{}",
            keys("", "AKIDQUOTED").trim_start_matches("[]\n")
        )
    };
    let mut case = Case::new("profile: with space", |setup| setup);
    case.write(".aws/config", &quoted("with space"));
    case.fails_with(&[
        "cannot find the profile `with space`",
        "letters, digits",
        "Correct the profile",
    ]);
    let mut case = Case::new("profile: quoted", |setup| setup);
    case.write(".aws/config", &quoted("quoted"));
    case.fails_with(&["`quoted` does not exist", "without quotes"]);
}

#[test]
fn profile_without_credentials_is_reported() {
    let mut case = Case::new("profile: analytics", |setup| setup);
    case.write(".aws/config", "[profile analytics]\nregion = eu-west-1\n");
    case.fails_with(&[
        "the profile `analytics` has no credentials",
        "Correct the profile",
    ]);
}

#[test]
fn credentials_file_error_has_line_number() {
    for scope in ["", "profile: analytics"] {
        let mut case = Case::new(scope, |setup| setup);
        case.write(".aws/config", "[profile analytics]\nregion = eu-west-1\n");
        case.write(".aws/credentials", "[analytics]\naws_access_key_id AKID\n");
        case.fails_with(&[
            ".aws/credentials on line 2",
            "Expected an '=' sign",
            "Correct the file",
        ]);
        fs::write(case.setup.path(".aws/credentials"), b"[default]\n\xff").unwrap();
        // Other providers of the default chain may have credentials.
        let hint = if scope.is_empty() {
            "files readable"
        } else {
            "Correct the file"
        };
        case.fails_with(&[".aws/credentials cannot be read", "UTF-8", hint]);
    }
}

#[test]
fn sso_session_missing_suggests_no_login() {
    let mut case = Case::new("profile: corp", |setup| setup);
    case.write(
        ".aws/config",
        "[profile corp]\nsso_session = corpp\nsso_account_id = 111122223333\nsso_role_name = reader\n",
    );
    let line = case.fails_with(&["`corpp`", "was not found", "[sso-session] section"]);
    assert!(!line.contains("aws sso login"), "{line}");
}

#[test]
fn login_session_error_suggests_alternative() {
    let mut case = Case::new("profile: console", |setup| setup);
    case.write(
        ".aws/config",
        "[profile console]\nlogin_session = arn:aws:iam::111122223333:user/admin\n",
    );
    let line = case.fails_with(&[
        "`login_session` (`aws login`)",
        "does not support",
        "credential_process",
    ]);
    assert!(!line.contains("cargo"), "{line}");
    assert!(!line.contains(".."), "{line}");
}

#[test]
fn wrong_clock_suggests_no_login() {
    let sts = Double::sts(|_| Err(("SignatureDoesNotMatch", SKEWED)));
    let mut case = Case::new(&format!("role_arn: '{ROLE}'"), |setup| {
        with_keys(setup).env("AWS_ENDPOINT_URL_STS", &sts.url())
    });
    let line = case.fails_with(&["SignatureDoesNotMatch: Signature expired", "clock is wrong"]);
    assert!(!line.contains("log in again"), "{line}");
    for (code, message) in [
        ("InvalidSignatureException", SKEWED),
        ("RequestExpired", "Request has expired."),
    ] {
        let mut case = Case::new("", with_keys);
        let fault = Fault::new(RequestMatcher::default(), FaultKind::error(code, message));
        case.sim.handle.push_fault(fault);
        let line = case.fails_with(&[code, "clock is wrong"]);
        assert!(
            !line.contains("log in again") && !line.contains(".."),
            "{line}"
        );
    }
}

/// AWS's message if the clock is hours late.
const SKEWED: &str = "Signature expired: 20261127T000000Z is now earlier than 20261127T092000Z (20261127T092500Z - 5 min.)";

#[test]
fn profile_endpoint_error_hides_request() {
    let role = format!("profile: analytics, role_arn: '{ROLE}', external_id: 'external-id,value'");
    let mut case = Case::new(&role, |setup| setup);
    case.write(
        ".aws/config",
        "[profile analytics]\nservices = local\n[services local]\nsts =\n  endpoint_url = localhost:4566\n",
    );
    case.write(".aws/credentials", &keys("analytics", "AKIDANALYTICS"));
    let line = case.fails_with(&[
        "the endpoint `localhost:4566`",
        "allowed: http://HOST",
        "endpoint_url for STS of the profile `analytics`",
    ]);
    for print in ["SdkBody", "Request {", "external-id"] {
        assert!(!line.contains(print), "{line}");
    }
}

#[test]
fn profile_takes_precedence_over_environment() {
    let mut case = Case::new("profile: analytics", with_keys);
    case.fails_with(&["(profile analytics)", "`profile`"]);
    case.write(".aws/credentials", &keys("analytics", "AKIDANALYTICS"));
    case.recovers_with("AKIDANALYTICS");
}

#[test]
fn expired_session_recovers_with_new_keys() {
    let mut case = Case::new("", |setup| setup);
    case.write(".aws/credentials", &keys("default", "ASIAOLD"));
    let expired = FaultKind::error(
        "ExpiredTokenException",
        "The security token included in the request is expired",
    );
    let old_key = RequestMatcher {
        access_key_id: Some("ASIAOLD".to_owned()),
        ..RequestMatcher::default()
    };
    case.sim.handle.push_fault(Fault::new(old_key, expired));
    case.fails_with(&["ExpiredTokenException", "is expired", "log in again"]);
    case.fails_again();
    case.write(".aws/credentials", &keys("default", "ASIANEW"));
    case.recovers_with("ASIANEW");
}

#[test]
fn denied_role_recovers_once_allowed() {
    let sts = Double::sts(|request| {
        assert_eq!(request["RoleArn"], ROLE);
        Err(("AccessDenied", "not authorized to perform: sts:AssumeRole"))
    });
    let mut case = Case::new(&format!("role_arn: '{ROLE}'"), |setup| {
        with_keys(setup).env("AWS_ENDPOINT_URL_STS", &sts.url())
    });
    case.fails_with(&[
        "AccessDenied",
        "sts:AssumeRole",
        "trust policy",
        "external_id",
    ]);
    sts.now_does(|_| Ok("3000-01-01T00:00:00Z"));
    case.recovers_with("ASIAASSUMED");
}

#[test]
fn wrong_external_id_is_never_logged() {
    // STS denies a wrong ID. It repeats an ID with invalid characters in its message.
    let sts = Double::sts(|request| match request["ExternalId"].as_str() {
        "external-id-value" => Err(("AccessDenied", "not authorized to perform: sts:AssumeRole")),
        _ => Ok("3000-01-01T00:00:00Z"),
    });
    let role = format!("role_arn: '{ROLE}', external_id: external-id-value");
    let mut case = Case::new(&role, |setup| {
        with_keys(setup).env("AWS_ENDPOINT_URL_STS", &sts.url())
    });
    case.fails_with(&["AccessDenied", "external_id"]);
    sts.now_does(|_| {
        Err((
            "ValidationError",
            "1 validation error detected: Value 'external-id-value' at 'externalId' failed",
        ))
    });
    case.fails_again();
    sts.now_does(|request| match request["ExternalId"].as_str() {
        "the-right-one" => Ok("3000-01-01T00:00:00Z"),
        _ => Err(("AccessDenied", "not with external-id-value")),
    });
    case.fails_again();
    case.scope = case.scope.replace("external-id-value", "the-right-one");
    case.recovers_with("ASIAASSUMED");
}

#[test]
fn expired_source_keys_are_reported() {
    let sts = Double::sts(|_| Err(("ExpiredToken", "The security token is expired")));
    let mut case = Case::new(&format!("role_arn: '{ROLE}'"), |setup| {
        setup.env("AWS_ENDPOINT_URL_STS", &sts.url())
    });
    case.write(".aws/credentials", &keys("default", "ASIAOLD"));
    case.fails_with(&["ExpiredToken", "is expired", "log in again"]);
    sts.now_does(|_| Ok("3000-01-01T00:00:00Z"));
    case.recovers_with("ASIAASSUMED");
}

#[test]
fn unreachable_sts_recovers_once_reachable() {
    let closed = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let mut case = Case::new(&format!("role_arn: '{ROLE}'"), |setup| {
        with_keys(setup).env("AWS_ENDPOINT_URL_STS", &format!("http://{closed}"))
    });
    case.fails_with(&[
        "Connection refused",
        "(role arn:aws:iam::",
        "could not be reached",
    ]);
    let _sts = Double::at(closed, |request| {
        sts_answer(request, Ok("3000-01-01T00:00:00Z"))
    });
    case.recovers_with("ASIAASSUMED");
}

#[test]
fn role_is_assumed_once_for_all_regions() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let sts = Double::sts(move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
        Ok("3000-01-01T00:00:00Z")
    });
    let scopes = format!(
        "regions: [eu-west-1], role_arn: '{ROLE}'}}, \
         {{name: others, regions: [eu-west-1, eu-west-2, eu-central-1, us-east-1, us-west-2], role_arn: '{ROLE}'"
    );
    let mut case = Case::new(&scopes, |setup| {
        with_keys(setup).env("AWS_ENDPOINT_URL_STS", &sts.url())
    });
    for polls in 1..=2 {
        case.poll();
        // Every region of both scopes got a request with the role's credentials.
        until("all have polled", SOON, || {
            let requests = case.sim.handle.requests();
            let with_role = requests
                .iter()
                .filter(|request| request.access_key_id == "ASIAASSUMED");
            (with_role.count() == requests.len() && requests.len() == 6 * polls).then_some(())
        });
        assert_eq!(calls.load(Ordering::SeqCst), 1);
    }
}

/// The load of the first region hangs. The other region loads credentials before that load times out.
#[test]
fn hanging_load_blocks_no_other_region() {
    let sts = Double::hanging_once(|request| sts_answer(request, Ok("3000-01-01T00:00:00Z")));
    let sim = simulator(Account::of(vec![integration("eu-west-1", "a", "ACTIVE")]));
    let config = format!(
        "polling: {{interval: 1h}}\nscopes: [{{name: all, regions: [eu-west-1, us-east-1], role_arn: '{ROLE}'}}]\n"
    );
    let setup = Setup::new(&sim, &config).env("AWS_ENDPOINT_URL_STS", &sts.url());
    let _daemon = setup.daemon(&[]);
    let others = Duration::from_secs(10);
    until("the other region is polled", others, || {
        let requests = sim.handle.requests();
        (!requests.is_empty()).then_some(())
    });
}

/// Twelve regions need credentials. The slow first load serves all, and at most a few other regions start their own.
#[test]
fn slow_sts_gets_few_requests() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let sts = Double::sts(move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
        std::thread::park_timeout(Duration::from_millis(2_300));
        Ok("3000-01-01T00:00:00Z")
    });
    let sim = simulator(Account::of(Vec::new()));
    let regions: Vec<String> = (1..=12).map(|n| format!("eu-west-{n}")).collect();
    let config = format!(
        "polling: {{interval: 1h}}\nscopes: [{{name: all, regions: [{}], role_arn: '{ROLE}'}}]\n",
        regions.join(", ")
    );
    let setup = Setup::new(&sim, &config).env("AWS_ENDPOINT_URL_STS", &sts.url());
    let _daemon = setup.daemon(&[]);
    until("all regions are polled", SOON, || {
        (sim.handle.requests().len() >= regions.len()).then_some(())
    });
    assert!((1..=3).contains(&calls.load(Ordering::SeqCst)), "{calls:?}");
}

#[test]
fn rotated_token_file_is_read_again() {
    let sts = Double::sts(|request| match request["WebIdentityToken"].as_str() {
        // Expired credentials are loaded again at each poll.
        "web-token-one" => Ok("2020-01-01T00:00:00Z"),
        _ => Err(("InvalidIdentityToken", "unexpected")),
    });
    let mut case = Case::new("", |setup| {
        setup
            .env("AWS_WEB_IDENTITY_TOKEN_FILE", "token")
            .env("AWS_ROLE_ARN", ROLE)
            .env("AWS_ENDPOINT_URL_STS", &sts.url())
    });
    case.fails_with(&["No such file", "AWS_WEB_IDENTITY_TOKEN_FILE"]);
    case.write("token", "web-token-one");
    case.recovers_with("ASIAASSUMED");
    sts.now_does(|request| match request["WebIdentityToken"].as_str() {
        "web-token-two" => Ok("2020-01-01T00:00:00Z"),
        _ => Err(("ExpiredTokenException", "Token expired")),
    });
    case.fails_with(&["ExpiredTokenException", "AWS_WEB_IDENTITY_TOKEN_FILE"]);
    case.write("token", "web-token-two");
    case.recovers_with("ASIAASSUMED");
}

#[test]
fn expired_sso_session_recovers_after_login() {
    let portal = Double::start(|_| {
        let keys = format!(
            "{{\"roleCredentials\":{{\"accessKeyId\":\"ASIASSO\",\"secretAccessKey\":\"{SECRET_KEY}\",\
             \"sessionToken\":\"session-token-value\",\"expiration\":32503680000000}}}}"
        );
        (200, "application/json", keys)
    });
    let mut case = Case::new("profile: corp", |setup| {
        setup.env("AWS_ENDPOINT_URL_SSO", &portal.url())
    });
    case.write(
        ".aws/config",
        "[profile corp]\nsso_session = corp\nsso_account_id = 111122223333\nsso_role_name = reader\n\
         [sso-session corp]\nsso_region = eu-west-1\nsso_start_url = https://corp.example/start\n",
    );
    case.fails_with(&["SSO token", "aws sso login"]);
    case.write(TOKEN_FILE, &sso_token("2020-01-01T00:00:00Z"));
    case.fails_with(&["the SSO token has expired", "aws sso login"]);
    case.write(TOKEN_FILE, &sso_token("3000-01-01T00:00:00Z"));
    case.recovers_with("ASIASSO");
}

#[test]
fn credential_process_failure_is_reported() {
    let mut case = Case::new("", |setup| setup);
    case.write(
        ".aws/config",
        "[default]\ncredential_process = sh process.sh printed-by-the-process\n",
    );
    case.write("process.sh", "echo printed-by-the-process >&2; exit 3");
    case.fails_with(&["external process", "exit status: 3", "by hand"]);
    for script in [
        "echo '{printed-by-the-process'",
        "echo '\"\\uprinted-by-the-process\"'",
        "echo '{\"Version\": 1, \"AccessKeyId\": \"printed-by-the-process\"}'",
        "echo '{\"Version\": 1, \"Expiration\": \"printed-by-the-process\"}'",
        "kill -9 $$",
    ] {
        case.write("process.sh", script);
        case.fails_again();
    }
    case.write("process.sh", &printing("AKIDPROCESS"));
    case.recovers_with("AKIDPROCESS");
}

#[test]
fn sso_response_size_is_limited() {
    let portal = Double::start(|_| {
        let keys = format!(
            "{{\"roleCredentials\":{{\"accessKeyId\":\"ASIASSO\",\"secretAccessKey\":\"{SECRET_KEY}\",\
             \"sessionToken\":\"session-token-value\",\"expiration\":32503680000000}}}}"
        );
        (200, "application/json", " ".repeat(64 << 20) + &keys)
    });
    let mut case = Case::new("profile: corp", |setup| {
        setup.env("AWS_ENDPOINT_URL_SSO", &portal.url())
    });
    case.write(
        ".aws/config",
        "[profile corp]\nsso_session = corp\nsso_account_id = 111122223333\nsso_role_name = reader\n\
         [sso-session corp]\nsso_region = eu-west-1\nsso_start_url = https://corp.example/start\n",
    );
    case.write(TOKEN_FILE, &sso_token("3000-01-01T00:00:00Z"));
    case.fails_with(&["larger than 1 MiB"]);
    assert!(peak_memory(case.daemon().process.pid()) < 64 << 10);
}

/// As PID 1, the exporter inherits the orphans of a `credential_process`.
#[test]
fn credential_process_orphan_leaves_no_zombie() {
    let contained = [
        "--user",
        "--map-root-user",
        "--pid",
        "--fork",
        "--kill-child",
    ];
    let mut case = Case::new("", |setup| setup);
    let unshare = case
        .setup
        .command("unshare", &[&contained[..], &["true"]].concat());
    if !{ unshare }.status().is_ok_and(|status| status.success()) {
        // Not every machine allows user namespaces.
        return;
    }
    case.write(
        ".aws/config",
        "[default]\ncredential_process = sh process.sh\n",
    );
    // They expire soon, so that each poll loads them.
    let keys = printing("AKIDPROCESS").replace(
        "}'",
        &format!(", \"Expiration\": \"{}\"}}'", in_seconds(5.0)),
    );
    case.write(
        "process.sh",
        &format!("(sleep 0 &) </dev/null >/dev/null 2>&1; {keys}"),
    );
    case.configure();
    let binary = env!("CARGO_BIN_EXE_glue-integration-exporter");
    let args = [
        &contained[..],
        &[binary, "--web.listen-address=127.0.0.1:0"],
    ]
    .concat();
    let daemon = Process::of(case.setup.command("unshare", &args));
    let addr = daemon.addresses(1).remove(0);
    let daemon = Daemon {
        process: daemon,
        addr,
    };
    let polled = |times: usize| {
        until("the scope is polled", SOON, || {
            (case.sim.handle.requests().len() == times).then_some(())
        });
    };
    polled(1);
    let exporter = descendants(daemon.process.pid())[0].pid;
    let children = || descendants(u32::try_from(exporter).unwrap());
    until("the orphan has ended", SOON, || {
        children()
            .iter()
            .all(|stat| stat.state == 'Z')
            .then_some(())
    });
    case.write("process.sh", &keys);
    case.timeout += 1;
    case.configure();
    kill_process(Pid::from_raw(exporter).unwrap(), Signal::HUP).unwrap();
    polled(2);
    assert_eq!(children().len(), 0, "{:?}", children());
}

/// A process that hangs is not started a second time, and its late result is used.
#[test]
fn credential_process_hanging_is_not_started_twice() {
    let mut case = Case::new("", |setup| setup);
    case.timeout = 2;
    case.write(
        ".aws/config",
        "[default]\ncredential_process = sh process.sh\n",
    );
    case.write(
        "process.sh",
        &format!(
            "echo . >> started; until [ -e go ]; do sleep 0.1; done; {}",
            printing("AKIDPROCESS")
        ),
    );
    case.fails_with(&["could not be loaded in time", "credential_process"]);
    case.fails_again();
    case.fails_again();
    let started = fs::read_to_string(case.setup.path("started")).unwrap();
    assert_eq!(started, ".\n", "one process for three polls");
    case.write("go", "");
    case.recovers_with("AKIDPROCESS");
}

/// A process that never ends is killed with all its descendants. Neither processes nor zombies accumulate.
#[test]
fn credential_process_endless_is_killed() {
    let mut case = Case::new("", |setup| setup);
    case.timeout = 12;
    case.write(
        ".aws/config",
        "[default]\ncredential_process = sh process.sh\n",
    );
    case.write("process.sh", "sleep 100000 & sleep 100000; wait");
    case.fails_with(&["could not be loaded in time", "credential_process"]);
    let pid = case.daemon().process.pid();
    let first = descendants(pid);
    assert!(first.iter().any(|stat| stat.comm == "sleep"), "{first:?}");
    case.write("process.sh", &printing("AKIDPROCESS"));
    until("the load times out", Duration::from_secs(60), || {
        let alive = descendants(pid);
        assert!(alive.len() <= first.len(), "{alive:?}");
        alive.is_empty().then_some(())
    });
    for stat in &first {
        let process = procfs::process::Process::new(stat.pid).and_then(|process| process.stat());
        let ended = process.map_or(true, |now| {
            now.starttime != stat.starttime || now.state == 'Z'
        });
        assert!(ended, "{stat:?}");
    }
    case.recovers_with("AKIDPROCESS");
}

#[test]
fn credential_processes_end_with_exporter() {
    for command in ["once", "daemon"] {
        let mut case = Case::new("", |setup| setup);
        case.timeout = 2;
        // A unique duration, to find processes that are no longer children.
        let seconds = format!("{}.{}", 9_000 + command.len(), std::process::id());
        case.write(
            ".aws/config",
            "[default]\ncredential_process = sh process.sh\n",
        );
        case.write("process.sh", &format!("sleep {seconds} & sleep {seconds}"));
        case.configure();
        if command == "once" {
            let ended = case.setup.run(&["once", "--log.level=debug"]);
            assert_eq!(ended.code, Some(1), "{}", ended.stderr);
            let failed = Scrape::of(&ended.stdout);
            assert_eq!(failures(&failed), [("credentials".to_owned(), 1.0)]);
        } else {
            case.fails_with(&["could not be loaded in time"]);
            let daemon = case.daemon.take().unwrap();
            daemon.process.signal(Signal::TERM);
            assert_eq!(daemon.process.ended(STOP).code, Some(0));
        }
        until("all started processes have ended", STOP, || {
            let left = all_processes().unwrap().filter_map(|process| {
                let line = process.ok()?.cmdline().ok()?;
                line.contains(&seconds).then_some(line)
            });
            (left.count() == 0).then_some(())
        });
    }
}

// ------------------------------------------------------------------------------------------------------------------- the bench

/// One scope of the real binary. A test triggers a poll with a reload that changes the timeout.
struct Case {
    sim: Sim,
    setup: Setup,
    /// Settings of the scope besides its name and region.
    scope: String,
    timeout: u32,
    polls: u32,
    daemon: Option<Daemon>,
}

impl Case {
    fn new(scope: &str, environment: impl FnOnce(Setup) -> Setup) -> Self {
        let sim = simulator(Account::of(vec![integration("eu-west-1", "a", "ACTIVE")]));
        let setup = Setup::bare()
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("AWS_ENDPOINT_URL_GLUE", &format!("http://{}", sim.addr));
        let setup = environment(setup);
        fs::create_dir_all(setup.path(".aws/sso/cache")).unwrap();
        Self {
            sim,
            setup,
            scope: scope.to_owned(),
            timeout: 20,
            polls: 0,
            daemon: None,
        }
    }

    fn write(&self, name: &str, text: &str) {
        // Written atomically, as tools that renew credentials do.
        let written = self.setup.path("written");
        fs::write(&written, text).unwrap();
        fs::rename(written, self.setup.path(name)).unwrap();
    }

    fn daemon(&self) -> &Daemon {
        self.daemon.as_ref().unwrap()
    }

    fn configure(&self) {
        let timeout = self.timeout;
        let scope = if self.scope.contains("regions:") {
            self.scope.clone()
        } else {
            format!("regions: [eu-west-1], {}", self.scope)
        };
        let config = format!(
            "polling: {{interval: 1h, timeout: {timeout}s}}\nscopes: [{{name: all, {scope}}}]\n"
        );
        self.write("config.yaml", &config);
    }

    /// Triggers a poll and returns the metrics after it.
    fn poll(&mut self) -> Scrape {
        // A poller with a new timeout polls at once and keeps its client.
        self.timeout = if self.timeout.is_multiple_of(2) {
            self.timeout + 1
        } else {
            self.timeout - 1
        };
        self.configure();
        if let Some(daemon) = &self.daemon {
            daemon.process.signal(Signal::HUP);
        } else {
            self.daemon = Some(self.setup.daemon(&["--log.level=debug"]));
        }
        self.polls += 1;
        until("the scope is polled", Duration::from_secs(40), || {
            let scrape = self.daemon().scrape();
            let polls = scrape.of_scope("polls_total", "all")?;
            (polls == f64::from(self.polls)).then_some(scrape)
        })
    }

    /// Checks that a poll fails and that its log line contains these words.
    fn fails_with(&mut self, words: &[&str]) -> String {
        self.fails_again();
        let process = &self.daemon().process;
        // The counter increases shortly before the line is logged.
        let ended = format!("poll ended\" scope=all region={REGION}");
        let polls = self.polls;
        let line = until("the poll is logged", SOON, || {
            let log = process.stderr();
            let all = log.lines().filter(|line| line.contains(&ended)).count();
            let mut lines = log.lines().filter(|line| line.contains("\"poll failed\""));
            let last = lines.next_back().map(str::to_owned);
            last.filter(|_| u32::try_from(all) == Ok(polls))
        });
        assert!(line.contains("reason=credentials"), "{line}");
        for word in words {
            assert!(line.contains(word), "no {word:?} in: {line}");
        }
        line
    }

    fn fails_again(&mut self) {
        self.poll();
        // The metrics are published shortly after the counter increases.
        let scrape = until("the metrics show it", SOON, || {
            let scrape = self.daemon().scrape();
            (scrape.of_scope("scope_up", "all") == Some(0.0)).then_some(scrape)
        });
        assert_eq!(failures(&scrape).len(), 1, "{:?}", failures(&scrape));
        assert_eq!(failures(&scrape)[0].0, "credentials");
    }

    /// Checks that polls succeed again with this access key.
    fn recovers_with(&mut self, access_key_id: &str) {
        until("polls succeed again", SOON, || {
            let scrape = self.poll();
            assert_eq!(failures(&scrape).len(), 1, "{:?}", failures(&scrape));
            (scrape.of_scope("scope_up", "all") == Some(1.0)).then_some(())
        });
        let requests = self.sim.handle.requests();
        assert_eq!(requests.last().unwrap().access_key_id, access_key_id);
    }
}

impl Drop for Case {
    fn drop(&mut self) {
        if let (Some(daemon), false) = (&self.daemon, std::thread::panicking()) {
            let output = daemon.process.stderr() + &daemon.get("/metrics").body;
            for secret in SECRETS {
                assert!(!output.contains(secret), "{secret} in:\n{output}");
            }
        }
    }
}

/// Returns the reasons of failed polls and their number.
fn failures(scrape: &Scrape) -> Vec<(String, f64)> {
    let rows = scrape.rows("glue_integration_exporter_poll_failures_total", &[]);
    rows.into_iter()
        .filter(|(_, count)| *count > 0.0)
        .map(|(labels, count)| (labels["reason"].clone(), count))
        .collect()
}

/// Returns the peak memory of a process in KiB.
pub fn peak_memory(pid: u32) -> u64 {
    let process = procfs::process::Process::new(i32::try_from(pid).unwrap()).unwrap();
    process.status().unwrap().vmhwm.unwrap()
}

/// Returns the descendants of a process, including zombies.
fn descendants(pid: u32) -> Vec<Stat> {
    let all: Vec<Stat> = all_processes()
        .unwrap()
        .filter_map(|process| process.ok()?.stat().ok())
        .collect();
    let mut found: Vec<Stat> = Vec::new();
    let mut parents = vec![i32::try_from(pid).unwrap()];
    while let Some(parent) = parents.pop() {
        for child in all.iter().filter(|stat| stat.ppid == parent) {
            parents.push(child.pid);
            found.push(child.clone());
        }
    }
    found
}

fn with_keys(setup: Setup) -> Setup {
    setup
        .env("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
        .env("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
}

fn keys(profile: &str, access_key_id: &str) -> String {
    format!(
        "[{profile}]\naws_access_key_id = {access_key_id}\naws_secret_access_key = {SECRET_KEY}\n\
         aws_session_token = session-token-value\n"
    )
}

/// A `credential_process` that prints valid credentials.
fn printing(access_key_id: &str) -> String {
    format!(
        "echo '{{\"Version\": 1, \"AccessKeyId\": \"{access_key_id}\", \"SecretAccessKey\": \"{SECRET_KEY}\"}}'"
    )
}

/// The name is the SHA-1 of the session name.
const TOKEN_FILE: &str = ".aws/sso/cache/ee0bfd2552fbd840c02cc48b6e823320543c450f.json";

fn sso_token(expires_at: &str) -> String {
    format!(
        "{{\"accessToken\": \"sso-token-value\", \"expiresAt\": \"{expires_at}\", \"region\": \"eu-west-1\", \
         \"startUrl\": \"https://corp.example/start\", \"clientSecret\": \"sso-client-value\"}}"
    )
}
