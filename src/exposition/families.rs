//! One row per metric of integrations and scopes: its name, help, labels, and the function that generates its samples from the
//! snapshot. The README's table is generated from these rows.
//!
//! The samples do not pass through a `prometheus` registry, whose vectors compare label values only by hash.

use super::chunks::Exported;
use super::text_format::{Metric, MetricType, Samples, count, label};
use crate::arn::Arn;
use crate::clock::{round_to_millis, seconds};
use crate::snapshot::{ExportedIntegration, MetadataLabels, Presence, ScopeState, Status};
use std::collections::BTreeMap;

/// The maximum number of error codes of one integration that have their own series.
const MAX_ERROR_CODES: usize = 20;

/// The first labels of each series of an integration.
pub const IDENTITY: &[&str] = &["aws_account_id", "aws_region", "integration_arn"];
/// The first labels of each series of a scope.
pub const SCOPE: &[&str] = &["scope", "aws_region"];

/// A metric of integrations, configured ARNs or scopes, and its sample generator.
pub struct Family<T> {
    /// Its labels do not include the first labels, which identify the item.
    pub metric: Metric,
    /// Generates the samples of an item: calls back with the label values and the value of each sample.
    generate: fn(&T, Emit<'_>),
}

/// Adds one sample with these label values.
type Emit<'a> = &'a mut dyn FnMut(&[&str], f64);

const fn gauge(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric {
        name,
        kind: MetricType::Gauge,
        labels,
        tagged: false,
        help,
    }
}

/// The age of an integration. It changes between polls, so each scrape writes it.
pub const AGE: Metric = gauge(
    "aws_glue_integration_age_seconds",
    &[],
    "Age of the integration in seconds at the time of the scrape; never below 0.",
);

/// The metric with which queries join the others to get names and ARNs.
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
        "Always 1, labeled with the source and target of the integration as of its last good poll, and with its name and tags if the scope fetches them.",
    )
};

/// The metrics of an integration, except its age.
pub const INTEGRATION: &[Family<ExportedIntegration>] = &[
    Family {
        metric: gauge(
            "aws_glue_integration_continuous_sync",
            &[],
            "1 if the integration syncs continuously, 0 if it is a one-time snapshot, as of its last good poll; absent if AWS does not report it.",
        ),
        generate: |shown, emit| {
            if let Some(continuous) = shown.integration.continuous_sync {
                emit(&[], f64::from(u8::from(continuous)));
            }
        },
    },
    Family {
        metric: gauge(
            "aws_glue_integration_created_timestamp_seconds",
            &[],
            "Unix time in seconds at which the integration was created, as of its last good poll; absent if AWS does not report it.",
        ),
        generate: |shown, emit| {
            if let Some(created) = shown.integration.created {
                emit(&[], created);
            }
        },
    },
    Family {
        metric: gauge(
            "aws_glue_integration_errors",
            &[],
            "Number of errors that AWS lists for the integration, as of its last good poll.",
        ),
        generate: |shown, emit| emit(&[], count(shown.integration.errors.len() as u64)),
    },
    Family {
        metric: gauge(
            "aws_glue_integration_errors_by_code",
            &["error_code"],
            "Number of errors with this code that AWS lists for the integration, as of its last good poll; codes after the first 20 in alphabetical order count as other, errors without a code as none.",
        ),
        generate: errors_by_code,
    },
    Family {
        metric: INFO,
        generate: |shown, emit| {
            let integration = &shown.integration;
            emit(
                &[
                    &shown.labels.name,
                    &integration.source_arn,
                    &integration.target_arn,
                    Arn::split(&integration.source_arn).service,
                    Arn::split(&integration.target_arn).service,
                ],
                1.0,
            );
        },
    },
    Family {
        metric: gauge(
            "aws_glue_integration_refresh_interval_seconds",
            &[],
            "Interval in seconds at which the integration pulls changes, as of its last good poll; absent if AWS does not report it.",
        ),
        generate: |shown, emit| {
            if let Some(interval) = shown.integration.refresh_interval {
                emit(&[], seconds(interval));
            }
        },
    },
    Family {
        metric: gauge(
            "aws_glue_integration_status",
            &["status"],
            "1 for the current status of the integration, 0 for every other status, as of its last good poll; a status that the exporter does not know is UNKNOWN.",
        ),
        generate: |shown, emit| {
            for status in Status::ALL {
                let is = shown.integration.status == status;
                emit(&[status.as_str()], f64::from(u8::from(is)));
            }
        },
    },
    Family {
        metric: gauge(
            "aws_glue_integration_status_since_timestamp_seconds",
            &[],
            "Unix time in seconds at which this exporter first saw the current status of the integration.",
        ),
        generate: |shown, emit| emit(&[], round_to_millis(shown.status_since)),
    },
];

/// The metrics of a configured integration ARN.
pub const PRESENCE: &[Family<Presence>] = &[Family {
    metric: gauge(
        "aws_glue_integration_present",
        &[],
        "1 if the configured integration exists, 0 if AWS answered that it does not, as of its last good poll.",
    ),
    generate: |presence, emit| emit(&[], f64::from(u8::from(presence.present))),
}];

/// The gauges of a scope in a region.
pub const SCOPES: &[Family<ScopeState>] = &[
    Family {
        metric: gauge(
            "glue_integration_exporter_scope_integrations",
            &[],
            "Number of integrations of the scope that are exported.",
        ),
        generate: |scope, emit| {
            if let Some(polled) = &scope.polled {
                emit(&[], count(polled.integrations as u64));
            }
        },
    },
    Family {
        metric: gauge(
            "glue_integration_exporter_scope_interval_seconds",
            &[],
            "Configured interval between polls of the scope in seconds.",
        ),
        generate: |scope, emit| emit(&[], seconds(scope.interval)),
    },
    Family {
        metric: gauge(
            "glue_integration_exporter_scope_last_poll_duration_seconds",
            &[],
            "Duration of the last poll of the scope in seconds.",
        ),
        generate: |scope, emit| {
            if let Some(polled) = &scope.polled {
                emit(&[], seconds(polled.duration));
            }
        },
    },
    Family {
        metric: gauge(
            "glue_integration_exporter_scope_last_success_timestamp_seconds",
            &[],
            "Unix time in seconds at which the last poll of the scope that succeeded for every query ended; 0 if there was none.",
        ),
        generate: |scope, emit| {
            if let Some(polled) = &scope.polled {
                emit(&[], polled.last_success.map_or(0.0, round_to_millis));
            }
        },
    },
    Family {
        metric: gauge(
            "glue_integration_exporter_scope_names_up",
            &[],
            "1 if the last fetch of names and tags for the scope succeeded, otherwise 0; absent before the first fetch and for scopes that do not fetch them.",
        ),
        generate: |scope, emit| {
            if let Some(up) = scope.names_up {
                emit(&[], f64::from(u8::from(up)));
            }
        },
    },
    Family {
        metric: gauge(
            "glue_integration_exporter_scope_stale",
            &[],
            "1 if any data of the scope is older than its last poll, otherwise 0; data that ended after stale_after still counts.",
        ),
        generate: |scope, emit| {
            if let Some(polled) = &scope.polled {
                emit(&[], f64::from(u8::from(polled.stale)));
            }
        },
    },
    Family {
        metric: gauge(
            "glue_integration_exporter_scope_up",
            &[],
            "1 if the last poll of the scope succeeded for every query, otherwise 0.",
        ),
        generate: |scope, emit| {
            if let Some(polled) = &scope.polled {
                emit(&[], f64::from(u8::from(polled.up)));
            }
        },
    },
];

fn errors_by_code(shown: &ExportedIntegration, emit: Emit<'_>) {
    const NO_CODE: &str = "none";
    const OTHER: &str = "other";
    let mut by_code: BTreeMap<&str, usize> = BTreeMap::new();
    for error in &shown.integration.errors {
        *by_code
            .entry(error.code.as_deref().unwrap_or(NO_CODE))
            .or_default() += 1;
    }
    // An AWS code named "none" or "other" shares that series: a second one would be a duplicate.
    let no_code = by_code.remove(NO_CODE).unwrap_or(0);
    let mut other = by_code.remove(OTHER).unwrap_or(0);
    for (index, (code, errors)) in by_code.into_iter().enumerate() {
        if index < MAX_ERROR_CODES {
            emit(&[code], count(errors as u64));
        } else {
            other += errors;
        }
    }
    for (code, errors) in [(NO_CODE, no_code), (OTHER, other)] {
        if errors > 0 {
            emit(&[code], count(errors as u64));
        }
    }
}

/// Returns the identity labels of an integration as text between braces.
pub fn identity(arn: &str) -> String {
    let fields = Arn::split(arn);
    let mut labels = String::with_capacity(arn.len() + 96);
    for (name, value) in IDENTITY.iter().zip([fields.account, fields.region, arn]) {
        label(&mut labels, name, value);
    }
    labels
}

/// Returns the labels of `tag_labels` as text between braces.
pub fn tag_labels(naming: &MetadataLabels) -> String {
    let mut labels = String::new();
    for (name, value) in &naming.tags {
        label(&mut labels, name, value);
    }
    labels
}

/// Returns the labels of a scope as text between braces.
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
    /// Returns the samples of `items`. Each item comes with its identity labels and its tag labels.
    pub fn samples<'a>(&self, items: impl Iterator<Item = (&'a str, &'a str, &'a T)>) -> Samples
    where
        T: 'a,
    {
        let mut samples = Samples::default();
        let mut labels = String::new();
        for (identity, tags, item) in items {
            (self.generate)(item, &mut |values, value| {
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
