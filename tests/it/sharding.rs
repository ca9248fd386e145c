//! Sharding: each item is watched by exactly one shard, and adding a shard moves as few items as possible.

use crate::support::account::{Behaviour, Bench, FakeAccount, arn, integration, watches};
use crate::support::property::cases;
use glue_integration_exporter::config::{Query, ScopeRegion, ShardBy};
use glue_integration_exporter::hash::{fnv1a, split_mix};
use glue_integration_exporter::shard::{PodName, Shard};
use glue_integration_exporter::snapshot::{Integration, Status};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::{Instant, advance};

fn shard(index: u16, total: u16) -> Shard {
    Shard::from_flags(Some(index), Some(total), || unreachable!()).unwrap()
}

fn shards(total: u16) -> impl Iterator<Item = Shard> {
    (0..total).map(move |index| shard(index, total))
}

/// Returns the index of the shard that owns an item.
fn owner(total: u16, name: &[&str]) -> u16 {
    let owners: Vec<Shard> = shards(total).filter(|shard| shard.owns(name)).collect();
    assert_eq!(owners.len(), 1, "{name:?} among {total}");
    owners[0].index
}

#[test]
fn owner_is_the_same_in_every_version() {
    // Published values of both hashes. Another program computed the owners. If an owner changed, an upgrade would move items.
    assert_eq!(fnv1a(&["foobar"]), 0x8594_4171_f739_67e8);
    assert_eq!(fnv1a(&["a", "b"]), fnv1a(&["a\0b"]));
    assert_eq!(split_mix(0, 0), 0xe220_a839_7b1d_cdaf);
    assert_eq!(split_mix(0, 1), 0x6e78_9e6a_a1b9_65f4);
    let role = "arn:aws:iam::111122223333:role/glue";
    for (name, owners) in [
        (&["eu-west-1", "", ""][..], [0, 0, 0, 0, 4, 4, 4, 4]),
        (&["us-east-1", "", ""], [0, 0, 0, 0, 0, 0, 0, 7]),
        (&["eu-west-1", "", role], [0, 1, 1, 1, 1, 1, 1, 1]),
        (&["eu-west-1", "analytics", role], [0, 0, 0, 0, 4, 4, 4, 4]),
        (&[&arn(1)], [0, 1, 2, 2, 2, 2, 2, 2]),
        (&[&arn(2)], [0, 0, 0, 0, 0, 5, 5, 5]),
    ] {
        let found: Vec<u16> = (1..=8).map(|total| owner(total, name)).collect();
        assert_eq!(found, owners, "{name:?}");
    }
}

#[test]
fn added_shard_takes_equal_part_of_each() {
    const NAMES: u32 = 20_000;
    for total in [1u16, 2, 3, 7, 19] {
        let mut moved = 0u32;
        let mut sizes = vec![0u32; usize::from(total)];
        for n in 0..NAMES {
            let name = [format!("account-{n}"), "eu-west-1".to_owned()];
            let name = [name[0].as_str(), name[1].as_str()];
            let (before, after) = (owner(total, &name), owner(total + 1, &name));
            sizes[usize::from(before)] += 1;
            if before != after {
                assert_eq!(after, total, "items move only to the new shard");
                moved += 1;
            }
        }
        let share = f64::from(NAMES) / f64::from(total + 1);
        assert!(
            (f64::from(moved) - share).abs() < 0.1 * share,
            "{moved} of {share}"
        );
        let share = f64::from(NAMES) / f64::from(total);
        for size in sizes {
            assert!(
                (f64::from(size) - share).abs() < 0.15 * share,
                "{size} of {share}"
            );
        }
    }
}

#[test]
fn shard_index_comes_from_flags_or_pod_name() {
    let pod = |name: &str| PodName::Environment(name.to_owned());
    let host = |name: &str| PodName::Host(name.to_owned());
    let of = |index, total, pod: &PodName| {
        Shard::from_flags(index, total, || pod.clone())
            .map(|shard| (shard.index, shard.total))
            .map_err(|why| why.to_string())
    };
    let two = pod("exporter-2");
    assert_eq!(
        of(None, None, &two),
        Ok((0, 1)),
        "without flags there is one shard"
    );
    assert_eq!(
        of(Some(0), Some(3), &two),
        Ok((0, 3)),
        "the flag wins over the pod name"
    );
    for (name, ordinal) in [
        (two.clone(), 2),
        (pod("glue-exporter-0"), 0),
        (pod("exporter-1-2"), 2),
        (host("exporter-2"), 2),
        (host("exporter-2.exporter.monitoring.svc.cluster.local"), 2),
    ] {
        assert_eq!(of(None, Some(3), &name), Ok((ordinal, 3)), "{name}");
    }
    for (index, total, name, message) in [
        (
            Some(3),
            Some(3),
            &two,
            "--shard.index=3 is not below --shard.total=3; indexes start at 0",
        ),
        (
            None,
            Some(2),
            &two,
            "shard index 2 of POD_NAME `exporter-2` is not below --shard.total=2; indexes start at 0",
        ),
    ] {
        assert_eq!(of(index, total, name), Err(message.to_owned()));
    }
    for (name, why) in [
        (
            pod("exporter"),
            "POD_NAME `exporter` does not end in `-` and an ordinal",
        ),
        (
            pod("exporter-7d9c5b7c4-x2x5z"),
            "POD_NAME `exporter-7d9c5b7c4-x2x5z` does not end in `-` and an ordinal",
        ),
        (
            pod("-1"),
            "POD_NAME `-1` does not end in `-` and an ordinal",
        ),
        (
            pod("exporter-"),
            "POD_NAME `exporter-` does not end in `-` and an ordinal",
        ),
        (
            pod("exporter-01"),
            "POD_NAME `exporter-01` does not end in `-` and an ordinal",
        ),
        (
            pod("exporter-99999"),
            "POD_NAME `exporter-99999` does not end in `-` and an ordinal",
        ),
        (
            host("localhost"),
            "the host name `localhost` does not end in `-` and an ordinal",
        ),
        (
            host("ip-10-0-0-2.ec2.internal"),
            "the host name `ip-10-0-0-2.ec2.internal` ends in two numbers, so it looks like a node name with an IP address",
        ),
        (
            host(""),
            "the host name `` does not end in `-` and an ordinal",
        ),
    ] {
        let message = format!(
            "--shard.total=3 needs a shard index, but {why}; set --shard.index, or set POD_NAME to the name of a StatefulSet pod"
        );
        assert_eq!(of(None, Some(3), &name), Err(message));
    }
}

const REGIONS: [&str; 3] = ["eu-west-1", "eu-central-1", "us-east-1"];

/// The configuration of a scope without its name: credentials, ARNs by region and number, and other keys.
fn scope() -> impl Strategy<Value = String> {
    let credentials = prop::sample::select(vec![
        "",
        ", profile: one",
        ", profile: two",
        ", role_arn: 'arn:aws:iam::111122223333:role/one'",
        ", profile: one, role_arn: 'arn:aws:iam::111122223333:role/two'",
    ]);
    let arns = prop::collection::btree_set((0..REGIONS.len(), 0..40usize), 0..12);
    (
        credentials,
        arns,
        any::<bool>(),
        any::<bool>(),
        any::<bool>(),
    )
        .prop_map(|(credentials, arns, target, list, by_integration)| {
            let mut text = credentials.to_owned();
            if !arns.is_empty() {
                let arns: Vec<String> = arns
                    .iter()
                    .map(|(region, n)| arn(*n).replace("eu-west-1", REGIONS[*region]))
                    .collect();
                text += &format!(", integration_arns: ['{}']", arns.join("', '"));
                if list {
                    text += ", lookup: list";
                }
            }
            // A target without a region is queried in each region of the scope.
            if target || arns.is_empty() {
                text += &format!(", regions: [{}]", REGIONS.join(", "));
            }
            if target {
                text += ", target_arns: ['arn:aws:s3:::lake']";
            }
            if by_integration {
                text += ", shard_by: integration";
            }
            text
        })
}

fn configuration() -> impl Strategy<Value = Vec<ScopeRegion>> {
    prop::collection::vec(scope(), 1..8).prop_map(|scopes| {
        let scopes: Vec<String> = scopes
            .iter()
            .enumerate()
            .map(|(n, scope)| format!("{{name: s{n}{scope}}}"))
            .collect();
        watches(&format!("scopes: [{}]", scopes.join(", ")))
    })
}

fn admits(watch: &ScopeRegion, arn: &str) -> bool {
    watch.selection.matches(&Integration {
        source_arn: String::new(),
        target_arn: String::new(),
        ..integration(arn, Status::Active)
    })
}

/// Returns the integrations that each scope, region and query would return.
fn returned(watches: &[ScopeRegion]) -> BTreeMap<(String, String, Query, String), ()> {
    let mut returned = BTreeMap::new();
    for watch in watches {
        for query in &watch.queries {
            let arns: Vec<String> = match query {
                Query::Integration(arn) => vec![arn.to_string()],
                Query::Target(_) | Query::All => (0..60)
                    .map(|n| arn(n).replace("eu-west-1", watch.region.as_str()))
                    .filter(|arn| admits(watch, arn))
                    .collect(),
            };
            for arn in arns {
                let of = (
                    watch.scope.to_string(),
                    watch.region.to_string(),
                    query.clone(),
                    arn,
                );
                assert!(returned.insert(of, ()).is_none());
            }
        }
    }
    returned
}

fn on(watches: &[ScopeRegion], shard: Shard) -> Vec<ScopeRegion> {
    watches
        .iter()
        .cloned()
        .filter_map(|watch| watch.for_shard(shard))
        .collect()
}

proptest! {
    #![proptest_config(cases(64))]

    #[test]
    fn each_item_is_on_exactly_one_shard(watches in configuration(), total in 1u16..8) {
        let everything = returned(&watches);
        let mut together = BTreeMap::new();
        for shard in shards(total) {
            let part = on(&watches, shard);
            for watch in &part {
                prop_assert!(!watch.queries.is_empty());
            }
            for (of, ()) in returned(&part) {
                prop_assert!(together.insert(of.clone(), ()).is_none(), "{:?} is on two shards", of);
            }
            // A restart must give the same part.
            prop_assert_eq!(&part, &on(&watches, shard));
        }
        prop_assert_eq!(together, everything);
    }

    #[test]
    fn added_shard_moves_nothing_to_old_shards(watches in configuration(), total in 1u16..8) {
        for index in 0..total {
            let before = returned(&on(&watches, shard(index, total)));
            for of in returned(&on(&watches, shard(index, total + 1))).keys() {
                prop_assert!(before.contains_key(of), "{:?} moved to an old shard", of);
            }
        }
    }

    #[test]
    fn same_credentials_stay_on_one_shard(watches in configuration(), total in 2u16..8) {
        for shard in shards(total) {
            let part = on(&watches, shard);
            for watch in part.iter().filter(|watch| watch.shard_by == ShardBy::Scope) {
                for other in watches.iter().filter(|other| other.shard_by == ShardBy::Scope) {
                    if other.region == watch.region && other.credentials == watch.credentials {
                        prop_assert!(part.contains(other));
                    }
                }
            }
        }
    }
}

#[test]
fn both_arn_spellings_are_on_one_shard() {
    let watch_arn = |arn: &str| {
        watches(&format!(
            "scopes: [{{name: lake, shard_by: integration, integration_arns: ['{arn}']}}]"
        ))
    };
    for n in 0..50 {
        let slash = arn(n).replace(":integration:", ":integration/");
        for shard in shards(3) {
            let found = [arn(n), slash.clone()].map(|arn| on(&watch_arn(&arn), shard).len());
            assert_eq!(found[0], found[1]);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn shards_with_same_listing_poll_at_other_times() {
    let all = watches("scopes: [{name: lake, regions: [eu-west-1], shard_by: integration}]");
    let mut asked = Vec::new();
    for shard in shards(3) {
        let part = on(&all, shard);
        let (bench, account) = (Bench::new(&part), FakeAccount::new());
        let start = Instant::now();
        bench.run(&part[0], &account);
        tokio::time::sleep(Duration::from_secs(70)).await;
        let times = account.take_requests();
        // The first poll is at the start on every shard.
        asked.push((times[1].0 - start).as_secs());
    }
    asked.sort_unstable();
    asked.dedup();
    assert_eq!(asked.len(), 3, "{asked:?}");
}

const SINCE: &str = "aws_glue_integration_status_since_timestamp_seconds";

#[tokio::test(start_paused = true)]
async fn state_of_other_shard_total_is_usable() {
    let all = watches(
        "scopes:\n- {name: whole, regions: [eu-west-1, us-east-1]}\n- {name: split, regions: [eu-west-1], shard_by: integration}",
    );
    let account = FakeAccount::new();
    for n in 0..20 {
        account.put(&arn(n), Status::Active);
    }
    let before = Bench::new(&all);
    for watch in &all {
        before.poller(watch, &account).poll().await;
    }
    let stored = before.publisher.stored();
    let times = before.page();
    advance(Duration::from_secs(60)).await;
    account.set(Behaviour::Fail(
        glue_integration_exporter::glue::Reason::Network,
    ));
    let mut shown = 0;
    for shard in shards(3) {
        let part = on(&all, shard);
        let bench = Bench::with_clock(&part, before.clock.clone());
        bench.publisher.restore(stored.clone());
        for watch in &part {
            bench.poller(watch, &account).poll().await;
        }
        let page = bench.page();
        let whole = part
            .iter()
            .any(|watch| watch.scope.as_str() == "whole" && watch.region.as_str() == "eu-west-1");
        for n in 0..20 {
            let owned = whole || shard.owns(&[&arn(n)]);
            assert_eq!(page.status(&arn(n)).is_some(), owned, "{n} on {shard:?}");
            if owned {
                let of = [("integration_arn", &*arn(n))];
                assert_eq!(page.value(SINCE, &of), times.value(SINCE, &of));
            }
            shown += usize::from(owned);
        }
        let scopes = page.find("glue_integration_exporter_scope_up", &[]);
        assert_eq!(scopes.len(), part.len(), "no scope of another shard");
    }
    assert!(shown >= 20);
}
