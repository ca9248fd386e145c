//! The protocols of the requests: AWS JSON for Glue, AWS JSON or Smithy RPC v2 CBOR for CloudWatch.

use bytes::Bytes;
use ciborium::Value as Cbor;
use ciborium::tag::Required;
use hyper::http::request::Parts;
use serde::de::DeserializeOwned;
use serde::{Serialize, Serializer};
use serde_json::Value;

const CBOR_PATH: &str = "/service/GraniteServiceVersion20100801/operation/";
const CLOUDWATCH_TARGET: &str = "GraniteServiceVersion20100801.";
const GLUE_TARGET: &str = "AWSGlue.";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    GlueJson,
    CloudWatchJson,
    CloudWatchCbor,
}

/// A time in whole Unix seconds. CBOR marks it with tag 1.
pub(super) struct EpochSeconds(pub i64);

impl Protocol {
    /// Returns the protocol and the name of the operation, which is empty if the request has none.
    pub fn of(parts: &Parts) -> (Self, &str) {
        if let Some(operation) = parts.uri.path().strip_prefix(CBOR_PATH) {
            return (Self::CloudWatchCbor, operation);
        }
        let target = parts.headers.get("x-amz-target");
        let target = target.and_then(|target| target.to_str().ok());
        let target = target.unwrap_or_default();
        match target.strip_prefix(CLOUDWATCH_TARGET) {
            Some(operation) => (Self::CloudWatchJson, operation),
            None => {
                let operation = target.strip_prefix(GLUE_TARGET);
                (Self::GlueJson, operation.unwrap_or_default())
            }
        }
    }

    pub fn content_type(self) -> &'static str {
        match self {
            Self::GlueJson => "application/x-amz-json-1.1",
            Self::CloudWatchJson => "application/x-amz-json-1.0",
            Self::CloudWatchCbor => "application/cbor",
        }
    }

    /// The service in the credential scope of a signature.
    pub fn signing_name(self) -> &'static str {
        match self {
            Self::GlueJson => "glue",
            Self::CloudWatchJson | Self::CloudWatchCbor => "monitoring",
        }
    }

    /// CBOR is converted to JSON, so an input is read the same way in each protocol.
    pub fn parse<T: DeserializeOwned>(self, body: &[u8]) -> Result<T, String> {
        if self != Self::CloudWatchCbor {
            return parse_json(body);
        }
        let cbor = ciborium::from_reader(body).map_err(|error| error.to_string())?;
        let json = to_json(cbor).ok_or("CBOR with values that no member has")?;
        serde_path_to_error::deserialize(json).map_err(|error| error.to_string())
    }

    pub fn serialize(self, value: &impl Serialize) -> Bytes {
        // Writing to memory does not fail, and all keys are strings.
        let body = match self {
            Self::CloudWatchCbor => {
                let mut body = Vec::new();
                let _ = ciborium::into_writer(value, &mut body);
                body
            }
            Self::GlueJson | Self::CloudWatchJson => serde_json::to_vec(value).unwrap_or_default(),
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

/// Drops the tags. Only times have one, and their member says that they are times.
fn to_json(value: Cbor) -> Option<Value> {
    Some(match value {
        Cbor::Null => Value::Null,
        Cbor::Bool(value) => value.into(),
        Cbor::Integer(value) => i64::try_from(value).ok()?.into(),
        Cbor::Float(value) => value.into(),
        Cbor::Text(value) => value.into(),
        Cbor::Tag(_, value) => to_json(*value)?,
        Cbor::Array(items) => items.into_iter().map(to_json).collect::<Option<_>>()?,
        Cbor::Map(members) => {
            let member = |(key, value): (Cbor, _)| Some((key.into_text().ok()?, to_json(value)?));
            Value::Object(members.into_iter().map(member).collect::<Option<_>>()?)
        }
        _ => return None,
    })
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
