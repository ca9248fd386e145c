//! The two operations of Glue that the exporter calls.

use super::client::{AwsGlue, Call};
use super::{classify, convert};
use crate::config::Query;
use crate::glue::{BoxFuture, Described, Glue, GlueError, Operation, Page, PageRequest};
use crate::snapshot::Integration;
use aws_sdk_glue::operation::describe_inbound_integrations::DescribeInboundIntegrationsError;
use aws_sdk_glue::operation::describe_integrations::DescribeIntegrationsError;
use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

impl Glue for AwsGlue {
    fn max_concurrent_requests(&self) -> usize {
        self.max_concurrent_requests.load(Ordering::Relaxed)
    }

    fn page<'a>(
        &'a self,
        query: &'a Query,
        request: PageRequest<'a>,
    ) -> BoxFuture<'a, Result<Page<Integration>, GlueError>> {
        let region = &self.region;
        let call = Call {
            operation: Operation::DescribeInboundIntegrations,
            attempted: match query {
                Query::Integration(arn) => format!("asking AWS Glue in {region} for {arn}"),
                Query::Target(arn) => {
                    format!("asking AWS Glue in {region} for the integrations that write to {arn}")
                }
                Query::All => format!("asking AWS Glue in {region} for all inbound integrations"),
            },
            context: request.context,
        };
        let is_answer = move |error: &DescribeInboundIntegrationsError| {
            query.integration().is_some() && classify::is_not_found(error)
        };
        let answer = self.call(call, is_answer, move |client, settings| {
            let call = client
                .describe_inbound_integrations()
                .set_marker(request.marker.map(str::to_owned))
                .set_max_records(request.page_size.map(i32::from));
            let call = match query {
                Query::Integration(arn) => call.integration_arn(arn.as_str()),
                Query::Target(arn) => call.target_arn(arn.as_str()),
                Query::All => call,
            };
            call.customize().config_override(settings).send()
        });
        Box::pin(async {
            let not_found = || Page::last(Vec::new());
            Ok(answer.await?.map_or_else(not_found, convert::page))
        })
    }

    fn metadata_page<'a>(
        &'a self,
        tags: &'a BTreeSet<String>,
        request: PageRequest<'a>,
    ) -> BoxFuture<'a, Result<Page<Described>, GlueError>> {
        let call = Call {
            operation: Operation::DescribeIntegrations,
            attempted: format!("asking AWS Glue in {} for names and tags", self.region),
            context: request.context,
        };
        let is_answer = |_: &DescribeIntegrationsError| false;
        let answer = self.call(call, is_answer, move |client, settings| {
            let call = client
                .describe_integrations()
                .set_marker(request.marker.map(str::to_owned))
                .set_max_records(request.page_size.map(i32::from));
            call.customize().config_override(settings).send()
        });
        Box::pin(async move {
            let not_found = || Page::last(Vec::new());
            let convert = |output| convert::metadata_page(output, tags);
            Ok(answer.await?.map_or_else(not_found, convert))
        })
    }
}
