//! Each source of credentials beyond keys in a file: Glue is asked with what the source has issued, signed with its secret and session
//! token, which is asked for again when it ends and not before.

use std::fs;
use std::sync::{Arc, Mutex};

use rustix::process::Signal;

use crate::cloud::{Answer, Asked, Cloud, in_seconds};
use crate::exposition::Scrape;
use crate::support::{Daemon, SECRET_KEY, SOON, Setup, until};

const ROLE: &str = "arn:aws:iam::111122223333:role/reader";
const REGION: &str = "eu-west-1";
/// Credentials that live so long are loaded again for each request: the SDK wants 5 s to spare at the least. Not less, since those of
/// an instance are prolonged when they have ended.
const ENDING: f64 = 5.0;
/// Good for the whole test, and by themselves too short for other regions.
const LASTING: f64 = 50.0;

/// What the source has issued.
#[derive(Debug, Default)]
struct Issued {
    keys: Vec<String>,
    live_for: f64,
    /// What it wants to see before it issues any.
    secret: String,
    refusals: usize,
}

impl Issued {
    /// New keys, as container and instance metadata write them.
    fn json(&mut self) -> Answer {
        let key = self.key();
        Answer::json(format!(
            "{{\"Code\":\"Success\",\"Type\":\"AWS-HMAC\",\"LastUpdated\":\"2026-01-01T00:00:00Z\",\"AccessKeyId\":\"{key}\",\
             \"SecretAccessKey\":\"{SECRET_KEY}\",\"Token\":\"{}\",\"Expiration\":\"{}\"}}",
            token_of(&key),
            in_seconds(self.live_for)
        ))
    }

    /// New keys, as STS writes them.
    fn sts(&mut self, asked: &Asked) -> Answer {
        let (action, key) = (asked.field("Action"), self.key());
        Answer::text(
            200,
            format!(
                "<{action}Response><{action}Result><Credentials><AccessKeyId>{key}</AccessKeyId>\
                 <SecretAccessKey>{SECRET_KEY}</SecretAccessKey><SessionToken>{}</SessionToken><Expiration>{}</Expiration></Credentials>\
                 <AssumedRoleUser><AssumedRoleId>A:b</AssumedRoleId><Arn>{}</Arn></AssumedRoleUser></{action}Result></{action}Response>",
                token_of(&key),
                in_seconds(self.live_for),
                asked.field("RoleArn")
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

/// What Glue answers to whom.
fn glue(asked: &Asked) -> Answer {
    let signed = asked.signed();
    assert_eq!((&*signed.region, &*signed.service), (REGION, "glue"));
    assert_eq!(signed.session_token, token_of(&signed.access_key_id));
    assert!(asked.is_signed_with(SECRET_KEY));
    Answer::integrations(&[format!("arn:aws:glue:{REGION}:111122223333:integration:a")])
}

/// One scope of the real binary, whose polls come when the test wants them: at a reload that changes its timeout.
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
        source: impl Fn(&Asked, &mut Issued) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let issued = Arc::new(Mutex::new(Issued {
            live_for: ENDING,
            ..Issued::default()
        }));
        let issues = Arc::clone(&issued);
        let cloud = Cloud::start(move |asked| {
            if asked.host.starts_with("glue.") {
                return glue(asked);
            }
            source(asked, &mut issues.lock().unwrap())
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

    /// The page after another poll of every scope.
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
            // The page is there a little after the counter.
            let shown = scrape.rows("glue_integration_exporter_scope_up", &[]).len();
            (all && shown == polled.len()).then_some(scrape)
        })
    }

    /// Whether the polls get everything. The page of the last poll may still be on its way.
    fn is_up(&mut self, up: f64) {
        self.poll();
        let daemon = self.daemon.as_ref().unwrap();
        until("the page says so", SOON, || {
            let scrape = daemon.scrape();
            let scopes = scrape.rows("glue_integration_exporter_scope_up", &[]);
            scopes.iter().all(|(_, value)| *value == up).then_some(())
        });
        let told = daemon.process.stderr() + &daemon.get("/metrics").body;
        for secret in [SECRET_KEY, "session-token-of-", "web-token", "pod-token"] {
            assert!(!told.contains(secret), "{secret} in:\n{told}");
        }
    }

    fn keys_used(&self) -> Vec<String> {
        let asked = self.cloud.asked_of("glue.").into_iter();
        asked.map(|asked| asked.signed().access_key_id).collect()
    }

    /// Those that end are asked for again, those that do not are not.
    fn renews(&mut self) {
        for _ in 0..2 {
            self.is_up(1.0);
        }
        assert_eq!(self.keys_used(), ["ASIAISSUED1", "ASIAISSUED2"]);
        self.issued.lock().unwrap().live_for = LASTING;
        for _ in 0..3 {
            self.is_up(1.0);
        }
        assert_eq!(self.keys_used()[2..], ["ASIAISSUED3"; 3]);
        assert_eq!(self.issued.lock().unwrap().keys.len(), 3);
    }

    /// The log says so of the last failure, which is one of credentials.
    fn says(&self, words: &str) {
        let log = self.daemon.as_ref().unwrap().process.stderr();
        let mut failures = log.lines().filter(|line| line.contains("\"poll failed\""));
        let last = failures.next_back().unwrap();
        assert!(last.contains("reason=credentials"), "{last}");
        assert!(last.contains(words), "{last}");
    }
}

/// An answer of this many MiB that could be read as credentials.
fn of_size(mib: usize, answer: &Answer) -> Answer {
    Answer {
        body: " ".repeat(mib << 20) + &answer.body,
        ..*answer
    }
}

/// Each source answers without an end at first. That fails in words, is not kept in memory, and is over when the source is well again.
fn survives_an_answer_without_end(bench: Bench) {
    let mut bench = bench;
    bench.issued.lock().unwrap().live_for = LASTING;
    bench.is_up(0.0);
    bench.says("larger than 1 MiB");
    #[cfg(target_os = "linux")]
    {
        let pid = bench.daemon.as_ref().unwrap().process.pid();
        assert!(crate::credentials::peak_memory(pid) < 64 << 10);
    }
    bench.issued.lock().unwrap().secret = "well".to_owned();
    bench.is_up(1.0);
}

fn scope(rest: &str) -> String {
    format!("{{name: all, regions: [{REGION}]{rest}}}")
}

#[test]
fn the_container_endpoint_of_ecs() {
    let mut bench = Bench::new(&scope(""), |asked, issued| {
        assert_eq!(
            (&*asked.method, &*asked.path),
            ("GET", "/v2/credentials/task")
        );
        issued.json_for(asked.header("authorization"))
    });
    bench.issued.lock().unwrap().secret = "ecs-token".to_owned();
    let uri = format!("{}/v2/credentials/task", bench.url());
    bench = bench
        .env("AWS_CONTAINER_CREDENTIALS_FULL_URI", &uri)
        .env("AWS_CONTAINER_AUTHORIZATION_TOKEN", "ecs-token")
        // There is none.
        .env("HTTP_PROXY", "http://127.0.0.1:9")
        .env("NO_PROXY", "127.0.0.1");
    bench.renews();
}

/// The address is the one that ECS has everywhere.
#[test]
fn the_container_endpoint_at_its_own_address() {
    let mut bench = Bench::new(&scope(""), |asked, issued| {
        assert_eq!((&*asked.host, &*asked.path), ("169.254.170.2", "/v2/task"));
        issued.json()
    });
    let proxy = bench.url();
    bench = bench
        .env("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/v2/task")
        .env("HTTP_PROXY", &proxy);
    bench.renews();
}

#[test]
fn pod_identity_of_eks() {
    let mut bench = Bench::new(&scope(""), |asked, issued| {
        assert_eq!(asked.host, "169.254.170.23");
        issued.json_for(asked.header("authorization"))
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
    bench.is_up(0.0);
    bench.says("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE");
    let rotate = |bench: &Bench, text: &str| {
        fs::write(bench.setup.path("written"), text).unwrap();
        fs::rename(bench.setup.path("written"), &token).unwrap();
        bench.issued.lock().unwrap().secret = text.to_owned();
    };
    rotate(&bench, "pod-token-one");
    bench.is_up(1.0);
    rotate(&bench, "pod-token-two");
    bench.is_up(1.0);
    assert_eq!(bench.keys_used(), ["ASIAISSUED1", "ASIAISSUED2"]);
    bench.issued.lock().unwrap().secret = "pod-token-three".to_owned();
    bench.is_up(0.0);
    bench.says("HTTP status 401. The container's endpoint");
    rotate(&bench, "pod-token-three");
    bench.is_up(1.0);
}

/// The region is the instance's own too.
#[test]
fn the_metadata_service_of_an_instance() {
    let mut bench = Bench::new("{name: all}", |asked, issued| {
        let token = asked.header("x-aws-ec2-metadata-token");
        match (&*asked.method, &*asked.path) {
            ("PUT", "/latest/api/token") => {
                assert!(
                    !asked
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
fn a_profile_that_assumes_a_role() {
    let mut bench = Bench::new(&scope(", profile: lake"), |asked, issued| {
        assert_eq!(asked.field("Action"), "AssumeRole");
        assert_eq!(asked.field("RoleArn"), ROLE);
        assert_eq!(asked.field("RoleSessionName"), "from-the-profile");
        assert_eq!(asked.field("ExternalId"), "external-id-value");
        let signed = asked.signed();
        assert_eq!(
            (&*signed.access_key_id, &*signed.region, &*signed.service),
            ("AKIDBASE", REGION, "sts")
        );
        issued.sts(asked)
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

fn asks_with_web_identity(asked: &Asked) {
    assert_eq!(asked.host, format!("sts.{REGION}.amazonaws.com"));
    assert_eq!(asked.field("RoleArn"), ROLE);
    assert_eq!(asked.field("RoleSessionName"), "pod");
    assert_eq!(asked.field("WebIdentityToken"), "web-token");
    assert_eq!(asked.signed().access_key_id, "", "the token is all");
}

fn with_web_identity(bench: Bench) -> Bench {
    fs::write(bench.setup.path("token"), "web-token").unwrap();
    bench
        .env("AWS_WEB_IDENTITY_TOKEN_FILE", "token")
        .env("AWS_ROLE_ARN", ROLE)
        .env("AWS_ROLE_SESSION_NAME", "pod")
}

/// IRSA.
#[test]
fn the_web_identity_of_eks() {
    let bench = Bench::new(&scope(""), |asked, issued| {
        assert_eq!(asked.field("Action"), "AssumeRoleWithWebIdentity");
        asks_with_web_identity(asked);
        issued.sts(asked)
    });
    with_web_identity(bench).renews();
}

/// All roles of a fleet are assumed with what was issued to the program once.
#[test]
fn roles_share_what_they_are_assumed_with() {
    let scopes: Vec<String> = (0..5)
        .map(|n| {
            let role = format!("arn:aws:iam::22223333444{n}:role/glue");
            format!("{{name: a{n}, regions: [{REGION}], role_arn: '{role}'}}")
        })
        .collect();
    let bench = Bench::new(&scopes.join(", "), |asked, issued| {
        if asked.field("Action") == "AssumeRole" {
            assert_eq!(asked.signed().access_key_id, issued.keys[0]);
            assert!(asked.is_signed_with(SECRET_KEY));
        } else {
            asks_with_web_identity(asked);
        }
        issued.sts(asked)
    });
    bench.issued.lock().unwrap().live_for = 3600.0;
    let mut bench = with_web_identity(bench);
    for _ in 0..3 {
        bench.is_up(1.0);
    }
    let asked = bench.cloud.asked_of("sts.");
    let actions: Vec<String> = asked.iter().map(|asked| asked.field("Action")).collect();
    assert_eq!(actions[0], "AssumeRoleWithWebIdentity");
    assert_eq!(actions[1..], ["AssumeRole"; 5]);
}

#[test]
fn container_endpoint_without_end_is_bounded() {
    let bench = Bench::new(&scope(""), |_, issued| match &*issued.secret {
        "well" => issued.json(),
        _ => of_size(64, &issued.json()),
    });
    let uri = format!("{}/credentials", bench.url());
    survives_an_answer_without_end(bench.env("AWS_CONTAINER_CREDENTIALS_FULL_URI", &uri));
}

/// Of which the region, the role and the credentials are asked.
#[test]
fn metadata_service_without_end_is_bounded() {
    for endless in ["/placement/region", "/security-credentials/", "/reader"] {
        let bench = Bench::new("{name: all}", move |asked, issued| {
            let answer = match &*asked.path {
                "/latest/api/token" => Answer {
                    headers: "x-aws-ec2-metadata-token-ttl-seconds: 21600\r\n",
                    ..Answer::text(200, "imds-token")
                },
                "/latest/meta-data/placement/region" => Answer::text(200, REGION),
                "/latest/meta-data/iam/security-credentials/" => Answer::text(200, "reader"),
                _ => issued.json(),
            };
            if asked.path.ends_with(endless) && issued.secret != "well" {
                // It has to come within a second.
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
            survives_an_answer_without_end(bench);
        }
    }
}

#[test]
fn sts_without_end_is_bounded() {
    let bench = Bench::new(&scope(""), |asked, issued| match &*issued.secret {
        "well" => issued.sts(asked),
        _ => of_size(64, &issued.sts(asked)),
    });
    survives_an_answer_without_end(with_web_identity(bench));
    let role = format!(", role_arn: '{ROLE}'");
    let bench = Bench::new(&scope(&role), |asked, issued| {
        let is_well = issued.secret == "well" || asked.field("Action") != "AssumeRole";
        if is_well {
            issued.sts(asked)
        } else {
            of_size(64, &issued.sts(asked))
        }
    });
    survives_an_answer_without_end(with_web_identity(bench));
}
