//! Checks that every metric of a PromQL query exists and has each label that the query matches, groups by or joins on.

use glue_integration_exporter::exposition;
use glue_integration_exporter::exposition::text_format::MetricType;
use promql_parser::label::Matchers;
use promql_parser::parser::{
    self, AggregateExpr, BinModifier, BinaryExpr, Call, Expr, LabelModifier,
    VectorMatchCardinality, VectorSelector, token,
};
use std::collections::{BTreeMap, BTreeSet};

pub type Labels = BTreeSet<String>;

/// The labels that Prometheus adds to each series.
const TARGET: &[&str] = &["job", "instance"];
const INTEGRATION: &[&str] = &["aws_account_id", "aws_region", "integration_arn"];
/// The series of Prometheus itself and those of the recording rules.
const OTHERS: &[(&str, &[&[&str]])] = &[
    ("up", &[TARGET]),
    ("scrape_duration_seconds", &[TARGET]),
    (
        "integration:aws_glue_integration_info:one",
        &[
            INTEGRATION,
            &["integration_name", "source_arn", "target_arn"],
        ],
    ),
    (
        "integration:glue_max_data_age_seconds:one",
        &[
            INTEGRATION,
            &["integration_name", "source_arn", "target_arn"],
        ],
    ),
    (
        "integration:aws_glue_integration_status:max",
        &[INTEGRATION, &["status"]],
    ),
    (
        "integration:aws_glue_integration_status_duration_seconds:min",
        &[INTEGRATION],
    ),
];

/// Every series that a query may use, with its labels.
pub struct Series(BTreeMap<String, Labels>);

impl Series {
    pub fn known() -> Self {
        let mut known = BTreeMap::new();
        let owned =
            |labels: &[&str]| -> Labels { labels.iter().map(|&label| label.to_owned()).collect() };
        for (metric, labels) in exposition::metrics() {
            let labels = owned(&[&labels, TARGET].concat());
            if matches!(metric.kind, MetricType::Histogram) {
                let mut bucket = labels.clone();
                bucket.insert("le".to_owned());
                known.insert(format!("{}_bucket", metric.name), bucket);
                known.insert(format!("{}_sum", metric.name), labels.clone());
                known.insert(format!("{}_count", metric.name), labels);
            } else {
                known.insert(metric.name.to_owned(), labels);
            }
        }
        for (name, labels) in OTHERS {
            known.insert((*name).to_owned(), owned(&labels.concat()));
        }
        Self(known)
    }

    /// Returns the labels of a series.
    pub fn labels(&self, name: &str) -> Result<&Labels, String> {
        let labels = self.0.get(name);
        labels.ok_or_else(|| format!("there is no metric {name}"))
    }

    /// Returns the names of the series of recording rules.
    pub fn recorded(&self) -> Vec<&str> {
        let names = self.0.keys().map(String::as_str);
        names.filter(|name| name.contains(':')).collect()
    }

    /// Returns the labels that the result of a query may have, or the error in the query.
    pub fn check(&self, query: &str) -> Result<Labels, String> {
        let parsed = parser::parse(query)?;
        let labels = self.of(&parsed)?;
        Ok(labels.unwrap_or_default())
    }

    /// Returns `None` for a number or a text, which have no labels.
    fn of(&self, expr: &Expr) -> Result<Option<Labels>, String> {
        match expr {
            Expr::NumberLiteral(_) | Expr::StringLiteral(_) => Ok(None),
            Expr::VectorSelector(selector) => self.selected(selector).map(Some),
            Expr::MatrixSelector(matrix) => self.selected(&matrix.vs).map(Some),
            Expr::Paren(paren) => self.of(&paren.expr),
            Expr::Unary(unary) => self.of(&unary.expr),
            Expr::Subquery(subquery) => self.of(&subquery.expr),
            Expr::Call(call) => self.called(call),
            Expr::Aggregate(aggregate) => self.aggregated(aggregate).map(Some),
            Expr::Binary(binary) => self.combined(binary),
            Expr::Extension(_) => Err("extensions are not supported".to_owned()),
        }
    }

    fn selected(&self, selector: &VectorSelector) -> Result<Labels, String> {
        let name = selector.name.as_ref();
        let name = name.ok_or("a selector must name its metric")?;
        let labels = self.labels(name)?;
        let Matchers {
            matchers,
            or_matchers,
        } = &selector.matchers;
        for matcher in matchers.iter().chain(or_matchers.iter().flatten()) {
            has(labels, &matcher.name, name)?;
        }
        Ok(labels.clone())
    }

    fn called(&self, call: &Call) -> Result<Option<Labels>, String> {
        let mut labels = None;
        for arg in &call.args.args {
            labels = labels.or(self.of(arg)?);
        }
        match call.func.name {
            "absent" | "absent_over_time" | "vector" => Ok(Some(Labels::new())),
            "scalar" | "time" => Ok(None),
            "histogram_quantile" => {
                let mut labels = labels.unwrap_or_default();
                if !labels.remove("le") {
                    return Err("histogram_quantile needs the label le".to_owned());
                }
                Ok(Some(labels))
            }
            "label_replace" => {
                let mut labels = labels.unwrap_or_default();
                let source = text(call, 3)?;
                if !source.is_empty() {
                    has(&labels, source, "the argument of label_replace")?;
                }
                labels.insert(text(call, 1)?.to_owned());
                Ok(Some(labels))
            }
            "label_join" => Err("label_join is not supported".to_owned()),
            _ => Ok(labels),
        }
    }

    fn aggregated(&self, aggregate: &AggregateExpr) -> Result<Labels, String> {
        let inner = self.of(&aggregate.expr)?.unwrap_or_default();
        let grouped = match &aggregate.modifier {
            None => Labels::new(),
            Some(LabelModifier::Include(by)) => {
                let by: Labels = by.labels.iter().cloned().collect();
                for label in &by {
                    has(&inner, label, "the aggregated expression")?;
                }
                by
            }
            Some(LabelModifier::Exclude(without)) => {
                let mut left = inner.clone();
                for label in &without.labels {
                    has(&inner, label, "the aggregated expression")?;
                    left.remove(label);
                }
                left
            }
        };
        // These operators select series and keep their labels.
        let selecting = [
            token::T_TOPK,
            token::T_BOTTOMK,
            token::T_LIMITK,
            token::T_LIMIT_RATIO,
        ];
        Ok(if selecting.contains(&aggregate.op.id()) {
            inner
        } else {
            grouped
        })
    }

    fn combined(&self, binary: &BinaryExpr) -> Result<Option<Labels>, String> {
        let (left, right) = match (self.of(&binary.lhs)?, self.of(&binary.rhs)?) {
            (Some(left), Some(right)) => (left, right),
            (left, right) => return Ok(left.or(right)),
        };
        let none = BinModifier::default();
        let modifier = binary.modifier.as_ref().unwrap_or(&none);
        if let Some(LabelModifier::Include(on)) = &modifier.matching {
            for label in &on.labels {
                has(&left, label, "the left side")?;
                has(&right, label, "the right side")?;
            }
        }
        if let Some(LabelModifier::Exclude(ignoring)) = &modifier.matching {
            let both = left.union(&right).cloned().collect();
            for label in &ignoring.labels {
                has(&both, label, "either side")?;
            }
        }
        let joined = |many: Labels, one: &Labels, included: &[String]| {
            let mut labels = many;
            for label in included {
                has(one, label, "the side of the one")?;
                labels.insert(label.clone());
            }
            Ok(Some(labels))
        };
        match (&modifier.card, &modifier.matching) {
            (VectorMatchCardinality::ManyToOne(brought), _) => {
                joined(left, &right, &brought.labels)
            }
            (VectorMatchCardinality::OneToMany(brought), _) => {
                joined(right, &left, &brought.labels)
            }
            (VectorMatchCardinality::ManyToMany, _) if binary.op.id() == token::T_LOR => {
                Ok(Some(left.union(&right).cloned().collect()))
            }
            (VectorMatchCardinality::ManyToMany, _) => Ok(Some(left)),
            (VectorMatchCardinality::OneToOne, None) => {
                // Without `on` both sides must have the same labels, or nothing matches.
                if left != right {
                    return Err(format!("{left:?} are matched with {right:?}"));
                }
                Ok(Some(left))
            }
            (VectorMatchCardinality::OneToOne, Some(LabelModifier::Include(on))) => {
                Ok(Some(on.labels.iter().cloned().collect()))
            }
            (VectorMatchCardinality::OneToOne, Some(LabelModifier::Exclude(ignoring))) => {
                let left = left.into_iter();
                Ok(Some(
                    left.filter(|label| !ignoring.labels.contains(label))
                        .collect(),
                ))
            }
        }
    }
}

/// Returns a text argument.
fn text(call: &Call, position: usize) -> Result<&str, String> {
    match call.args.args.get(position).map(AsRef::as_ref) {
        Some(Expr::StringLiteral(text)) => Ok(&text.val),
        _ => Err(format!(
            "{} needs a text as argument {position}",
            call.func.name
        )),
    }
}

/// Checks that `labels` contains `label`.
///
/// # Errors
/// If it does not.
pub fn has(labels: &Labels, label: &str, of: &str) -> Result<(), String> {
    if labels.contains(label) {
        return Ok(());
    }
    Err(format!("{of} has no label {label}, but {labels:?}"))
}
