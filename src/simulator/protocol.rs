//! The protocols of the requests: AWS JSON for Glue, AWS JSON or Smithy RPC v2 CBOR for CloudWatch.

use bytes::Bytes;
use ciborium::Value as Cbor;
use ciborium::tag::Required;
use hyper::http::request::Parts;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize, Serializer};

const CBOR_PATH: &str = "/service/GraniteServiceVersion20100801/operation/";
const CLOUDWATCH_TARGET: &str = "GraniteServiceVersion20100801.";
const GLUE_TARGET: &str = "AWSGlue.";

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    GlueJson,
    CloudWatchJson,
    CloudWatchCbor,
}

/// A time in whole Unix seconds. CBOR marks it with tag 1. Some clients send an integer, others a float.
#[derive(Deserialize)]
#[serde(try_from = "Cbor")]
pub(super) struct EpochSeconds(pub i64);

impl Protocol {
    /// Returns the protocol and the name of the operation, which is empty if the request has none.
    pub fn of(parts: &Parts) -> (Self, &str) {
        let target = parts.headers.get("x-amz-target");
        let target = target.and_then(|target| target.to_str().ok());
        let target = target.unwrap_or_default();
        if let Some(operation) = parts.uri.path().strip_prefix(CBOR_PATH) {
            (Self::CloudWatchCbor, operation)
        } else if let Some(operation) = target.strip_prefix(CLOUDWATCH_TARGET) {
            (Self::CloudWatchJson, operation)
        } else {
            let operation = target.strip_prefix(GLUE_TARGET);
            (Self::GlueJson, operation.unwrap_or_default())
        }
    }

    pub fn content_type(self) -> &'static str {
        match self {
            Self::GlueJson => "application/x-amz-json-1.1",
            Self::CloudWatchJson => "application/x-amz-json-1.0",
            Self::CloudWatchCbor => "application/cbor",
        }
    }

    pub fn parse<T: DeserializeOwned>(self, body: &[u8]) -> Result<T, String> {
        match self {
            Self::CloudWatchCbor => ciborium::from_reader(body).map_err(|error| error.to_string()),
            Self::GlueJson | Self::CloudWatchJson => parse_json(body),
        }
    }

    pub fn serialize(self, value: &impl Serialize) -> Bytes {
        let mut body = Vec::new();
        // Writing to memory does not fail, and all keys are strings.
        let _ = match self {
            Self::CloudWatchCbor => ciborium::into_writer(value, &mut body).ok(),
            Self::GlueJson | Self::CloudWatchJson => serde_json::to_writer(&mut body, value).ok(),
        };
        body.into()
    }
}

pub(super) fn parse_json<T: DeserializeOwned>(body: &[u8]) -> Result<T, String> {
    let mut json = serde_json::Deserializer::from_slice(body);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| error.to_string())?;
    json.end().map_err(|error| error.to_string())?;
    Ok(value)
}

impl TryFrom<Cbor> for EpochSeconds {
    type Error = &'static str;

    fn try_from(value: Cbor) -> Result<Self, Self::Error> {
        #[allow(clippy::cast_possible_truncation, reason = "`as` saturates")]
        let seconds = match value {
            Cbor::Tag(_, value) => return Self::try_from(*value),
            Cbor::Integer(seconds) => i64::try_from(seconds).ok(),
            Cbor::Float(seconds) => Some(seconds as i64),
            _ => None,
        };
        seconds.map(Self).ok_or("expected a time in Unix seconds")
    }
}

impl Serialize for EpochSeconds {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            self.0.serialize(serializer)
        } else {
            Required::<_, 1>(self.0).serialize(serializer)
        }
    }
}
