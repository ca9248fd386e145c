//! Measures the rendering of the exposition of a snapshot, which happens after each poll.

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use glue_integration_exporter::exposition::Exposition;
use glue_integration_exporter::snapshot::{
    ExportedIntegration, Integration, MetadataLabels, Snapshot, Status,
};
use std::sync::Arc;
use std::time::Duration;

criterion_group!(benches, publish);
criterion_main!(benches);

fn publish(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("publish");
    group.sample_size(20);
    for integrations in [100, 1_000, 10_000] {
        let snapshot = snapshot(integrations);
        let before = Exposition::render(&snapshot, &Exposition::default());
        let mut changed = snapshot.clone();
        changed.integrations[integrations / 2].status_since += 1.0;
        for (name, snapshot, before) in [
            ("all", &snapshot, &Exposition::default()),
            ("one changed", &changed, &before),
            ("none changed", &snapshot, &before),
        ] {
            let id = BenchmarkId::new(name, integrations);
            group.bench_function(id, |bencher| {
                bencher.iter(|| Exposition::render(snapshot, before));
            });
        }
    }
    group.finish();
}

fn snapshot(integrations: usize) -> Snapshot {
    Snapshot {
        integrations: (0..integrations).map(entry).collect(),
        ..Snapshot::default()
    }
}

fn entry(index: usize) -> ExportedIntegration {
    let arn = |service: &str, rest: &str| {
        format!("arn:aws:{service}:eu-west-1:111122223333:{rest}{index:012x}")
    };
    ExportedIntegration {
        integration: Arc::new(Integration {
            arn: arn("glue", "integration:a1b2c3d4-5678-90ab-cdef-"),
            source_arn: arn("dynamodb", "table/orders-"),
            target_arn: arn("glue", "database/orders_"),
            status: Status::Active,
            status_text: None,
            created: Some(1_700_000_000.0),
            refresh_interval: Some(Duration::from_secs(3_600)),
            continuous_sync: Some(true),
            target_namespace: None,
            errors: Vec::new(),
        }),
        labels: Arc::new(MetadataLabels::default()),
        freshness: None,
        status_since: 1_795_300_000.0,
        stale: false,
    }
}
