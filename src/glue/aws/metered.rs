//! The HTTP client of Glue, metered: an attempt that the SDK makes by itself, because the one before failed, waits for the budget like
//! any other request. This is the last place that it passes before the network, and the first that an answer passes, so an answer that
//! is too large to be one is cut off here.

use super::attempts::Attempts;
use aws_sdk_glue::config::{RuntimeComponents, SharedHttpClient};
use aws_smithy_runtime_api::client::connector_metadata::ConnectorMetadata;
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_types::body::SdkBody;
use http_body_util::Limited;

/// In bytes. A page of 100 integrations with 100 errors each, every message as long as it may be, has 21 million.
const LARGEST_ANSWER: usize = 32 << 20;

tokio::task_local! {
    /// The call that the current task is making.
    pub static CALL: Attempts;
}

/// A client whose requests wait for the budget of their call.
#[derive(Debug)]
pub struct Metered(pub SharedHttpClient);

impl HttpClient for Metered {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(MeteredConnector(
            self.0.http_connector(settings, components),
        ))
    }

    fn connector_metadata(&self) -> Option<ConnectorMetadata> {
        self.0.connector_metadata()
    }
}

#[derive(Debug)]
struct MeteredConnector(SharedHttpConnector);

impl HttpConnector for MeteredConnector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let Ok(call) = CALL.try_with(Attempts::clone) else {
            // Not a call of ours.
            return self.0.call(request);
        };
        let connector = self.0.clone();
        HttpConnectorFuture::new(async move {
            call.may_go_out().await;
            let response = connector.call(request).await?;
            Ok(response.map(|body| SdkBody::from_body_1_x(Limited::new(body, LARGEST_ANSWER))))
        })
    }
}
