//! Asks CloudWatch which tables report, and whether their data may be read.

use crate::arn::canonical_arn;
use crate::clock::Clock;
use crate::glue::cloudwatch::{
    CloudWatch, DataRequest, Metric, MetricsRequest, SamplesStatus, Statistic,
};
use crate::glue::{Cursor, GlueError, Reason, RequestContext};
use std::collections::{BTreeMap, BTreeSet};

const NAMESPACE: &str = "AWS/Glue/ZeroETL";
const METRIC: &str = "IngestionSucceeded";
/// Bounds the memory of a listing that never ends.
const MAX_TABLES: usize = 200_000;
const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;

/// The names of the tables that have reported in the last two weeks, by the canonical ARN of their integration.
pub(super) type Tables = BTreeMap<String, BTreeSet<String>>;

pub(super) async fn tables(
    cloudwatch: &impl CloudWatch,
    context: RequestContext<'_>,
) -> Result<Tables, GlueError> {
    let mut tables = Tables::new();
    let (mut cursor, mut listed) = (Cursor::default(), 0);
    loop {
        let request = MetricsRequest {
            namespace: Some(NAMESPACE),
            name: METRIC,
            marker: cursor.next.as_deref(),
            context,
        };
        let page = cloudwatch.metrics(request).await?;
        let has_next = cursor.advance(&page)?;
        listed += page.items.len();
        if listed > MAX_TABLES {
            let why = format!("CloudWatch lists more than {MAX_TABLES} metrics {METRIC}");
            return Err(GlueError::new(Reason::InvalidResponse, why));
        }
        for metric in page.items {
            let mut dimensions: BTreeMap<_, _> = metric.dimensions.into_iter().collect();
            let table = dimensions.remove("tableName");
            if let (Some(arn), Some(table)) = (dimensions.get("integrationArn"), table) {
                let arn = canonical_arn(arn).into_owned();
                tables.entry(arn).or_default().insert(table);
            }
        }
        if !has_next {
            return Ok(tables);
        }
    }
}

/// Requests a metric that has no samples, because only the permission matters.
pub(super) async fn read_data(
    cloudwatch: &impl CloudWatch,
    context: RequestContext<'_>,
) -> Result<(), GlueError> {
    let metric = Metric {
        namespace: NAMESPACE.to_owned(),
        name: METRIC.to_owned(),
        dimensions: Vec::new(),
    };
    #[allow(clippy::cast_possible_truncation, reason = "`as` saturates")]
    let now = Clock::system().unix_now() as i64;
    let end = now / MINUTE * MINUTE;
    let request = DataRequest {
        metrics: &[(metric, Statistic::Sum)],
        start: end - HOUR,
        end,
        marker: None,
        context,
    };
    let page = cloudwatch.data(request).await?;
    let failed = page.results.iter().find_map(|result| match result.status {
        SamplesStatus::Failed(reason) => Some(reason),
        SamplesStatus::Complete | SamplesStatus::Partial => None,
    });
    failed.map_or(Ok(()), |reason| {
        let why = format!("CloudWatch answered {} for the metric", reason.as_str());
        Err(GlueError::new(reason, why))
    })
}
