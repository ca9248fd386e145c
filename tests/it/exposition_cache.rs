//! Consecutive expositions share unchanged parts. Sharing and compression do not change the text.

use crate::support::account::{START, arn, integration};
use crate::support::property::cases;
use flate2::bufread::GzDecoder;
use glue_integration_exporter::exposition::Exposition;
use glue_integration_exporter::exposition::text_format::Format;
use glue_integration_exporter::snapshot::{
    ExportedIntegration, MetadataLabels, Missing, Snapshot, Status,
};
use glue_integration_exporter::telemetry::Telemetry;
use hyper::body::Bytes;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::sync::Arc;

/// Returns a snapshot of integrations by number; false makes an integration fail.
fn snapshot(integrations: &BTreeMap<usize, bool>) -> Snapshot {
    let shown = |(number, well): (&usize, &bool)| ExportedIntegration {
        integration: Arc::new(integration(
            &arn(*number),
            if *well {
                Status::Active
            } else {
                Status::Failed
            },
        )),
        labels: Arc::new(MetadataLabels::default()),
        freshness: None,
        status_since: START,
        stale: !*well,
    };
    let missing = |(number, _): (&usize, &bool)| Missing {
        arn: arn(*number),
        ..Missing::default()
    };
    Snapshot {
        integrations: integrations.iter().map(shown).collect(),
        missing: integrations
            .iter()
            .filter(|(_, well)| !**well)
            .map(missing)
            .collect(),
        ..Snapshot::default()
    }
}

fn all_well(count: usize) -> BTreeMap<usize, bool> {
    (0..count).map(|number| (number, true)).collect()
}

/// Removes the process metrics, which change between scrapes.
fn without_process(text: &[u8]) -> Vec<String> {
    let text = String::from_utf8(text.to_vec()).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with("process_"));
    lines.map(str::to_owned).collect()
}

fn text(page: &Exposition, format: Format, telemetry: &Telemetry) -> Vec<String> {
    without_process(&page.text(format, telemetry, START + 60.0).concat())
}

/// Decompresses a body that must be exactly one gzip member. The decoder checks the checksum and the length.
fn gunzip(page: &Exposition, format: Format, telemetry: &Telemetry) -> Vec<String> {
    let body = page.gzip(format, telemetry, START + 60.0).concat();
    let mut decoder = GzDecoder::new(&body[..]);
    let mut text = Vec::new();
    decoder.read_to_end(&mut text).unwrap();
    assert_eq!(decoder.into_inner().len(), 0, "bytes after the member");
    without_process(&text)
}

fn pieces(page: &Exposition, telemetry: &Telemetry) -> Vec<Bytes> {
    page.text(Format::Text, telemetry, START)
}

/// Returns how many bytes of the second exposition are in the memory of the first one.
fn shared(first: &[Bytes], second: &[Bytes]) -> usize {
    let first: BTreeSet<_> = first.iter().map(|piece| piece.as_ptr()).collect();
    second
        .iter()
        .filter(|piece| first.contains(&piece.as_ptr()))
        .map(Bytes::len)
        .sum()
}

fn length(pieces: &[Bytes]) -> usize {
    pieces.iter().map(Bytes::len).sum()
}

#[test]
fn gzip_body_is_one_member_with_the_same_text() {
    let telemetry = Telemetry::new().unwrap();
    for count in [0, 1, 300, 3_000] {
        let page = Exposition::render(&snapshot(&all_well(count)), &Exposition::default());
        for format in Format::ALL {
            assert_eq!(
                gunzip(&page, format, &telemetry),
                text(&page, format, &telemetry),
                "{count} integrations, {format:?}"
            );
        }
    }
}

#[test]
fn scrapes_share_all_but_ages_and_own_metrics() {
    let telemetry = Telemetry::new().unwrap();
    let page = Exposition::render(&snapshot(&all_well(3_000)), &Exposition::default());
    let (first, second) = (pieces(&page, &telemetry), pieces(&page, &telemetry));
    let own_bytes = length(&second) - shared(&first, &second);
    assert!(
        own_bytes * 10 < length(&second),
        "{own_bytes} of {}",
        length(&second)
    );
}

#[test]
fn expositions_share_unchanged_chunks() {
    let telemetry = Telemetry::new().unwrap();
    let mut integrations = all_well(3_000);
    let before = Exposition::render(&snapshot(&integrations), &Exposition::default());
    let same = Exposition::render(&snapshot(&integrations), &before);
    integrations.insert(1_500, false);
    let changed = Exposition::render(&snapshot(&integrations), &same);
    integrations.remove(&700);
    let removed = Exposition::render(&snapshot(&integrations), &changed);
    let pages = [before, same, changed, removed].map(|page| pieces(&page, &telemetry));
    let of_rows: usize = {
        let scrapes = shared(&pages[0], &pages[1]);
        assert!(scrapes * 10 > length(&pages[1]) * 9, "all but the ages");
        scrapes
    };
    for pair in pages.windows(2).skip(1) {
        assert!(
            shared(&pair[0], &pair[1]) * 3 > of_rows * 2,
            "{} of {of_rows}",
            shared(&pair[0], &pair[1])
        );
    }
}

proptest! {
    #![proptest_config(cases(24))]

    #[test]
    fn incremental_render_equals_full_render(
        count in 1..1500usize,
        changes in prop::collection::vec(prop::collection::vec((0..1500usize, prop::option::of(any::<bool>())), 0..20), 1..5),
    ) {
        let telemetry = Telemetry::new().unwrap();
        let mut integrations = all_well(count);
        let mut page = Exposition::render(&snapshot(&integrations), &Exposition::default());
        for change in changes {
            for (number, is) in change {
                match is {
                    Some(well) => integrations.insert(number, well),
                    None => integrations.remove(&number),
                };
            }
            let snapshot = snapshot(&integrations);
            page = Exposition::render(&snapshot, &page);
            let alone = Exposition::render(&snapshot, &Exposition::default());
            for format in Format::ALL {
                prop_assert_eq!(text(&page, format, &telemetry), text(&alone, format, &telemetry));
                prop_assert_eq!(gunzip(&page, format, &telemetry), text(&alone, format, &telemetry));
            }
        }
    }
}
