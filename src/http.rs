//! The HTTP server and its routes, and the client of `health`. It knows nothing of AWS.

pub(crate) mod client;
mod connection;
mod connections;
mod documents;
pub mod negotiate;
mod response;
pub mod routes;
mod server;
mod shared_responses;
mod tls;

pub use connection::Limits;
pub use server::serve;
