//! One row per metric of integrations and scopes: name, help, labels, and how its samples follow from the snapshot. The README's
//! table is made from these rows. They are written from the immutable snapshot; none passes through a registry of vectors, where
//! label values are compared by a hash alone.

use super::chunks::Exported;
use super::text_format::{Metric, MetricType, Samples, count, label};
use crate::clock::{round_to_millis, seconds};
use crate::snapshot::{
    ArnFields, ExportedIntegration, MetadataLabels, Presence, ScopeState, Status,
};
use std::collections::BTreeMap;

/// How many different error codes of one integration have a row of their own.
const MOST_ERROR_CODES: usize = 20;

/// The labels that each series of an integration begins with.
pub const IDENTITY: &[&str] = &["aws_account_id", "aws_region", "integration_arn"];
/// The labels that each series of a scope begins with.
pub const SCOPE: &[&str] = &["scope", "aws_region"];

/// A metric of integrations, configured ARNs or scopes, and how one of these becomes samples.
pub struct Family<T> {
    /// Its labels are those behind the ones that identify the thing.
    pub metric: Metric,
    /// Calls back for each sample with the values of these labels, and the sample's value.
    of: fn(&T, Row<'_>),
}

/// Writes one sample.
type Row<'a> = &'a mut dyn FnMut(&[&str], f64);

const fn gauge(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric {
        name,
        kind: MetricType::Gauge,
        labels,
        tagged: false,
        help,
    }
}

/// The age is the one value that changes between two polls: its row is filled in by each scrape.
pub const AGE: Metric = gauge(
    "aws_glue_integration_age_seconds",
    &[],
    "Time since the integration was created, at the moment of the scrape; never below 0.",
);

/// What people know an integration by: other metrics are joined with it.
const INFO: Metric = Metric {
    tagged: true,
    ..gauge(
        "aws_glue_integration_info",
        &[
            "integration_name",
            "source_arn",
            "target_arn",
            "source_service",
            "target_service",
        ],
        "What the integration connects, as of the last good poll, and its name and tags where they are asked for; always 1.",
    )
};

/// The metrics of an integration, but for its age.
pub const INTEGRATION: &[Family<ExportedIntegration>] = &[
    Family {
        metric: gauge(
            "aws_glue_integration_continuous_sync",
            &[],
            "Whether the integration syncs continuously (1) or is a one-time snapshot (0), as of the last good poll; absent when AWS does not say.",
        ),
        of: |shown, row| {
            if let Some(continuous) = shown.integration.continuous_sync {
                row(&[], f64::from(u8::from(continuous)));
            }
        },
    },
    Family {
        metric: gauge(
            "aws_glue_integration_created_timestamp_seconds",
            &[],
            "When the integration was created, in Unix time, as of the last good poll; absent when AWS does not say.",
        ),
        of: |shown, row| {
            if let Some(created) = shown.integration.created {
                row(&[], created);
            }
        },
    },
    Family {
        metric: gauge(
            "aws_glue_integration_errors",
            &[],
            "How many errors AWS lists for the integration, as of the last good poll.",
        ),
        of: |shown, row| row(&[], count(shown.integration.errors.len() as u64)),
    },
    Family {
        metric: gauge(
            "aws_glue_integration_errors_by_code",
            &["error_code"],
            "How many errors with this code AWS lists for the integration, as of the last good poll: the first 20 codes in alphabetical order, the rest as other, those without a code as none.",
        ),
        of: errors_by_code,
    },
    Family {
        metric: INFO,
        of: |shown, row| {
            let integration = &shown.integration;
            row(
                &[
                    &shown.labels.name,
                    &integration.source_arn,
                    &integration.target_arn,
                    ArnFields::of(&integration.source_arn).service,
                    ArnFields::of(&integration.target_arn).service,
                ],
                1.0,
            );
        },
    },
    Family {
        metric: gauge(
            "aws_glue_integration_refresh_interval_seconds",
            &[],
            "How often the integration pulls changes, as of the last good poll; absent when AWS does not say.",
        ),
        of: |shown, row| {
            if let Some(interval) = shown.integration.refresh_interval {
                row(&[], seconds(interval));
            }
        },
    },
    Family {
        metric: gauge(
            "aws_glue_integration_status",
            &["status"],
            "Whether the integration has this status (1) or another (0), as of the last good poll; a status that is not among the known ones is UNKNOWN.",
        ),
        of: |shown, row| {
            for status in Status::ALL {
                let is = shown.integration.status == status;
                row(&[status.as_str()], f64::from(u8::from(is)));
            }
        },
    },
    Family {
        metric: gauge(
            "aws_glue_integration_status_since_timestamp_seconds",
            &[],
            "When this exporter first saw the present status of the integration, in Unix time.",
        ),
        of: |shown, row| row(&[], round_to_millis(shown.status_since)),
    },
];

/// The metrics of a configured integration ARN.
pub const PRESENCE: &[Family<Presence>] = &[Family {
    metric: gauge(
        "aws_glue_integration_present",
        &[],
        "Whether the configured integration exists (1) or AWS answered that it does not (0), as of the last good poll.",
    ),
    of: |presence, row| row(&[], f64::from(u8::from(presence.present))),
}];

/// The gauges of a scope in a region.
pub const SCOPES: &[Family<ScopeState>] = &[
    Family {
        metric: gauge(
            "glue_integration_exporter_scope_integrations",
            &[],
            "How many integrations of the scope are shown.",
        ),
        of: |scope, row| {
            if let Some(polled) = &scope.polled {
                row(&[], count(polled.integrations as u64));
            }
        },
    },
    Family {
        metric: gauge(
            "glue_integration_exporter_scope_interval_seconds",
            &[],
            "The configured time between two polls of the scope.",
        ),
        of: |scope, row| row(&[], seconds(scope.interval)),
    },
    Family {
        metric: gauge(
            "glue_integration_exporter_scope_last_poll_duration_seconds",
            &[],
            "How long the last poll of the scope took.",
        ),
        of: |scope, row| {
            if let Some(polled) = &scope.polled {
                row(&[], seconds(polled.duration));
            }
        },
    },
    Family {
        metric: gauge(
            "glue_integration_exporter_scope_last_success_timestamp_seconds",
            &[],
            "When the last poll of the scope that got everything ended, in Unix time; 0 if there was none.",
        ),
        of: |scope, row| {
            if let Some(polled) = &scope.polled {
                row(&[], polled.last_success.map_or(0.0, round_to_millis));
            }
        },
    },
    Family {
        metric: gauge(
            "glue_integration_exporter_scope_names_up",
            &[],
            "Whether names and tags were had when AWS was last asked for them (1) or not (0); absent where the scope does not ask, and until it has.",
        ),
        of: |scope, row| {
            if let Some(up) = scope.names_up {
                row(&[], f64::from(u8::from(up)));
            }
        },
    },
    Family {
        metric: gauge(
            "glue_integration_exporter_scope_stale",
            &[],
            "Whether anything of the scope is, or would be but for stale_after, from an earlier poll than the last (1), or nothing is (0).",
        ),
        of: |scope, row| {
            if let Some(polled) = &scope.polled {
                row(&[], f64::from(u8::from(polled.stale)));
            }
        },
    },
    Family {
        metric: gauge(
            "glue_integration_exporter_scope_up",
            &[],
            "Whether the last poll of the scope got everything (1) or not (0).",
        ),
        of: |scope, row| {
            if let Some(polled) = &scope.polled {
                row(&[], f64::from(u8::from(polled.up)));
            }
        },
    },
];

fn errors_by_code(shown: &ExportedIntegration, row: Row<'_>) {
    const WITHOUT: &str = "none";
    const REST: &str = "other";
    let mut by_code: BTreeMap<&str, usize> = BTreeMap::new();
    for error in &shown.integration.errors {
        *by_code
            .entry(error.code.as_deref().unwrap_or(WITHOUT))
            .or_default() += 1;
    }
    // A code of AWS that is spelled like one of these two shares its row: two rows would be one series with two values.
    let without = by_code.remove(WITHOUT).unwrap_or(0);
    let mut rest = by_code.remove(REST).unwrap_or(0);
    for (place, (code, errors)) in by_code.into_iter().enumerate() {
        if place < MOST_ERROR_CODES {
            row(&[code], count(errors as u64));
        } else {
            rest += errors;
        }
    }
    for (code, errors) in [(WITHOUT, without), (REST, rest)] {
        if errors > 0 {
            row(&[code], count(errors as u64));
        }
    }
}

/// The identity labels of an integration, as they stand in the braces.
pub fn identity(arn: &str) -> String {
    let fields = ArnFields::of(arn);
    let mut labels = String::with_capacity(arn.len() + 96);
    for (name, value) in IDENTITY.iter().zip([fields.account, fields.region, arn]) {
        label(&mut labels, name, value);
    }
    labels
}

/// The labels that the configuration adds, as they stand behind others in the braces.
pub fn tag_labels(naming: &MetadataLabels) -> String {
    let mut labels = String::new();
    for (name, value) in &naming.tags {
        label(&mut labels, name, value);
    }
    labels
}

/// The labels of a scope, as they stand in the braces.
pub fn scope_labels(scope: &ScopeState) -> String {
    let mut labels = String::new();
    label(&mut labels, SCOPE[0], &scope.scope);
    label(&mut labels, SCOPE[1], &scope.region);
    labels
}

impl Exported for ExportedIntegration {
    const FAMILIES: &'static [Family<Self>] = INTEGRATION;

    fn arn(&self) -> &str {
        &self.integration.arn
    }

    fn created(&self) -> Option<f64> {
        self.integration.created
    }

    fn tags(&self) -> String {
        tag_labels(&self.labels)
    }
}

impl Exported for Presence {
    const FAMILIES: &'static [Family<Self>] = PRESENCE;

    fn arn(&self) -> &str {
        &self.arn
    }

    fn created(&self) -> Option<f64> {
        None
    }

    fn tags(&self) -> String {
        String::new()
    }
}

impl<T> Family<T> {
    /// The samples of `items`, which come with their identifying labels and those of their tags.
    pub fn samples<'a>(&self, items: impl Iterator<Item = (&'a str, &'a str, &'a T)>) -> Samples
    where
        T: 'a,
    {
        let mut samples = Samples::default();
        let mut labels = String::new();
        for (identity, tags, thing) in items {
            (self.of)(thing, &mut |values, value| {
                if values.is_empty() {
                    samples.add(self.metric.name, identity, value);
                } else {
                    labels.clear();
                    labels.push_str(identity);
                    for (name, value) in self.metric.labels.iter().zip(values) {
                        label(&mut labels, name, value);
                    }
                    if self.metric.tagged && !tags.is_empty() {
                        labels.extend([",", tags]);
                    }
                    samples.add(self.metric.name, &labels, value);
                }
            });
        }
        samples
    }
}
