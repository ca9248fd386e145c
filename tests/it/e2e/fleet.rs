//! 20 accounts, each with its own role, in 15 regions. The fake AWS issues separate credentials for each role and accepts a request only
//! with the credentials of its account and a signature for its host.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::process::Signal;
use tokio::time::Instant;

use crate::e2e::cloud::{Answer, Cloud, Request, in_seconds};
use crate::e2e::doubles::sts_error;
use crate::e2e::exposition::Scrape;
use crate::e2e::support::{Daemon, SECRET_KEY, Setup, until};

const ACCOUNTS: usize = 20;
const REGIONS: [&str; 15] = [
    "ap-northeast-1",
    "ap-northeast-2",
    "ap-south-1",
    "ap-southeast-1",
    "ap-southeast-2",
    "ca-central-1",
    "eu-central-1",
    "eu-north-1",
    "eu-west-1",
    "eu-west-2",
    "eu-west-3",
    "sa-east-1",
    "us-east-1",
    "us-east-2",
    "us-west-2",
];
/// Additional accounts with failing roles.
const FAILING: [(&str, usize); 3] = [("refused", 20), ("throttled", 21), ("ending", 22)];
const FAILING_REGION: &str = "eu-west-1";
const BASE_KEY: &str = "AKIDBASE";
/// Lifetime in seconds of the credentials of the role `ending`. They expire before the second poll.
const ENDING: f64 = 12.0;
const SLOW: Duration = Duration::from_secs(60);

fn account(n: usize) -> String {
    format!("{:012}", 111_122_223_333 + n)
}

fn role(n: usize) -> String {
    format!("arn:aws:iam::{}:role/glue", account(n))
}

/// Every third role requires an external ID.
fn external_id(n: usize) -> Option<String> {
    n.is_multiple_of(3).then(|| format!("id-of-{n}"))
}

/// Returns one or two integrations for each account and region.
fn integrations(account: &str, region: &str) -> Vec<String> {
    let digits = account.bytes().chain(region.bytes()).map(usize::from);
    let count = 1 + digits.sum::<usize>() % 2;
    (0..count)
        .map(|i| format!("arn:aws:glue:{region}:{account}:integration:{region}-{i}"))
        .collect()
}

fn config(interval: &str) -> String {
    let with_id = |n| external_id(n).map_or_else(String::new, |id| format!(", external_id: {id}"));
    let regions = REGIONS.join(", ");
    let well = (0..ACCOUNTS).map(|n| (format!("account-{n}"), n, regions.as_str()));
    let failing = FAILING.map(|(name, n)| (name.to_owned(), n, FAILING_REGION));
    let scopes: String = well
        .chain(failing)
        .map(|(name, n, regions)| {
            let role = role(n);
            format!(
                "- {{name: {name}, regions: [{regions}], role_arn: '{role}'{}}}\n",
                with_id(n)
            )
        })
        .collect();
    format!(
        "polling: {{interval: {interval}}}\nscopes:\n{scopes}- {{name: stranger, profile: stranger, regions: [{FAILING_REGION}]}}\n"
    )
}

struct Session {
    account: String,
    ends: Instant,
}

/// The fake AWS.
#[derive(Default)]
struct Aws {
    /// By access key ID.
    sessions: Mutex<HashMap<String, Session>>,
    /// True once the failing roles work.
    is_well: AtomicBool,
    /// Requests with invalid signatures.
    wrong: Mutex<Vec<String>>,
}

fn secret_of(key: &str) -> String {
    format!("{SECRET_KEY}-of-{key}")
}

fn token_of(key: &str) -> String {
    format!("token-of-{key}")
}

impl Aws {
    fn answer(&self, request: &Request) -> Answer {
        let (signed, host) = (request.signed(), &request.host);
        if *host != format!("{}.{}.amazonaws.com", signed.service, signed.region) {
            return self.wrong(format!("{signed:?} at {host}"));
        }
        match signed.service.as_str() {
            "sts" => self.sts(request),
            "glue" => self.glue(request),
            _ => self.wrong(format!("{signed:?}")),
        }
    }

    fn wrong(&self, what: String) -> Answer {
        let answer = Answer::glue_error("InvalidSignatureException", "The signature is invalid.");
        self.wrong.lock().unwrap().push(what);
        answer
    }

    fn sts(&self, request: &Request) -> Answer {
        let signed = request.signed();
        if signed.access_key_id != BASE_KEY || !request.is_signed_with(SECRET_KEY) {
            return self.wrong(format!("{signed:?}"));
        }
        assert_eq!(request.field("Action"), "AssumeRole");
        let arn = request.field("RoleArn");
        let known = (0..ACCOUNTS + FAILING.len()).find(|n| role(*n) == arn);
        let Some(n) =
            known.filter(|n| request.field("ExternalId") == external_id(*n).unwrap_or_default())
        else {
            return sts_error("AccessDenied", "not with this id").into();
        };
        let failing = FAILING.iter().find(|(_, number)| *number == n);
        let live_for = match failing.map(|(name, _)| *name) {
            Some("ending") => ENDING,
            Some(_) if self.is_well.load(Ordering::SeqCst) => 3600.0,
            Some("refused") => return sts_error("AccessDenied", "not you").into(),
            Some(_) => return sts_error("Throttling", "Rate exceeded").into(),
            None => 3600.0,
        };
        let mut sessions = self.sessions.lock().unwrap();
        let key = format!("ASIA{n}N{}", sessions.len());
        let session = Session {
            account: account(n),
            ends: Instant::now() + Duration::from_secs_f64(live_for),
        };
        sessions.insert(key.clone(), session);
        let (secret, token, expiration) = (secret_of(&key), token_of(&key), in_seconds(live_for));
        Answer::text(
            200,
            format!(
                "<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>{key}</AccessKeyId><SecretAccessKey>{secret}</SecretAccessKey>\
                 <SessionToken>{token}</SessionToken><Expiration>{expiration}</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>"
            ),
        )
    }

    fn glue(&self, request: &Request) -> Answer {
        let signed = request.signed();
        let key = &signed.access_key_id;
        let sessions = self.sessions.lock().unwrap();
        let Some(session) = sessions.get(key) else {
            return self.wrong(format!("{signed:?}: unknown key"));
        };
        if signed.session_token != token_of(key) || !request.is_signed_with(&secret_of(key)) {
            return self.wrong(format!("{signed:?}: wrong secret or token"));
        }
        if Instant::now() > session.ends {
            return self.wrong(format!("{signed:?}: expired"));
        }
        Answer::integrations(&integrations(&session.account, &signed.region))
    }
}

/// Returns how often each role was assumed.
fn assumed(cloud: &Cloud) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for request in cloud.requests_to("sts.") {
        *counts.entry(request.field("RoleArn")).or_default() += 1;
    }
    counts
}

fn up(scrape: &Scrape) -> BTreeMap<(String, String), f64> {
    let rows = scrape.rows("glue_integration_exporter_scope_up", &[]);
    rows.into_iter()
        .map(|(labels, up)| ((labels["scope"].clone(), labels["aws_region"].clone()), up))
        .collect()
}

/// Returns the scopes with `scope_up` 0.
fn down(scrape: &Scrape) -> BTreeSet<String> {
    let down = up(scrape).into_iter().filter(|(_, up)| *up == 0.0);
    down.map(|((scope, _), _)| scope).collect()
}

/// Returns the reasons of a scope's failed polls.
fn reasons(scrape: &Scrape, scope: &str) -> Vec<String> {
    let name = "glue_integration_exporter_poll_failures_total";
    let failures = scrape.rows(name, &[("scope", scope)]).into_iter();
    let failed = failures.filter(|(_, count)| *count > 0.0);
    failed.map(|(labels, _)| labels["reason"].clone()).collect()
}

/// Returns the role and the host of a request to Glue.
fn pair(request: &Request) -> (String, String) {
    let key = request.signed().access_key_id;
    let (of_role, _session) = key.split_once('N').unwrap_or((&key, ""));
    (of_role.to_owned(), request.host.clone())
}

fn start(cloud: &Cloud) -> (Setup, Daemon) {
    let setup = Setup::bare()
        .file("config.yaml", &config("60s"))
        .file(
            "profiles",
            &format!("[profile stranger]\naws_access_key_id = {BASE_KEY}\naws_secret_access_key = guessed\n"),
        )
        .env("AWS_CONFIG_FILE", "profiles")
        .env("AWS_ACCESS_KEY_ID", BASE_KEY)
        .env("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
        .env("AWS_EC2_METADATA_DISABLED", "true");
    let setup = cloud.around(setup);
    let daemon = setup.daemon(&[]);
    (setup, daemon)
}

#[test]
fn fleet_uses_credentials_of_each_account() {
    let aws = Arc::new(Aws::default());
    let answering = Arc::clone(&aws);
    let cloud = Cloud::start(move |request| answering.answer(request));
    let (setup, daemon) = start(&cloud);
    let pairs = ACCOUNTS * REGIONS.len();
    let all = pairs + FAILING.len() + 1;
    let broken = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let failing_scopes = ["refused", "throttled", "stranger"];
    let page = until("everything has been polled", SLOW, || {
        let ready = daemon.get("/-/ready").status == 200;
        let page = ready.then(|| daemon.scrape())?;
        (up(&page).len() == all && down(&page) == broken(&failing_scopes)).then_some(page)
    });
    for scope in failing_scopes {
        assert_eq!(reasons(&page, scope), ["credentials"], "{scope}");
    }

    // Every integration appears once, with the labels of its account and region.
    let mut expected = BTreeSet::new();
    for n in (0..ACCOUNTS).chain([22]) {
        for region in REGIONS {
            if n < ACCOUNTS || region == FAILING_REGION {
                let arns = integrations(&account(n), region).into_iter();
                expected.extend(arns.map(|arn| (account(n), region.to_owned(), arn)));
            }
        }
    }
    let infos = page.rows("aws_glue_integration_info", &[]);
    let shown: BTreeSet<_> = infos
        .iter()
        .map(|(labels, _)| {
            let of = |name: &str| labels[name].clone();
            (
                of("aws_account_id"),
                of("aws_region"),
                of("integration_arn"),
            )
        })
        .collect();
    assert_eq!(shown, expected);
    assert_eq!(infos.len(), expected.len());

    // Each role is assumed once, in any region. On a busy machine, where a load takes seconds, other regions start their own load.
    let at_start = assumed(&cloud);
    let counts: Vec<usize> = (0..ACCOUNTS).map(|n| at_start[&role(n)]).collect();
    let once = counts.iter().filter(|count| **count == 1).count();
    assert!(once >= ACCOUNTS / 2, "{counts:?}");
    assert!(counts.iter().sum::<usize>() <= pairs / 2, "{counts:?}");
    let requests = cloud.requests_to("glue.");
    let requests: BTreeSet<_> = requests.iter().map(|request| pair(request)).collect();
    assert_eq!(
        requests.len(),
        pairs + 2,
        "each pair, the stranger and the role with expiring credentials"
    );

    // No restart is needed, and no role is assumed again.
    aws.is_well.store(true, Ordering::SeqCst);
    fs::write(setup.path("config.yaml"), config("10s")).unwrap();
    daemon.process.signal(Signal::HUP);
    until("all have polled again", SLOW, || {
        let polls = cloud.requests_to("glue.").len();
        (polls >= 2 * pairs && down(&daemon.scrape()) == broken(&["stranger"])).then_some(())
    });
    let (from, interval) = (Instant::now(), Duration::from_secs(10));
    until("an interval has passed", SLOW, || {
        (from.elapsed() >= interval).then_some(())
    });
    let page = daemon.scrape();
    assert_eq!(down(&page), broken(&["stranger"]));
    let by_now = assumed(&cloud);
    for n in 0..ACCOUNTS {
        assert_eq!(by_now[&role(n)], at_start[&role(n)], "assumed again");
    }
    assert!(by_now[&role(22)] >= 2, "{by_now:?}");
    let wrong = aws.wrong.lock().unwrap().clone();
    assert!(!wrong.is_empty(), "the requests of the stranger");
    for what in wrong {
        assert!(
            what.contains("\"AKIDBASE\"") && what.contains("\"glue\""),
            "{what}"
        );
    }

    // The polls of one interval, by second and by pair.
    let mut by_second = [0; 10];
    let mut by_pair: BTreeMap<(String, String), usize> = BTreeMap::new();
    for request in cloud.requests_to("glue.") {
        let since = request.at.checked_duration_since(from);
        let second = since.and_then(|since| usize::try_from(since.as_secs()).ok());
        if let Some(polls) = second.and_then(|second| by_second.get_mut(second)) {
            *polls += 1;
            *by_pair.entry(pair(&request)).or_default() += 1;
        }
    }
    let polls: usize = by_second.iter().sum();
    assert!(polls.abs_diff(all) < all / 4, "{polls}");
    assert!(by_pair.values().all(|polls| *polls <= 2), "{by_pair:?}");
    // An even distribution has a tenth of the pairs in each second.
    assert!(
        by_second.iter().all(|polls| *polls < all / 3),
        "{by_second:?}"
    );
}
