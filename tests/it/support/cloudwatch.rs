//! A fake CloudWatch of one account and region. It lists the metrics that it has data for, and answers only if it gets back the same
//! dimensions. Like AWS, it aggregates data points to minutes and divides its answers into pages.

use super::account::Behaviour;
use glue_integration_exporter::glue::cloudwatch::{CloudWatch, Metric, MetricName, MetricSamples};
use glue_integration_exporter::glue::{
    BoxFuture, GlueError, Page, PageRequest, Reason, RequestContext,
};
use std::collections::{BTreeMap, HashMap};
use std::future::pending;
use std::ops::Range;
use std::sync::{Arc, Mutex};
use tokio::time::{Instant, sleep, timeout};

const DAY: i64 = 86_400;
pub const LIST: &str = "ListMetrics";
pub const DATA: &str = "GetMetricData";

#[derive(Default)]
pub struct FakeCloudWatch {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// In the order in which they are listed. The data points have a Unix time in seconds and a value.
    metrics: Vec<(Metric, Vec<(i64, f64)>)>,
    positions: HashMap<Metric, usize>,
    /// By operation, or by operation and first metric: how requests for pages from a number on are handled. The first page has the number 0.
    behaviours: BTreeMap<&'static str, (usize, Behaviour)>,
    /// By the name of the metric.
    failing_metrics: BTreeMap<&'static str, Reason>,
    failing_series: HashMap<Metric, Reason>,
    failing_first_page: Option<Reason>,
    list_page: Option<usize>,
    data_page: Option<usize>,
    panics: bool,
    endless: bool,
    requests: Vec<Request>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    pub at: Instant,
    pub operation: &'static str,
    /// Of the first metric.
    pub name: String,
    pub metrics: usize,
    pub start: i64,
    pub end: i64,
}

/// Returns a metric of a table as the target role emits it.
pub fn table_metric(name: &str, arn: &str, load_type: &str, table: &str) -> Metric {
    metric(
        "AWS/Glue/ZeroETL",
        name,
        &[
            ("integrationArn", arn),
            ("loadType", load_type),
            ("tableName", table),
        ],
    )
}

pub fn metric(namespace: &str, name: &str, dimensions: &[(&str, &str)]) -> Metric {
    let dimensions = dimensions.iter();
    Metric {
        namespace: namespace.to_owned(),
        name: name.parse().unwrap(),
        dimensions: dimensions
            .map(|(name, value)| (name.to_string(), value.to_string()))
            .collect(),
    }
}

impl FakeCloudWatch {
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Adds data points. The time and the value are numbers of seconds, or a count.
    pub fn put(&self, metric: Metric, points: &[(f64, f64)]) {
        let state = &mut *self.state.lock().unwrap();
        let next = state.metrics.len();
        let position = *state.positions.entry(metric.clone()).or_insert(next);
        if position == next {
            state.metrics.push((metric, Vec::new()));
        }
        #[allow(clippy::cast_possible_truncation, reason = "whole seconds")]
        let points = points.iter().map(|(at, value)| (*at as i64, *value));
        state.metrics[position].1.extend(points);
    }

    /// Adds a successful run of a table.
    pub fn succeed(&self, arn: &str, table: &str, at: f64) {
        self.put(
            table_metric("IngestionSucceeded", arn, "cdc", table),
            &[(at, 1.0)],
        );
        let synced = table_metric("LastSyncTimestamp", arn, "cdc", table);
        self.put(synced, &[(at, at - 30.0)]);
    }

    pub fn fail(&self, arn: &str, table: &str, at: f64) {
        self.put(
            table_metric("IngestionFailed", arn, "cdc", table),
            &[(at, 1.0)],
        );
    }

    pub fn clear(&self) {
        let mut state = self.state.lock().unwrap();
        state.metrics.clear();
        state.positions.clear();
    }

    /// Sets how the requests of an operation are handled from now on.
    pub fn set(&self, operation: &'static str, behaviour: Behaviour) {
        self.set_from_page(operation, 0, behaviour);
    }

    pub fn set_from_page(&self, operation: &'static str, page: usize, behaviour: Behaviour) {
        let mut state = self.state.lock().unwrap();
        state.behaviours.insert(operation, (page, behaviour));
    }

    /// From now on, samples of all series of a metric are missing for this reason.
    pub fn fail_metric(&self, name: &'static str, reason: Reason) {
        self.state
            .lock()
            .unwrap()
            .failing_metrics
            .insert(name, reason);
    }

    pub fn fail_series(&self, metric: Metric, reason: Reason) {
        let mut state = self.state.lock().unwrap();
        state.failing_series.insert(metric, reason);
    }

    /// Samples of all series are missing on the first page of each answer.
    pub fn fail_first_page(&self, reason: Reason) {
        self.state.lock().unwrap().failing_first_page = Some(reason);
    }

    /// Answers all requests again.
    pub fn recover(&self) {
        let mut state = self.state.lock().unwrap();
        state.behaviours.clear();
        state.failing_metrics.clear();
        state.failing_series.clear();
        state.failing_first_page = None;
        (state.panics, state.endless) = (false, false);
    }

    /// Sets how many metrics a page of the listing has, and how many samples a page of data.
    pub fn set_pages(&self, metrics: usize, samples: usize) {
        let mut state = self.state.lock().unwrap();
        state.list_page = Some(metrics);
        state.data_page = Some(samples);
    }

    pub fn panic(&self) {
        self.state.lock().unwrap().panics = true;
    }

    /// Every page says that another one follows.
    pub fn never_end(&self) {
        self.state.lock().unwrap().endless = true;
    }

    pub fn take_requests(&self) -> Vec<Request> {
        std::mem::take(&mut self.state.lock().unwrap().requests)
    }

    async fn behave(
        &self,
        request: Request,
        page: usize,
        context: RequestContext<'_>,
    ) -> Result<(), GlueError> {
        let (behaviour, panics) = {
            let mut state = self.state.lock().unwrap();
            let of_metric = format!("{} {}", request.operation, request.name);
            let behaviour = state.behaviours.get(request.operation);
            let behaviour = behaviour.or_else(|| state.behaviours.get(&*of_metric));
            let behaviour = behaviour.cloned();
            state.requests.push(request);
            (behaviour, state.panics)
        };
        assert!(!panics, "CloudWatch was configured to panic");
        let limit = context.deadline.request_timeout();
        let late = || GlueError::new(Reason::Timeout, "CloudWatch hangs");
        match behaviour {
            Some((first, behaviour)) if page >= first => match behaviour {
                Behaviour::Answer => Ok(()),
                Behaviour::Slow(duration) => {
                    timeout(limit, sleep(duration)).await.map_err(|_| late())
                }
                Behaviour::Hang => timeout(limit, pending()).await.map_err(|_| late()),
                Behaviour::Fail(reason) => Err(GlueError::new(reason, "configured to fail")),
            },
            _ => Ok(()),
        }
    }

    async fn list(
        &self,
        name: MetricName,
        request: PageRequest<'_>,
    ) -> Result<Page<Metric>, GlueError> {
        let page = number(request.marker);
        let record = Request {
            at: Instant::now(),
            operation: LIST,
            name: name.as_str().to_owned(),
            metrics: 0,
            start: 0,
            end: 0,
        };
        self.behave(record, page, request.context).await?;
        let state = self.state.lock().unwrap();
        let metrics = state.metrics.iter().map(|(metric, _)| metric);
        let mut listed = metrics.filter(|metric| {
            let namespace = name.namespace().is_none_or(|it| it == metric.namespace);
            namespace && metric.name == name
        });
        let size = state.list_page.unwrap_or(500);
        let items: Vec<Metric> = listed
            .by_ref()
            .skip(page * size)
            .take(size)
            .cloned()
            .collect();
        let more = state.endless || listed.next().is_some();
        Ok(Page {
            marker: more.then(|| (page + 1).to_string()),
            ..Page::last(items)
        })
    }

    async fn samples(
        &self,
        metrics: &[Metric],
        window: Range<i64>,
        request: PageRequest<'_>,
    ) -> Result<Page<MetricSamples>, GlueError> {
        let page = number(request.marker);
        let record = Request {
            at: Instant::now(),
            operation: DATA,
            name: metrics[0].name.as_str().to_owned(),
            metrics: metrics.len(),
            start: window.start,
            end: window.end,
        };
        self.behave(record, page, request.context).await?;
        assert!(metrics.len() <= 500 && window.start < window.end);
        assert!(window.start % 60 == 0 && window.end % 60 == 0);
        assert!(
            window.end - window.start <= 15 * DAY,
            "coarser than minutes"
        );
        let state = self.state.lock().unwrap();
        let size = state.data_page.unwrap_or(100_800);
        let (first, end) = (page * size, (page + 1) * size);
        let mut results = Vec::new();
        let mut position = 0;
        for (index, metric) in metrics.iter().enumerate() {
            let points = state.positions.get(metric).map(|it| &state.metrics[*it].1);
            let points = points.map(Vec::as_slice).unwrap_or_default();
            let samples = aggregate(points, metric.name, window.clone());
            let mut missing = None;
            let count = samples.len();
            if position + count > end {
                missing = Some(Reason::InvalidResponse);
            }
            let first_page = state.failing_first_page.filter(|_| page == 0);
            let of_series = state.failing_series.get(metric).copied();
            let of_name = state.failing_metrics.get(metric.name.as_str()).copied();
            let missing = of_series.or(of_name).or(first_page).or(missing);
            let on_page = samples.into_iter().zip(position..);
            let on_page = on_page.filter(|(_, position)| (first..end).contains(position));
            results.push(MetricSamples {
                index,
                samples: on_page.map(|(sample, _)| sample).collect(),
                missing,
            });
            position += count;
        }
        let more = state.endless || position > end;
        Ok(Page {
            marker: more.then(|| (page + 1).to_string()),
            ..Page::last(results)
        })
    }
}

/// Returns the minutes with data, the newest first.
fn aggregate(points: &[(i64, f64)], name: MetricName, window: Range<i64>) -> Vec<(i64, f64)> {
    let mut minutes: BTreeMap<i64, f64> = BTreeMap::new();
    for (at, value) in points.iter().filter(|(at, _)| window.contains(at)) {
        let minute = minutes.entry(at - at % 60);
        if name.is_count() {
            *minute.or_default() += value;
        } else {
            let so_far = minute.or_insert(f64::MIN);
            *so_far = so_far.max(*value);
        }
    }
    minutes.into_iter().rev().collect()
}

fn number(marker: Option<&str>) -> usize {
    marker.map_or(0, |marker| marker.parse().unwrap())
}

impl CloudWatch for FakeCloudWatch {
    fn metrics<'a>(
        &'a self,
        name: MetricName,
        request: PageRequest<'a>,
    ) -> BoxFuture<'a, Result<Page<Metric>, GlueError>> {
        Box::pin(self.list(name, request))
    }

    fn data<'a>(
        &'a self,
        metrics: &'a [Metric],
        window: Range<i64>,
        request: PageRequest<'a>,
    ) -> BoxFuture<'a, Result<Page<MetricSamples>, GlueError>> {
        Box::pin(self.samples(metrics, window, request))
    }
}
