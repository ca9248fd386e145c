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
use bytes::Bytes;
use http_body_util::Limited;
use hyper::body::{Body, Frame, SizeHint};
use std::error::Error;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// In bytes. A page of 100 integrations with 100 errors each, every message as long as it may be, has 21 million.
const LARGEST_ANSWER: usize = 32 << 20;
/// An object of three bytes takes 300 when it is read. A page of 100,000 integrations with an error each has 300,000.
const MOST_OBJECTS: usize = 500_000;

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
            Ok(response.map(|body| SdkBody::from_body_1_x(Bounded::new(body))))
        })
    }
}

/// A body that breaks off when it is too much to be kept.
struct Bounded {
    body: Limited<SdkBody>,
    objects: usize,
}

impl Bounded {
    fn new(body: SdkBody) -> Self {
        Self {
            body: Limited::new(body, LARGEST_ANSWER),
            objects: 0,
        }
    }
}

impl Body for Bounded {
    type Data = Bytes;
    type Error = Box<dyn Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
        {
            // Those within a text count too: nearly none has any.
            self.objects += data.iter().filter(|byte| **byte == b'{').count();
            if self.objects > MOST_OBJECTS {
                let why = format!("the answer has more than {MOST_OBJECTS} objects");
                return Poll::Ready(Some(Err(why.into())));
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
