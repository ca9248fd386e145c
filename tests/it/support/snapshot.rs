//! Snapshots that are built by hand, of one scope that sees every integration.

use super::account::START;
use glue_integration_exporter::snapshot::{
    ExportedFreshness, ExportedIntegration, Freshness, Integration, MetadataLabels, PolledScope,
    Provenance, ScopeState, Snapshot, TableFreshness,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Returns a snapshot of `integrations`, which must be sorted by ARN. At most `max_tables` tables of each are exported.
pub fn snapshot(
    integrations: Vec<(Integration, Option<Freshness>)>,
    max_tables: usize,
) -> Snapshot {
    let provenance = Provenance {
        observed_at: START,
        seen_by: 0..1,
    };
    let scope = ScopeState {
        scope: "lake".to_owned(),
        region: "eu-west-1".to_owned(),
        interval: Duration::from_secs(60),
        freshness_up: Some(true),
        polled: Some(PolledScope {
            up: true,
            stale: false,
            last_success: Some(START),
            integrations: integrations.len(),
            duration: Duration::ZERO,
        }),
        ..ScopeState::default()
    };
    let exported = |(integration, freshness): (Integration, Option<_>)| ExportedIntegration {
        freshness: freshness.map(|data| ExportedFreshness {
            data: Arc::new(data),
            max_tables,
            has_redshift_target: integration.target_arn.starts_with("arn:aws:redshift"),
        }),
        integration: Arc::new(integration),
        labels: Arc::new(MetadataLabels::default()),
        status_since: START - 86_400.0,
        stale: false,
    };
    Snapshot {
        provenance: vec![provenance; integrations.len()],
        integrations: integrations.into_iter().map(exported).collect(),
        seen_by: vec![0],
        scopes: vec![scope],
        ..Snapshot::default()
    }
}

/// Returns what CloudWatch said at the start about these tables: name, and the ages of the last success and the last failure in seconds.
pub fn tables(tables: &[(&str, Option<f64>, Option<f64>)]) -> Freshness {
    let table = |&(name, success, failure): &(&str, Option<f64>, Option<f64>)| {
        let table = TableFreshness {
            last_success: success.map(|age| START - age),
            last_failure: failure.map(|age| START - age),
            synced_until: success.map(|age| START - age - 60.0),
        };
        (name.to_owned(), table)
    };
    Freshness {
        checked: Some(START),
        tables: tables.iter().map(table).collect::<BTreeMap<_, _>>(),
        ..Freshness::default()
    }
}
