//! The two operations of Glue that the exporter calls.

use super::client::{AwsGlue, Call};
use super::convert;
use crate::config::Query;
use crate::glue::{BoxFuture, Described, Glue, GlueError, Operation, Page, PageRequest};
use crate::snapshot::Integration;
use aws_sdk_glue::config::Builder;
use std::collections::BTreeSet;

impl Glue for AwsGlue {
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
            is_for_integration: !query.lists(),
            context: request.context,
        };
        let send = move |keys| async move {
            let client = self.glue().await;
            let call = client
                .describe_inbound_integrations()
                .set_marker(request.marker.map(str::to_owned))
                .set_max_records(request.page_size.map(i32::from));
            let call = match query {
                Query::Integration(arn) => call.integration_arn(arn.as_str()),
                Query::Target(arn) => call.target_arn(arn.as_str()),
                Query::All => call,
            };
            let settings = Builder::new().credentials_provider(keys);
            call.customize().config_override(settings).send().await
        };
        let convert = |output| Ok(convert::page(output));
        Box::pin(self.call(call, send, convert))
    }

    fn metadata_page<'a>(
        &'a self,
        tags: &'a BTreeSet<String>,
        request: PageRequest<'a>,
    ) -> BoxFuture<'a, Result<Page<Described>, GlueError>> {
        let call = Call {
            operation: Operation::DescribeIntegrations,
            attempted: format!("asking AWS Glue in {} for names and tags", self.region),
            is_for_integration: false,
            context: request.context,
        };
        let send = move |keys| async move {
            let client = self.glue().await;
            let call = client
                .describe_integrations()
                .set_marker(request.marker.map(str::to_owned))
                .set_max_records(request.page_size.map(i32::from));
            let settings = Builder::new().credentials_provider(keys);
            call.customize().config_override(settings).send().await
        };
        let convert = |output| Ok(convert::metadata_page(output, tags));
        Box::pin(self.call(call, send, convert))
    }
}
