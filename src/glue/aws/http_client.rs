//! The HTTP clients for all requests to AWS: choose the proxy and the trusted CA certificates, and limit the size of responses with credentials.

use super::network::{CaBundle, Network};
use super::proxy::{Proxies, Route};
use super::resolver::Resolver;
use aws_sdk_glue::config::{RuntimeComponents, SharedHttpClient};
use aws_smithy_http_client::Connector;
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::{self, TlsContext, TrustStore};
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_types::body::SdkBody;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use parking_lot::RwLock;
use std::collections::HashMap;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

/// Shorter than the idle time after which a load balancer may drop a connection silently, so that no request uses a dead connection.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(20);
/// Maximum size of a response with credentials. They are a few thousand bytes long.
pub const MAX_CREDENTIALS_BYTES: usize = 1 << 20;

/// The HTTP clients, one for each CA bundle. Scopes with the same CA bundle share connections.
#[derive(Clone, Debug)]
pub struct HttpClients(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    proxies: Proxies,
    max_idle: usize,
    resolver: Resolver,
    /// Trusts the system's CA certificates.
    default: Routes,
    /// The clients of the profiles with a CA bundle.
    by_profile: RwLock<HashMap<Option<String>, (CaBundle, Routes)>>,
}

impl HttpClients {
    /// Creates clients that keep up to `max_idle` idle connections to each host.
    pub fn new(network: Network, max_idle: usize) -> Self {
        let resolver = Resolver::default();
        let default = Routes::new(&network.proxies, None, max_idle, &resolver);
        let clients = Self(Arc::new(Shared {
            proxies: network.proxies,
            max_idle,
            resolver,
            default,
            by_profile: RwLock::default(),
        }));
        clients.trust(network.bundles);
        clients
    }

    /// Replaces the CA bundles. If the bundle of a profile changed, its next request opens a new connection.
    pub fn trust(&self, bundles: HashMap<Option<String>, CaBundle>) {
        let shared = &self.0;
        let mut by_profile = shared.by_profile.write();
        let mut clients: HashMap<CaBundle, Routes> =
            by_profile.drain().map(|(_, kept)| kept).collect();
        by_profile.extend(bundles.into_iter().map(|(profile, bundle)| {
            let routes = clients.entry(bundle.clone()).or_insert_with(|| {
                Routes::new(
                    &shared.proxies,
                    Some(&bundle),
                    shared.max_idle,
                    &shared.resolver,
                )
            });
            (profile, (bundle, routes.clone()))
        }));
    }

    /// Returns the client for the scopes with this profile.
    pub fn of_profile(&self, profile: Option<&str>) -> SharedHttpClient {
        SharedHttpClient::new(ProfileClient {
            clients: self.clone(),
            profile: profile.map(str::to_owned),
        })
    }
}

/// Looks up the CA bundle for each request, so that a client that a reload keeps takes a changed bundle.
#[derive(Debug)]
struct ProfileClient {
    clients: HttpClients,
    profile: Option<String>,
}

impl HttpClient for ProfileClient {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        let shared = &self.clients.0;
        let by_profile = shared.by_profile.read();
        let routes = by_profile
            .get(&self.profile)
            .map_or(&shared.default, |(_, routes)| routes);
        let connector = |client: &SharedHttpClient| client.http_connector(settings, components);
        SharedHttpConnector::new(RoutingConnector {
            proxies: shared.proxies.clone(),
            direct: connector(&routes.direct),
            http_proxy: routes.http_proxy.as_ref().map(connector),
            https_proxy: routes.https_proxy.as_ref().map(connector),
        })
    }
}

/// One client for each route: a client of the SDK takes one proxy.
#[derive(Clone, Debug)]
struct Routes {
    direct: SharedHttpClient,
    http_proxy: Option<SharedHttpClient>,
    https_proxy: Option<SharedHttpClient>,
}

impl Routes {
    fn new(
        proxies: &Proxies,
        bundle: Option<&CaBundle>,
        max_idle: usize,
        resolver: &Resolver,
    ) -> Self {
        let client = |proxy: ProxyConfig| http_client(proxy, bundle, max_idle, resolver.clone());
        Self {
            direct: client(ProxyConfig::disabled()),
            http_proxy: proxies.http.clone().map(client),
            https_proxy: proxies.https.clone().map(client),
        }
    }
}

fn http_client(
    proxy: ProxyConfig,
    bundle: Option<&CaBundle>,
    max_idle: usize,
    resolver: Resolver,
) -> SharedHttpClient {
    let mut trusted = TrustStore::default();
    if let Some(bundle) = bundle {
        trusted = TrustStore::empty().with_pem_certificate(bundle.pem());
    }
    let tls = TlsContext::builder().with_trust_store(trusted).build();
    // The builder cannot fail.
    let tls = tls.unwrap_or_default();
    aws_smithy_http_client::Builder::new().build_with_connector_fn(move |settings, components| {
        let mut connector = Connector::builder()
            .tls_provider(tls::Provider::Rustls(
                tls::rustls_provider::CryptoMode::AwsLc,
            ))
            .tls_context(tls.clone())
            .pool_idle_timeout(POOL_IDLE_TIMEOUT)
            .pool_max_idle_per_host(max_idle)
            .proxy_config(proxy.clone());
        connector.set_connector_settings(settings.cloned());
        connector.set_sleep_impl(components.and_then(RuntimeComponents::sleep_impl));
        connector.build_with_resolver(resolver.clone())
    })
}

#[derive(Debug)]
struct RoutingConnector {
    proxies: Proxies,
    direct: SharedHttpConnector,
    http_proxy: Option<SharedHttpConnector>,
    https_proxy: Option<SharedHttpConnector>,
}

impl HttpConnector for RoutingConnector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let proxy = match self.proxies.route(request.uri()) {
            Route::Direct => None,
            Route::HttpProxy => self.http_proxy.as_ref(),
            Route::HttpsProxy => self.https_proxy.as_ref(),
        };
        proxy.unwrap_or(&self.direct).call(request)
    }
}

/// Wraps the client for requests that return credentials. A response of more than `MAX_CREDENTIALS_BYTES` is an error.
pub fn for_credentials(client: SharedHttpClient) -> SharedHttpClient {
    SharedHttpClient::new(BoundedClient(client))
}

#[derive(Debug)]
struct BoundedClient(SharedHttpClient);

impl HttpClient for BoundedClient {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(BoundedConnector(
            self.0.http_connector(settings, components),
        ))
    }
}

#[derive(Debug)]
struct BoundedConnector(SharedHttpConnector);

impl HttpConnector for BoundedConnector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let response = self.0.call(request);
        HttpConnectorFuture::new(async move {
            Ok(response.await?.map(|body| {
                let bounded = Limited::new(body, MAX_CREDENTIALS_BYTES);
                SdkBody::from_body_1_x(bounded.map_err(describe_body_error))
            }))
        })
    }
}

fn describe_body_error(error: Box<dyn Error + Send + Sync>) -> Box<dyn Error + Send + Sync> {
    if error.is::<LengthLimitError>() {
        "the response is larger than 1 MiB, the limit for a response with credentials".into()
    } else {
        error
    }
}
