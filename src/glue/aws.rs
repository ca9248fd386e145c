//! The implementation of `Glue` and `CloudWatch` with the AWS SDK. Only this module uses the `aws_*` crates.

mod classify;
mod client;
mod cloudwatch;
mod convert;
mod credential_process;
mod credentials;
mod endpoint;
mod http_client;
mod identity;
mod message;
mod network;
mod operations;
mod profiles;
mod proxy;
mod resolver;
mod response;
mod sdk;

pub use client::AwsGlue;
pub use credential_process::kill_all as kill_credential_processes;
pub use credentials::environment_key_errors;
pub use endpoint::SERVICES;
pub use identity::IdentityError;
pub use network::Network;
pub use profiles::{default_region, endpoint_error, profile_error};
pub use sdk::Sdk;
