//! The values of the series, from the simulator to /metrics.

use glue_integration_exporter::simulator::{
    Account, Fault, FaultKind, RequestMatcher, SimulatedConfig, SimulatedError,
    SimulatedIntegration,
};

use crate::e2e::exposition::Scrape;
use crate::e2e::support::{ONE_SCOPE, SOON, Setup, arn, integration, simulator, until};

const REGION: &str = "eu-west-1";

#[test]
fn integration_has_all_its_series() {
    let mut rich = integration(REGION, "rich", "needs_attention");
    rich.errors = Some(vec![
        SimulatedError {
            code: Some("B".into()),
            message: Some("one".into()),
        },
        SimulatedError {
            code: Some("A".into()),
            message: Some("two".into()),
        },
        SimulatedError {
            code: Some("B".into()),
            message: Some("three".into()),
        },
        SimulatedError::default(),
    ]);
    let mut poor = integration(REGION, "poor", "PAUSED");
    poor.create_time = 0.0;
    poor.config = Some(SimulatedConfig::default());
    let sim = simulator(Account::of(vec![rich, poor]));
    let missing = arn(REGION, "missing");
    let (rich, poor) = (arn(REGION, "rich"), arn(REGION, "poor"));
    let listed = format!("  - {{name: listed, integration_arns: ['{rich}', '{missing}']}}");
    let config = format!("scopes:\n  - {{name: all, regions: [{REGION}]}}\n{listed}\n");
    let daemon = Setup::new(&sim, &config).daemon(&[]);
    let scrape = daemon.scrape();

    assert_eq!(scrape.status(&rich), Some("NEEDS_ATTENTION"));
    assert_eq!(scrape.status(&poor), Some("UNKNOWN"));
    assert_eq!(scrape.status(&missing), None);
    assert_eq!(scrape.of_arn("present", &rich), Some(1.0));
    assert_eq!(scrape.of_arn("present", &missing), Some(0.0));
    assert_eq!(scrape.of_arn("present", &poor), Some(1.0));
    assert_eq!(scrape.of_arn("stale", &poor), Some(0.0));
    let unknown = scrape.value("glue_integration_exporter_unknown_statuses_total", &[]);
    // More than 1 if the second poll has ended already, because its time in the interval is random.
    assert!(unknown.is_some_and(|count| count >= 1.0), "{unknown:?}");
    for scope in ["all", "listed"] {
        assert_eq!(scrape.of_scope("scope_up", scope), Some(1.0));
        assert_eq!(scrape.of_scope("scope_stale", scope), Some(0.0));
    }
    assert_eq!(scrape.of_scope("scope_integrations", "all"), Some(2.0));

    assert_eq!(scrape.of_arn("errors", &rich), Some(4.0));
    assert_eq!(scrape.of_arn("errors", &poor), Some(0.0));
    let codes = scrape.rows(
        "aws_glue_integration_errors_by_code",
        &[("integration_arn", &rich)],
    );
    let codes: Vec<(&str, f64)> = codes
        .iter()
        .map(|(labels, count)| (labels["error_code"].as_str(), *count))
        .collect();
    assert_eq!(codes, [("A", 1.0), ("B", 2.0), ("none", 1.0)]);
    let created = scrape.of_arn("created_timestamp_seconds", &rich);
    assert_eq!(created, Some(1_700_000_000.0));
    let refresh = scrape.of_arn("refresh_interval_seconds", &rich);
    assert_eq!(refresh, Some(3600.0));
    assert_eq!(scrape.of_arn("continuous_sync", &rich), Some(1.0));
    for absent in [
        "created_timestamp_seconds",
        "age_seconds",
        "refresh_interval_seconds",
        "continuous_sync",
    ] {
        assert_eq!(scrape.of_arn(absent, &poor), None, "{absent}");
    }
    let info = scrape.rows("aws_glue_integration_info", &[("integration_arn", &rich)]);
    let (labels, one) = info[0];
    assert_eq!(one, 1.0);
    let labels: Vec<(&str, &str)> = labels
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    assert_eq!(
        labels,
        [
            ("aws_account_id", "111122223333"),
            ("aws_region", REGION),
            ("integration_arn", &rich),
            ("integration_name", ""),
            (
                "source_arn",
                "arn:aws:dynamodb:eu-west-1:111122223333:table/rich"
            ),
            ("source_service", "dynamodb"),
            (
                "target_arn",
                "arn:aws:glue:eu-west-1:111122223333:database/target"
            ),
            ("target_service", "glue"),
        ]
    );

    // The age grows with each scrape. The start of the status is constant.
    let since = scrape.of_arn("status_since_timestamp_seconds", &rich);
    let age = scrape.of_arn("age_seconds", &rich).unwrap();
    let now = 1_700_000_000.0 + age;
    let started = scrape.value("process_start_time_seconds", &[]).unwrap();
    assert!((started - 1.0..=now).contains(&since.unwrap()), "{since:?}");
    let later = until("the age grows", SOON, || {
        let later = daemon.scrape();
        (later.of_arn("age_seconds", &rich).unwrap() > age).then_some(later)
    });
    assert_eq!(later.of_arn("status_since_timestamp_seconds", &rich), since);
    assert_eq!(later.of_arn("created_timestamp_seconds", &rich), created);
}

#[test]
fn empty_listing_is_a_successful_poll() {
    let sim = simulator(Account::of(Vec::new()));
    let body = FaultKind::raw(200, "{}");
    sim.handle
        .push_fault(Fault::new(RequestMatcher::default(), body));
    let scrape = Setup::new(&sim, ONE_SCOPE).daemon(&[]).scrape();
    assert_eq!(scrape.of_scope("scope_up", "all"), Some(1.0));
    assert_eq!(scrape.of_scope("scope_integrations", "all"), Some(0.0));
    assert!(scrape.names_with("aws_glue_").is_empty());
}

/// The only test that waits for later polls. It uses the first of eight scopes that is polled again, so that the wait is short.
#[test]
fn failing_scope_keeps_last_good_data() {
    let scopes: Vec<String> = (0..8).map(|n| format!("scope-{n}")).collect();
    let fine = |scope: &str| arn(REGION, &format!("fine-{scope}"));
    let fails = |scope: &str| arn(REGION, &format!("fails-{scope}"));
    let new = |arn: &str| SimulatedIntegration {
        arn: arn.to_owned(),
        ..integration(REGION, "x", "ACTIVE")
    };
    let sim = simulator(Account::of(
        scopes
            .iter()
            .flat_map(|scope| [new(&fine(scope)), new(&fails(scope))])
            .chain([integration("us-east-1", "late", "ACTIVE")])
            .collect(),
    ));
    let denied = || FaultKind::error("AccessDeniedException", "no");
    let late_fails = Fault::new(RequestMatcher::region("us-east-1"), denied());
    sim.handle.push_fault(late_fails);
    let mut config = "polling: {interval: 10s}\nscopes:\n".to_owned()
        + "  - {name: late, regions: [us-east-1]}\n";
    for scope in &scopes {
        config += &format!(
            "  - {{name: {scope}, integration_arns: ['{}', '{}']}}\n",
            fine(scope),
            fails(scope)
        );
    }
    let daemon = Setup::new(&sim, &config).daemon(&[]);
    let since = "status_since_timestamp_seconds";
    let success = "scope_last_success_timestamp_seconds";

    let first = daemon.scrape();
    for scope in &scopes {
        assert_eq!(first.of_scope("scope_up", scope), Some(1.0));
        assert_eq!(first.status(&fails(scope)), Some("ACTIVE"));
    }
    let late = arn("us-east-1", "late");
    assert_eq!(first.status(&late), None);
    assert_eq!(first.of_scope("scope_up", "late"), Some(0.0));
    assert_eq!(first.of_scope("scope_stale", "late"), Some(0.0));

    // The order matters: a poll in between must not observe SYNCING.
    for scope in &scopes {
        sim.handle.set_status(&fine(scope), "FAILED");
    }
    for scope in &scopes {
        let fault = Fault::new(
            RequestMatcher {
                integration_arn: Some(fails(scope)),
                ..RequestMatcher::default()
            },
            denied(),
        );
        sim.handle.push_fault(fault);
    }
    for scope in &scopes {
        sim.handle.set_status(&fails(scope), "SYNCING");
    }
    let (failed, scope) = until("a scope fails", SOON, || {
        let scrape = daemon.scrape();
        let down = |scope: &&String| scrape.of_scope("scope_up", scope) == Some(0.0);
        let scope = scopes.iter().find(down)?;
        Some((scrape, scope))
    });
    assert_eq!(failed.of_scope("scope_stale", scope), Some(1.0));
    assert_eq!(failed.of_scope("scope_integrations", scope), Some(2.0));
    assert_eq!(
        failed.of_scope(success, scope),
        first.of_scope(success, scope)
    );
    let reason = failed.value(
        "glue_integration_exporter_poll_failures_total",
        &[("scope", scope), ("reason", "access_denied")],
    );
    assert_eq!(reason, Some(1.0));
    // The failed query keeps its data, the other query is updated.
    assert_eq!(failed.status(&fails(scope)), Some("ACTIVE"));
    assert_eq!(failed.of_arn("present", &fails(scope)), Some(1.0));
    assert_eq!(
        failed.of_arn(since, &fails(scope)),
        first.of_arn(since, &fails(scope))
    );
    assert_eq!(failed.status(&fine(scope)), Some("FAILED"));
    assert!(failed.of_arn(since, &fine(scope)) > first.of_arn(since, &fine(scope)));
    // The age of the failed one grows.
    let age = |scrape: &Scrape| scrape.of_arn("age_seconds", &fails(scope));
    assert!(age(&failed) > age(&first));
    // The other scopes are not affected.
    let others: Vec<&String> = scopes.iter().filter(|other| *other != scope).collect();
    assert!(
        others
            .iter()
            .any(|other| failed.of_scope("scope_up", other) == Some(1.0)
                && failed.of_scope("scope_stale", other) == Some(0.0))
    );

    sim.handle.clear_faults();
    let good = until("the scope recovers", SOON, || {
        let scrape = daemon.scrape();
        (scrape.of_scope("scope_up", scope) == Some(1.0)).then_some(scrape)
    });
    assert_eq!(good.of_scope("scope_stale", scope), Some(0.0));
    assert_eq!(good.status(&fails(scope)), Some("SYNCING"));
    assert!(good.of_arn(since, &fails(scope)) > failed.of_arn(since, &fails(scope)));
    assert_eq!(
        good.of_arn(since, &fine(scope)),
        failed.of_arn(since, &fine(scope))
    );
    assert!(good.of_scope(success, scope) > failed.of_scope(success, scope));
    assert!(good.of_scope("polls_total", scope) >= Some(3.0));
    let skipped = good.of_scope("polls_skipped_total", scope);
    assert_eq!(skipped, Some(0.0));
    // The scope that never had data recovers too.
    let recovered = until("the other scope recovers", SOON, || {
        let scrape = daemon.scrape();
        (scrape.of_scope("scope_up", "late") == Some(1.0)).then_some(scrape)
    });
    assert_eq!(recovered.status(&late), Some("ACTIVE"));
}
