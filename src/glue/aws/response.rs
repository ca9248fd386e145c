//! Validates responses of Glue: the body must have a limited size and contain the list of the operation.

use aws_sdk_glue::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_glue::error::BoxError;
use aws_smithy_runtime_api::client::interceptors::context::{
    AfterDeserializationInterceptorContextRef, BeforeDeserializationInterceptorContextMut,
};
use aws_smithy_types::body::SdkBody;
use bytes::Bytes;
use http_body_util::Limited;
use hyper::body::{Body, Frame, SizeHint};
use memchr::memmem;
use serde::de::IgnoredAny;
use std::collections::BTreeMap;
use std::error::Error;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// A page of 100 integrations with 100 errors each and messages of maximum length has 21 million bytes.
const MAX_BODY_BYTES: usize = 32 << 20;
/// Bounds memory: an object of three bytes takes 300 bytes once parsed. 100,000 integrations with one error each have 300,000 objects.
const MAX_OBJECTS: usize = 500_000;

/// The lists of the two operations, with JSON quotes.
const LISTS: [&str; 2] = ["\"InboundIntegrations\"", "\"Integrations\""];
/// The only other member of a response.
const MARKER: &str = "Marker";
/// Present only on errors.
const ERROR_TYPE: &str = "x-amzn-errortype";

/// Rejects responses that the SDK would parse as an empty list although they are not from Glue, and bodies that are too large.
#[derive(Debug)]
pub struct ResponseCheck;

impl Intercept for ResponseCheck {
    fn name(&self) -> &'static str {
        "ResponseCheck"
    }

    fn modify_before_deserialization(
        &self,
        context: &mut BeforeDeserializationInterceptorContextMut<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let body = context.response_mut().take_body();
        *context.response_mut().body_mut() = SdkBody::from_body_1_x(BodyLimit::new(body));
        Ok(())
    }

    fn read_after_deserialization(
        &self,
        context: &AfterDeserializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if context.output_or_error().is_err() {
            return Ok(());
        }
        let response = context.response();
        if response.headers().get(ERROR_TYPE).is_some()
            || response.body().bytes().is_some_and(has_no_list)
        {
            return Err("the body is not a response of Glue".into());
        }
        Ok(())
    }
}

/// Returns true unless the body is a JSON object that contains a list or nothing but the marker. Catches empty bodies and errors with status 200.
fn has_no_list(body: &[u8]) -> bool {
    // Nearly all responses have a list, so this avoids parsing them twice.
    if LISTS
        .iter()
        .any(|list| memmem::find(body, list.as_bytes()).is_some())
    {
        return false;
    }
    match serde_json::from_slice::<BTreeMap<String, IgnoredAny>>(body) {
        Ok(members) => members.keys().any(|member| member != MARKER),
        Err(_) => true,
    }
}

/// A body that returns an error if it is too large.
struct BodyLimit {
    body: Limited<SdkBody>,
    objects: usize,
}

impl BodyLimit {
    fn new(body: SdkBody) -> Self {
        Self {
            body: Limited::new(body, MAX_BODY_BYTES),
            objects: 0,
        }
    }
}

impl Body for BodyLimit {
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
            // Braces within strings count too, but they are rare.
            self.objects += data.iter().filter(|byte| **byte == b'{').count();
            if self.objects > MAX_OBJECTS {
                let why = format!("the response has more than {MAX_OBJECTS} objects");
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
