//! The protocols of the requests: AWS JSON, and Smithy RPC v2 CBOR for CloudWatch.

use super::response::{ResponseBody, whole};
use bytes::Bytes;
use ciborium::Value as Cbor;
use ciborium::tag::Required;
use hyper::http::request::Parts;
use hyper::{Response, StatusCode};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::json;

const CBOR_PATH: &str = "/service/GraniteServiceVersion20100801/operation/";

#[derive(Clone, Copy)]
pub(super) enum Protocol {
    Json,
    Cbor,
}

impl Protocol {
    /// Returns the protocol and the name of the operation, which is empty if the request has none.
    pub fn of(parts: &Parts) -> (Self, &str) {
        if let Some(operation) = parts.uri.path().strip_prefix(CBOR_PATH) {
            return (Self::Cbor, operation);
        }
        let target = parts.headers.get("x-amz-target");
        let target = target.and_then(|target| target.to_str().ok());
        let operation = target.and_then(|target| target.split_once('.'));
        (Self::Json, operation.map_or("", |(_, operation)| operation))
    }

    pub fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/x-amz-json-1.1",
            Self::Cbor => "application/cbor",
        }
    }

    pub fn parse<T: DeserializeOwned>(self, body: &[u8]) -> Result<T, ApiError> {
        let parsed = match self {
            Self::Json => parse_json(body),
            Self::Cbor => ciborium::from_reader(body).map_err(|error| error.to_string()),
        };
        parsed.map_err(|message| ApiError::new("SerializationException", &message))
    }

    pub fn serialize(self, value: &impl Serialize) -> Bytes {
        let mut body = Vec::new();
        // Writing to memory does not fail, and all keys are strings.
        let _ = match self {
            Self::Json => serde_json::to_writer(&mut body, value).ok(),
            Self::Cbor => ciborium::into_writer(value, &mut body).ok(),
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

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    code: String,
    message: String,
}

impl ApiError {
    pub(super) fn new(code: &str, message: &str) -> Self {
        Self {
            code: code.to_owned(),
            message: message.to_owned(),
        }
    }

    /// AWS returns 400 for nearly all errors, even for InternalServerException.
    pub(super) fn response(&self, protocol: Protocol) -> Response<ResponseBody> {
        let status = if self.code.starts_with("InternalService") {
            StatusCode::INTERNAL_SERVER_ERROR
        } else {
            StatusCode::BAD_REQUEST
        };
        let body = protocol.serialize(&json!({"__type": self.code, "Message": self.message}));
        whole(status, protocol.content_type(), body)
    }
}

/// A time in whole Unix seconds. CBOR marks it with tag 1. Some clients send an integer, others a float.
#[derive(Deserialize)]
#[serde(try_from = "Cbor")]
pub(super) struct EpochSeconds(pub i64);

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
