//! The server with a web configuration: TLS, client certificates, passwords, the rate limit, and changes of its files. Server and
//! clients are in this process and use generated certificates.
mod changes;
mod handshakes;
mod passwords;
mod server;
mod stops;
