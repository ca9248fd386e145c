//! Sources of credentials other than keys in a file. Requests to Glue are signed with the issued credentials, which are renewed when they
//! expire and not earlier.

use std::fs;
use std::sync::{Arc, Mutex};

use rustix::process::Signal;

use crate::e2e::cloud::{Answer, Cloud, Request, in_seconds};
use crate::e2e::exposition::Scrape;
use crate::e2e::support::{Daemon, SECRET_KEY, SOON, Setup, until};

const ROLE: &str = "arn:aws:iam::111122223333:role/reader";
const REGION: &str = "eu-west-1";
/// Lifetime in seconds of credentials that are loaded for each request, because the SDK renews them 5 s before they expire. It must not
/// be shorter, because the SDK extends expired credentials of an instance.
const ENDING: f64 = 5.0;
/// Lifetime in seconds that is enough for a whole test but too short to share with other regions.
const LASTING: f64 = 50.0;

/// The credentials that the source has issued.
#[derive(Debug, Default)]
struct Issued {
    keys: Vec<String>,
    live_for: f64,
    /// The token that the source requires.
    secret: String,
    refusals: usize,
}

impl Issued {
    /// Issues new keys in the format of container and instance metadata.
    fn json(&mut self) -> Answer {
        let key = self.key();
        Answer::json(format!(
            "{{\"Code\":\"Success\",\"Type\":\"AWS-HMAC\",\"LastUpdated\":\"2026-01-01T00:00:00Z\",\"AccessKeyId\":\"{key}\",\
             \"SecretAccessKey\":\"{SECRET_KEY}\",\"Token\":\"{}\",\"Expiration\":\"{}\"}}",
            token_of(&key),
            in_seconds(self.live_for)
        ))
    }

    /// Issues new keys in the format of STS.
    fn sts(&mut self, request: &Request) -> Answer {
        let (action, key) = (request.field("Action"), self.key());
        Answer::text(
            200,
            format!(
                "<{action}Response><{action}Result><Credentials><AccessKeyId>{key}</AccessKeyId>\
                 <SecretAccessKey>{SECRET_KEY}</SecretAccessKey><SessionToken>{}</SessionToken><Expiration>{}</Expiration></Credentials>\
                 <AssumedRoleUser><AssumedRoleId>A:b</AssumedRoleId><Arn>{}</Arn></AssumedRoleUser></{action}Result></{action}Response>",
                token_of(&key),
                in_seconds(self.live_for),
                request.field("RoleArn")
            ),
        )
    }

    fn key(&mut self) -> String {
        let key = format!("ASIAISSUED{}", self.keys.len() + 1);
        self.keys.push(key.clone());
        key
    }

    fn json_for(&mut self, shown: &str) -> Answer {
        if shown == self.secret {
            self.json()
        } else {
            self.refusals += 1;
            Answer::text(
                401,
                "{\"code\":\"AccessDenied\",\"message\":\"no such token\"}",
            )
        }
    }
}

fn token_of(key: &str) -> String {
    format!("session-token-of-{key}")
}

/// Answers a request to Glue and checks its signature.
fn glue(request: &Request) -> Answer {
    let signed = request.signed();
    assert_eq!((&*signed.region, &*signed.service), (REGION, "glue"));
    assert_eq!(signed.session_token, token_of(&signed.access_key_id));
    assert!(request.is_signed_with(SECRET_KEY));
    Answer::integrations(&[format!("arn:aws:glue:{REGION}:111122223333:integration:a")])
}

/// One scope of the real binary. A test triggers a poll with a reload that changes the timeout.
struct Bench {
    cloud: Cloud,
    issued: Arc<Mutex<Issued>>,
    setup: Setup,
    scopes: String,
    polls: u32,
    daemon: Option<Daemon>,
}

impl Bench {
    /// `source` answers everything but Glue.
    fn new(
        scopes: &str,
        source: impl Fn(&Request, &mut Issued) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let issued = Arc::new(Mutex::new(Issued {
            live_for: ENDING,
            ..Issued::default()
        }));
        let issues = Arc::clone(&issued);
        let cloud = Cloud::start(move |request| {
            if request.host.starts_with("glue.") {
                return glue(request);
            }
            source(request, &mut issues.lock().unwrap())
        });
        Self {
            setup: cloud.around(Setup::bare()),
            cloud,
            issued,
            scopes: scopes.to_owned(),
            polls: 0,
            daemon: None,
        }
    }

    fn env(mut self, name: &str, value: &str) -> Self {
        self.setup = self.setup.env(name, value);
        self
    }

    fn url(&self) -> String {
        self.cloud.url()
    }

    /// Triggers a poll of every scope and returns the metrics after it.
    fn poll(&mut self) -> Scrape {
        let timeout = 20 + self.polls % 2;
        let config = format!(
            "polling: {{interval: 1h, timeout: {timeout}s}}\nscopes: [{}]\n",
            self.scopes
        );
        fs::write(self.setup.path("config.yaml"), config).unwrap();
        match &self.daemon {
            Some(daemon) => daemon.process.signal(Signal::HUP),
            None => self.daemon = Some(self.setup.daemon(&["--log.level=debug"])),
        }
        self.polls += 1;
        let polls = f64::from(self.polls);
        let daemon = self.daemon.as_ref().unwrap();
        until("the scopes are polled", SOON, || {
            let scrape = daemon.scrape();
            let polled = scrape.rows("glue_integration_exporter_polls_total", &[]);
            let all = !polled.is_empty() && polled.iter().all(|(_, count)| *count == polls);
            // The metrics are published shortly after the counter increases.
            let shown = scrape.rows("glue_integration_exporter_scope_up", &[]).len();
            (all && shown == polled.len()).then_some(scrape)
        })
    }

    /// Triggers a poll and checks `scope_up` of all scopes, which may be published with a delay.
    fn poll_is_up(&mut self, up: f64) {
        self.poll();
        let daemon = self.daemon.as_ref().unwrap();
        until("the metrics show it", SOON, || {
            let scrape = daemon.scrape();
            let scopes = scrape.rows("glue_integration_exporter_scope_up", &[]);
            scopes.iter().all(|(_, value)| *value == up).then_some(())
        });
        let output = daemon.process.stderr() + &daemon.get("/metrics").body;
        for secret in [SECRET_KEY, "session-token-of-", "web-token", "pod-token"] {
            assert!(!output.contains(secret), "{secret} in:\n{output}");
        }
    }

    fn keys_used(&self) -> Vec<String> {
        let requests = self.cloud.requests_to("glue.").into_iter();
        requests
            .map(|request| request.signed().access_key_id)
            .collect()
    }

    /// Checks that expiring credentials are renewed and others are not.
    fn renews(&mut self) {
        for _ in 0..2 {
            self.poll_is_up(1.0);
        }
        assert_eq!(self.keys_used(), ["ASIAISSUED1", "ASIAISSUED2"]);
        self.issued.lock().unwrap().live_for = LASTING;
        for _ in 0..3 {
            self.poll_is_up(1.0);
        }
        assert_eq!(self.keys_used()[2..], ["ASIAISSUED3"; 3]);
        assert_eq!(self.issued.lock().unwrap().keys.len(), 3);
    }

    /// Checks that the last failure has the reason `credentials` and that its log line contains `words`.
    fn last_failure_says(&self, words: &str) {
        let log = self.daemon.as_ref().unwrap().process.stderr();
        let mut failures = log.lines().filter(|line| line.contains("\"poll failed\""));
        let last = failures.next_back().unwrap();
        assert!(last.contains("reason=credentials"), "{last}");
        assert!(last.contains(words), "{last}");
    }
}

/// Pads a response with credentials to this many MiB.
fn of_size(mib: usize, answer: &Answer) -> Answer {
    Answer {
        body: " ".repeat(mib << 20) + &answer.body,
        ..*answer
    }
}

/// Checks that an oversized response fails with a clear error, uses little memory, and that the exporter recovers afterwards.
fn recovers_from_oversized_response(bench: Bench) {
    let mut bench = bench;
    bench.issued.lock().unwrap().live_for = LASTING;
    bench.poll_is_up(0.0);
    bench.last_failure_says("larger than 1 MiB");
    #[cfg(target_os = "linux")]
    {
        let pid = bench.daemon.as_ref().unwrap().process.pid();
        assert!(crate::e2e::credentials::peak_memory(pid) < 64 << 10);
    }
    bench.issued.lock().unwrap().secret = "well".to_owned();
    bench.poll_is_up(1.0);
}

fn scope(rest: &str) -> String {
    format!("{{name: all, regions: [{REGION}]{rest}}}")
}

#[test]
fn ecs_container_endpoint_renews_credentials() {
    let mut bench = Bench::new(&scope(""), |request, issued| {
        assert_eq!(
            (&*request.method, &*request.path),
            ("GET", "/v2/credentials/task")
        );
        issued.json_for(request.header("authorization"))
    });
    bench.issued.lock().unwrap().secret = "ecs-token".to_owned();
    let uri = format!("{}/v2/credentials/task", bench.url());
    bench = bench
        .env("AWS_CONTAINER_CREDENTIALS_FULL_URI", &uri)
        .env("AWS_CONTAINER_AUTHORIZATION_TOKEN", "ecs-token")
        // This proxy does not exist.
        .env("HTTP_PROXY", "http://127.0.0.1:9")
        .env("NO_PROXY", "127.0.0.1");
    bench.renews();
}

/// Uses the fixed address of the ECS endpoint.
#[test]
fn ecs_relative_uri_renews_credentials() {
    let mut bench = Bench::new(&scope(""), |request, issued| {
        assert_eq!(
            (&*request.host, &*request.path),
            ("169.254.170.2", "/v2/task")
        );
        issued.json()
    });
    let proxy = bench.url();
    bench = bench
        .env("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/v2/task")
        .env("HTTP_PROXY", &proxy);
    bench.renews();
}

#[test]
fn eks_pod_identity_reads_rotated_token() {
    let mut bench = Bench::new(&scope(""), |request, issued| {
        assert_eq!(request.host, "169.254.170.23");
        issued.json_for(request.header("authorization"))
    });
    let (proxy, token) = (bench.url(), bench.setup.path("pod-token"));
    bench = bench
        .env(
            "AWS_CONTAINER_CREDENTIALS_FULL_URI",
            "http://169.254.170.23/v1/credentials",
        )
        .env(
            "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
            &token.display().to_string(),
        )
        .env("HTTP_PROXY", &proxy);
    bench.poll_is_up(0.0);
    bench.last_failure_says("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE");
    let rotate = |bench: &Bench, text: &str| {
        fs::write(bench.setup.path("written"), text).unwrap();
        fs::rename(bench.setup.path("written"), &token).unwrap();
        bench.issued.lock().unwrap().secret = text.to_owned();
    };
    rotate(&bench, "pod-token-one");
    bench.poll_is_up(1.0);
    rotate(&bench, "pod-token-two");
    bench.poll_is_up(1.0);
    assert_eq!(bench.keys_used(), ["ASIAISSUED1", "ASIAISSUED2"]);
    bench.issued.lock().unwrap().secret = "pod-token-three".to_owned();
    bench.poll_is_up(0.0);
    bench.last_failure_says("HTTP status 401. The endpoint of the container");
    rotate(&bench, "pod-token-three");
    bench.poll_is_up(1.0);
}

/// The region comes from the instance too.
#[test]
fn instance_metadata_renews_credentials() {
    let mut bench = Bench::new("{name: all}", |request, issued| {
        let token = request.header("x-aws-ec2-metadata-token");
        match (&*request.method, &*request.path) {
            ("PUT", "/latest/api/token") => {
                assert!(
                    !request
                        .header("x-aws-ec2-metadata-token-ttl-seconds")
                        .is_empty()
                );
                Answer {
                    headers: "x-aws-ec2-metadata-token-ttl-seconds: 21600\r\n",
                    ..Answer::text(200, "imds-token")
                }
            }
            _ if token != "imds-token" => Answer::text(401, ""),
            ("GET", "/latest/meta-data/placement/region") => Answer::text(200, REGION),
            ("GET", "/latest/meta-data/iam/security-credentials/") => Answer::text(200, "reader"),
            ("GET", "/latest/meta-data/iam/security-credentials/reader") => issued.json(),
            _ => Answer::text(404, ""),
        }
    });
    let url = bench.url();
    bench = bench.env("AWS_EC2_METADATA_SERVICE_ENDPOINT", &url);
    bench.renews();
}

#[test]
fn profile_with_role_renews_credentials() {
    let mut bench = Bench::new(&scope(", profile: lake"), |request, issued| {
        assert_eq!(request.field("Action"), "AssumeRole");
        assert_eq!(request.field("RoleArn"), ROLE);
        assert_eq!(request.field("RoleSessionName"), "from-the-profile");
        assert_eq!(request.field("ExternalId"), "external-id-value");
        let signed = request.signed();
        assert_eq!(
            (&*signed.access_key_id, &*signed.region, &*signed.service),
            ("AKIDBASE", REGION, "sts")
        );
        issued.sts(request)
    });
    let profiles = format!(
        "[profile lake]\nrole_arn = {ROLE}\nsource_profile = base\nrole_session_name = from-the-profile\n\
         external_id = external-id-value\n[profile base]\naws_access_key_id = AKIDBASE\naws_secret_access_key = {SECRET_KEY}\n"
    );
    fs::write(bench.setup.path("profiles"), profiles).unwrap();
    let url = bench.url();
    bench = bench
        .env("AWS_CONFIG_FILE", "profiles")
        .env("AWS_ENDPOINT_URL_STS", &url);
    bench.renews();
}

fn assert_web_identity(request: &Request) {
    assert_eq!(request.host, format!("sts.{REGION}.amazonaws.com"));
    assert_eq!(request.field("RoleArn"), ROLE);
    assert_eq!(request.field("RoleSessionName"), "pod");
    assert_eq!(request.field("WebIdentityToken"), "web-token");
    assert_eq!(
        request.signed().access_key_id,
        "",
        "only the token authenticates"
    );
}

fn with_web_identity(bench: Bench) -> Bench {
    fs::write(bench.setup.path("token"), "web-token").unwrap();
    bench
        .env("AWS_WEB_IDENTITY_TOKEN_FILE", "token")
        .env("AWS_ROLE_ARN", ROLE)
        .env("AWS_ROLE_SESSION_NAME", "pod")
}

/// IAM roles for service accounts (IRSA).
#[test]
fn eks_web_identity_renews_credentials() {
    let bench = Bench::new(&scope(""), |request, issued| {
        assert_eq!(request.field("Action"), "AssumeRoleWithWebIdentity");
        assert_web_identity(request);
        issued.sts(request)
    });
    with_web_identity(bench).renews();
}

/// All roles are assumed with the same source credentials, which are issued once.
#[test]
fn roles_share_source_credentials() {
    let scopes: Vec<String> = (0..5)
        .map(|n| {
            let role = format!("arn:aws:iam::22223333444{n}:role/glue");
            format!("{{name: a{n}, regions: [{REGION}], role_arn: '{role}'}}")
        })
        .collect();
    let bench = Bench::new(&scopes.join(", "), |request, issued| {
        if request.field("Action") == "AssumeRole" {
            assert_eq!(request.signed().access_key_id, issued.keys[0]);
            assert!(request.is_signed_with(SECRET_KEY));
        } else {
            assert_web_identity(request);
        }
        issued.sts(request)
    });
    bench.issued.lock().unwrap().live_for = 3600.0;
    let mut bench = with_web_identity(bench);
    for _ in 0..3 {
        bench.poll_is_up(1.0);
    }
    let requests = bench.cloud.requests_to("sts.");
    let actions: Vec<String> = requests
        .iter()
        .map(|request| request.field("Action"))
        .collect();
    assert_eq!(actions[0], "AssumeRoleWithWebIdentity");
    assert_eq!(actions[1..], ["AssumeRole"; 5]);
}

#[test]
fn container_endpoint_response_size_is_limited() {
    let bench = Bench::new(&scope(""), |_, issued| match &*issued.secret {
        "well" => issued.json(),
        _ => of_size(64, &issued.json()),
    });
    let uri = format!("{}/credentials", bench.url());
    recovers_from_oversized_response(bench.env("AWS_CONTAINER_CREDENTIALS_FULL_URI", &uri));
}

/// Covers the responses with the region, the role and the credentials.
#[test]
fn instance_metadata_response_size_is_limited() {
    for endless in ["/placement/region", "/security-credentials/", "/reader"] {
        let bench = Bench::new("{name: all}", move |request, issued| {
            let answer = match &*request.path {
                "/latest/api/token" => Answer {
                    headers: "x-aws-ec2-metadata-token-ttl-seconds: 21600\r\n",
                    ..Answer::text(200, "imds-token")
                },
                "/latest/meta-data/placement/region" => Answer::text(200, REGION),
                "/latest/meta-data/iam/security-credentials/" => Answer::text(200, "reader"),
                _ => issued.json(),
            };
            if request.path.ends_with(endless) && issued.secret != "well" {
                // Small enough to arrive within a second.
                of_size(4, &answer)
            } else {
                answer
            }
        });
        let url = bench.url();
        let bench = bench.env("AWS_EC2_METADATA_SERVICE_ENDPOINT", &url);
        if endless == "/placement/region" {
            fs::write(bench.setup.path("config.yaml"), "scopes: [{name: all}]\n").unwrap();
            let ended = bench.setup.run(&["check"]);
            assert_eq!(ended.code, Some(2), "{}", ended.stderr);
            assert!(ended.stderr.contains("has no region"), "{}", ended.stderr);
            assert!(ended.stderr.len() < 10_000);
        } else {
            recovers_from_oversized_response(bench);
        }
    }
}

#[test]
fn sts_response_size_is_limited() {
    let bench = Bench::new(&scope(""), |request, issued| match &*issued.secret {
        "well" => issued.sts(request),
        _ => of_size(64, &issued.sts(request)),
    });
    recovers_from_oversized_response(with_web_identity(bench));
    let role = format!(", role_arn: '{ROLE}'");
    let bench = Bench::new(&scope(&role), |request, issued| {
        let is_well = issued.secret == "well" || request.field("Action") != "AssumeRole";
        if is_well {
            issued.sts(request)
        } else {
            of_size(64, &issued.sts(request))
        }
    });
    recovers_from_oversized_response(with_web_identity(bench));
}
