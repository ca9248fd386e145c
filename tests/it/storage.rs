//! Restarts: stored data is served at once, and an unusable state file costs only the data in it.

use crate::support::account::{Behaviour, Bench, FakeAccount, START, arn, integration, watches};
use crate::support::page::Page;
use crate::support::property::{cases, hostile};
use glue_integration_exporter::cache::{IntegrationCache, PollResult, key};
use glue_integration_exporter::clock::{Clock, Timestamp};
use glue_integration_exporter::config::ScopeRegion;
use glue_integration_exporter::glue::{Answer, GlueError, Reason};
use glue_integration_exporter::snapshot::{
    ExportedIntegration, Integration, IntegrationError, PolledScope, Status,
};
use glue_integration_exporter::storage;
use proptest::prelude::*;
use std::fs;
use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, advance};
use tokio_util::sync::CancellationToken;

const SINCE: &str = "aws_glue_integration_status_since_timestamp_seconds";
const HOUR: Duration = Duration::from_secs(3600);

/// Two scopes: one with an integration, one without.
fn two_scopes() -> Vec<ScopeRegion> {
    watches(
        "polling: {stale_after: 1h}\nscopes:\n- {name: lake, regions: [eu-west-1]}\n- {name: empty, regions: [us-east-1]}",
    )
}

async fn polled(watches: &[ScopeRegion], account: &Arc<FakeAccount>) -> Bench {
    let bench = Bench::new(watches);
    bench.poller(&watches[0], account).poll().await;
    bench.poller(&watches[1], &FakeAccount::new()).poll().await;
    bench
}

/// Returns a new process that restores the file after the time `later`.
async fn restarted(watches: &[ScopeRegion], before: &Bench, later: Duration, path: &Path) -> Bench {
    let (start, wall) = (
        Instant::now(),
        before.clock.unix_now() + later.as_secs_f64(),
    );
    let clock = Clock::from_wall(move || wall + start.elapsed().as_secs_f64());
    let bench = Bench::with_clock(watches, clock);
    storage::restore(path, &bench.publisher).await;
    bench
}

fn scope(page: &Page, name: &str, of: &str) -> Option<f64> {
    page.value(
        &format!("glue_integration_exporter_scope_{name}"),
        &[("scope", of)],
    )
}

#[tokio::test(start_paused = true)]
async fn stored_data_served_stale_until_first_poll() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state");
    let watches = two_scopes();
    let account = FakeAccount::new();
    account.put(&arn(1), Status::Failed);
    let before = polled(&watches, &account).await;
    storage::write(&path, &before.publisher.stored()).unwrap();
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let old = before.page();

    advance(Duration::from_secs(20)).await;
    let bench = restarted(&watches, &before, Duration::from_secs(60), &path).await;
    assert!(!bench.publisher.page().blocks_scrape, "no scrape waits");
    assert!(
        bench.publisher.page().pending_first_poll,
        "nothing has been polled"
    );
    let page = bench.page();
    assert_eq!(page.status(&arn(1)).as_deref(), Some("FAILED"));
    assert_eq!(page.value(SINCE, &[]), old.value(SINCE, &[]));
    for name in ["lake", "empty"] {
        assert_eq!(scope(&page, "stale", name), Some(1.0));
        for gauge in [
            "up",
            "last_success_timestamp_seconds",
            "integrations",
            "last_poll_duration_seconds",
        ] {
            assert_eq!(
                scope(&page, gauge, name),
                scope(&old, gauge, name),
                "{gauge} of {name}"
            );
        }
    }
    assert!(bench.poller(&watches[0], &account).poll().await);
    let page = bench.page();
    assert_eq!(
        (scope(&page, "stale", "lake"), scope(&page, "up", "lake")),
        (Some(0.0), Some(1.0))
    );
    assert_eq!(
        page.value(SINCE, &[]),
        old.value(SINCE, &[]),
        "the status did not change"
    );
}

#[tokio::test(start_paused = true)]
async fn expired_data_not_served_status_time_kept() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state");
    let watches = two_scopes();
    let account = FakeAccount::new();
    account.put(&arn(1), Status::Failed);
    let before = polled(&watches, &account).await;
    let since = before.page().value(SINCE, &[]);
    storage::write(&path, &before.publisher.stored()).unwrap();
    let bench = restarted(&watches, &before, HOUR * 5, &path).await;
    let page = bench.page();
    assert_eq!(
        (page.status(&arn(1)), scope(&page, "up", "lake")),
        (None, None)
    );
    assert!(
        bench.publisher.page().blocks_scrape,
        "a scrape waits as at a first start"
    );
    account.set(Behaviour::Fail(Reason::Network));
    assert!(!bench.poller(&watches[0], &account).poll().await);
    let page = bench.page();
    assert_eq!(scope(&page, "stale", "lake"), Some(1.0));
    assert_eq!(
        scope(&page, "last_success_timestamp_seconds", "lake"),
        scope(&before.page(), "last_success_timestamp_seconds", "lake")
    );
    account.set(Behaviour::Answer);
    assert!(bench.poller(&watches[0], &account).poll().await);
    assert_eq!(bench.page().value(SINCE, &[]), since);
}

#[tokio::test(start_paused = true)]
async fn expired_later_observation_wins_after_restart() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state");
    let watches = watches(
        "scopes:\n- {name: first, regions: [eu-west-1], stale_after: 2m}\n- {name: second, regions: [eu-west-1], stale_after: 4h}",
    );
    let bench = Bench::new(&watches);
    let account = FakeAccount::new();
    account.put(&arn(1), Status::Active);
    assert!(bench.poller(&watches[1], &account).poll().await);
    advance(Duration::from_secs(60)).await;
    account.put(&arn(1), Status::Failed);
    assert!(bench.poller(&watches[0], &account).poll().await);
    advance(Duration::from_secs(600)).await;
    assert_eq!(bench.page().status(&arn(1)).as_deref(), Some("FAILED"));
    storage::write(&path, &bench.publisher.stored()).unwrap();
    let bench = restarted(&watches, &bench, Duration::ZERO, &path).await;
    assert_eq!(bench.page().status(&arn(1)).as_deref(), Some("FAILED"));
}

#[tokio::test(start_paused = true)]
async fn restart_during_outage_keeps_stale_after() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state");
    let watches = two_scopes();
    let account = FakeAccount::new();
    account.put(&arn(1), Status::NeedsAttention);
    let before = polled(&watches, &account).await;
    account.set(Behaviour::Fail(Reason::ServerError));
    advance(HOUR / 2).await;
    assert!(!before.poller(&watches[0], &account).poll().await);
    storage::write(&path, &before.publisher.stored()).unwrap();
    let bench = restarted(&watches, &before, Duration::ZERO, &path).await;
    bench.publish();
    let page = bench.page();
    assert_eq!(
        (scope(&page, "up", "lake"), scope(&page, "stale", "lake")),
        (Some(0.0), Some(1.0))
    );
    assert_eq!(page.status(&arn(1)).as_deref(), Some("NEEDS_ATTENTION"));
    assert!(!bench.poller(&watches[0], &account).poll().await);
    // The hour of stale_after starts at the successful poll, half an hour before the restart.
    tokio::time::sleep(HOUR / 2 - Duration::from_secs(1)).await;
    assert_eq!(
        bench.page().status(&arn(1)).as_deref(),
        Some("NEEDS_ATTENTION")
    );
    tokio::time::sleep(Duration::from_secs(2)).await;
    let page = bench.page();
    assert_eq!(
        (page.status(&arn(1)), scope(&page, "stale", "lake")),
        (None, Some(1.0))
    );
}

#[tokio::test(start_paused = true)]
async fn poll_during_write_is_stored_at_stop() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state");
    let watches = watches("scopes: [{name: lake, regions: [eu-west-1]}]");
    let bench = Bench::new(&watches);
    let observe = |status| {
        let now = bench.clock.now();
        let answer = Answer {
            integrations: vec![(Arc::new(integration(&arn(1), status)), now)],
            outcome: Ok(now),
        };
        let poll = PollResult {
            started: now,
            ended: now,
            answers: vec![answer],
        };
        bench.publisher.apply(&key(&watches[0]), poll);
    };
    let stop = CancellationToken::new();
    let sender = watch::Sender::new(Some(path.clone()));
    let keeping = tokio::spawn(storage::persist(
        Arc::clone(&bench.publisher),
        sender.subscribe(),
        stop.clone(),
    ));
    observe(Status::Active);
    tokio::time::sleep(Duration::from_millis(499)).await;
    advance(Duration::from_millis(2)).await;
    // The write runs in its own thread. Its result arrives only when this test waits.
    tokio::task::yield_now().await;
    observe(Status::Failed);
    stop.cancel();
    keeping.await.unwrap();
    let bench = restarted(&watches, &bench, Duration::ZERO, &path).await;
    assert_eq!(bench.page().status(&arn(1)).as_deref(), Some("FAILED"));
}

#[tokio::test(start_paused = true)]
async fn unusable_file_is_ignored_and_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state");
    let watches = two_scopes();
    let account = FakeAccount::new();
    account.put(&arn(1), Status::Active);
    let before = polled(&watches, &account).await;
    let good = storage::encode(&before.publisher.stored()).unwrap();
    assert!(storage::decode(&good).is_ok());
    for length in 0..good.len() {
        assert!(
            storage::decode(&good[..length]).is_err(),
            "cut after {length}"
        );
    }
    for place in 0..good.len() {
        let mut bad = good.clone();
        bad[place] ^= 1;
        assert!(storage::decode(&bad).is_err(), "damaged at {place}");
    }
    for (bytes, case, replaced) in [
        (&good[..good.len() / 2], "truncated", true),
        (&good[..7], "cut in the first word", true),
        (&b""[..], "empty", true),
        (
            &b"glue-integration-exporter-state 2 00000000\n{}"[..],
            "a later version",
            true,
        ),
        (&b"scopes: [{name: lake}]\n"[..], "another file", false),
    ] {
        fs::write(&path, bytes).unwrap();
        assert!(storage::read(&path).is_err(), "{case}");
        let bench = restarted(&watches, &before, Duration::ZERO, &path).await;
        assert_eq!(bench.page().status(&arn(1)), None, "{case}");
        // The next write replaces the file only if it is a state file.
        let written = storage::write(&path, &before.publisher.stored());
        assert_eq!(written.is_ok(), replaced, "{case}");
        assert_eq!(storage::read(&path).is_ok(), replaced, "{case}");
        assert!(replaced || fs::read(&path).unwrap() == bytes, "{case}");
    }
    assert!(storage::read(directory.path()).is_err(), "a directory");
    assert!(
        storage::read(&directory.path().join("none"))
            .unwrap()
            .is_none()
    );
    assert!(
        storage::write(
            &directory.path().join("no/such/directory"),
            &before.publisher.stored()
        )
        .is_err()
    );
}

#[tokio::test(start_paused = true)]
async fn file_writable_by_others_is_not_restored() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state");
    let watches = two_scopes();
    let account = FakeAccount::new();
    account.put(&arn(1), Status::Active);
    let before = polled(&watches, &account).await;
    storage::write(&path, &before.publisher.stored()).unwrap();
    let mode = |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    let error = || storage::read(&path).err().map(|error| error.to_string());
    // The kubelet sets this mode for an fsGroup.
    mode(&path, 0o660);
    assert_eq!(error(), None);
    mode(&path, 0o666);
    assert_eq!(
        error().unwrap(),
        "another user may have written the file, because every user may write to it: choose a directory that only the exporter can write to"
    );
    let bench = restarted(&watches, &before, Duration::ZERO, &path).await;
    assert_eq!(bench.page().status(&arn(1)), None);
    // The next write replaces the file by one of the exporter.
    storage::write(&path, &before.publisher.stored()).unwrap();
    assert_eq!(error(), None);

    assert_eq!(storage::shared_directory(&path), None);
    for shared in [0o777, 0o1777] {
        mode(directory.path(), shared);
        assert_eq!(storage::shared_directory(&path), Some(directory.path()));
    }
    // Only root can change the owner of a file.
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let others = Some(12_345);
    chown(&path, others, None).unwrap();
    assert!(
        error()
            .unwrap()
            .contains("it belongs to user 12345, but the exporter runs as user 0")
    );
    // An NFS server may write all files as one user.
    chown(directory.path(), others, None).unwrap();
    assert!(error().is_some(), "every user may write to the directory");
    mode(directory.path(), 0o755);
    assert_eq!(error(), None);
    chown(&path, None, others).unwrap();
    assert_eq!(error(), None);
    mode(&path, 0o660);
    assert!(error().unwrap().contains("group 12345 may write to it"));
}

#[tokio::test(start_paused = true)]
async fn huge_foreign_file_is_not_read_whole() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state");
    for (beginning, message) in [
        ("", "the file is not a state file of this version"),
        (
            "glue-integration-exporter-state 1 00000000\n",
            "failed to read the file: it is too large; allowed: 512 MiB",
        ),
    ] {
        fs::write(&path, beginning).unwrap();
        fs::OpenOptions::new()
            .append(true)
            .open(&path)
            .unwrap()
            .set_len(1 << 40)
            .unwrap();
        let error = storage::read(&path).unwrap_err();
        assert_eq!(error.to_string(), message);
    }
}

#[tokio::test(start_paused = true)]
async fn incomplete_new_file_is_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state");
    let watches = two_scopes();
    let before = polled(&watches, &FakeAccount::new()).await;
    fs::write(directory.path().join("state.new"), "half").unwrap();
    storage::write(&path, &before.publisher.stored()).unwrap();
    assert!(storage::read(&path).unwrap().is_some());
    let left: Vec<_> = fs::read_dir(directory.path()).unwrap().collect();
    assert_eq!(left.len(), 1, "{left:?}");
}

#[tokio::test(start_paused = true)]
async fn clock_set_back_keeps_stored_data() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state");
    let watches = two_scopes();
    let account = FakeAccount::new();
    account.put(&arn(1), Status::Active);
    let before = polled(&watches, &account).await;
    storage::write(&path, &before.publisher.stored()).unwrap();
    let start = Instant::now();
    let clock = Clock::from_wall(move || START - 1e6 + start.elapsed().as_secs_f64());
    let bench = Bench::with_clock(&watches, clock);
    storage::restore(&path, &bench.publisher).await;
    assert_eq!(bench.page().status(&arn(1)).as_deref(), Some("ACTIVE"));
}

/// An integration with any values in all fields.
fn hostile_integration() -> impl Strategy<Value = Integration> {
    let maybe = || prop::option::of(hostile());
    let errors = prop::collection::vec((maybe(), maybe()), 0..4);
    let times = (
        prop::option::of(-1e15..1e15f64),
        prop::option::of(any::<u32>()),
    );
    let texts = (hostile(), hostile(), hostile(), maybe(), maybe());
    (
        texts,
        0..Status::ALL.len(),
        errors,
        times,
        any::<Option<bool>>(),
    )
        .prop_map(
            |(texts, status, errors, (created, minutes), continuous_sync)| Integration {
                arn: texts.0,
                source_arn: texts.1,
                target_arn: texts.2,
                status: Status::ALL[status],
                status_text: texts.3,
                created,
                refresh_interval: minutes.map(|minutes| Duration::from_secs(60) * minutes),
                continuous_sync,
                target_namespace: texts.4,
                errors: errors
                    .into_iter()
                    .map(|(code, message)| IntegrationError { code, message })
                    .collect(),
            },
        )
}

proptest! {
    #![proptest_config(cases(64))]

    #[test]
    fn any_cache_survives_store_and_restore(
        listed in prop::collection::vec((hostile_integration(), 0..1_000_000u64), 0..5),
        complete: bool,
        duration in 0..10_000_000u64,
        wall in 0.0..4e9f64,
    ) {
        let watches = two_scopes();
        let now = Timestamp { instant: Instant::now() + HOUR, unix: wall };
        let ago = |micros| {
            let age = Duration::from_micros(micros);
            Timestamp { instant: now.instant - age, unix: wall - age.as_secs_f64() }
        };
        let mut cache = IntegrationCache::new(&watches);
        let ended = ago(0);
        let outcome = if complete { Ok(ended) } else { Err(GlueError::new(Reason::Network, "no")) };
        let integrations = listed
            .into_iter()
            .map(|(integration, micros)| (Arc::new(integration), ago(micros)))
            .collect();
        let answers = vec![Answer { integrations, outcome }];
        cache.apply(&key(&watches[0]), PollResult { started: ago(duration), ended, answers });

        let read = storage::decode(&storage::encode(&cache.stored()).unwrap()).unwrap();
        let mut restored = IntegrationCache::new(&watches);
        restored.restore(read, now);
        let ((actual, _), (expected, _)) = (restored.snapshot(now.instant), cache.snapshot(now.instant));
        let expected_integrations: Vec<ExportedIntegration> = expected
            .integrations
            .into_iter()
            .map(|shown| ExportedIntegration { stale: true, ..shown })
            .collect();
        prop_assert_eq!(actual.integrations, expected_integrations);
        let polled = expected.scopes[1].polled.clone().map(|polled| PolledScope { stale: true, ..polled });
        prop_assert_eq!(&actual.scopes[1].polled, &polled);
    }

    #[test]
    fn decode_any_bytes_returns_error(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(storage::decode(&bytes).is_err());
        let mut looks_right = b"glue-integration-exporter-state 1 ".to_vec();
        looks_right.extend(format!("{:08x}\n", crc32fast::hash(&bytes)).bytes());
        looks_right.extend(&bytes);
        prop_assert!(storage::decode(&looks_right).is_err());
    }
}
