//! Chooses the proxy and the trusted CA certificates of requests, and limits the size of responses.

use super::network::{CaBundle, Network};
use super::proxy::Proxies;
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

/// Shorter than the idle time after which a load balancer may silently drop a connection.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(20);
const MAX_IDLE_PER_HOST: usize = 16;

/// The HTTP clients, one for each CA bundle. Scopes with the same CA bundle share connections.
#[derive(Debug)]
pub struct HttpClients {
    proxies: Proxies,
    resolver: Resolver,
    default: Routes,
    by_profile: RwLock<HashMap<Option<String>, (CaBundle, Routes)>>,
}

impl HttpClients {
    pub fn new(network: Network) -> Arc<Self> {
        let resolver = Resolver::default();
        let clients = Self {
            default: Routes::new(&network.proxies, None, &resolver),
            proxies: network.proxies,
            resolver,
            by_profile: RwLock::default(),
        };
        clients.trust(network.bundles);
        Arc::new(clients)
    }

    /// If the bundle of a profile changed, its next request opens a new connection.
    pub fn trust(&self, bundles: HashMap<Option<String>, CaBundle>) {
        let mut by_profile = self.by_profile.write();
        let mut clients: HashMap<CaBundle, Routes> =
            by_profile.drain().map(|(_, kept)| kept).collect();
        by_profile.extend(bundles.into_iter().map(|(profile, bundle)| {
            let routes = clients
                .entry(bundle.clone())
                .or_insert_with(|| Routes::new(&self.proxies, Some(&bundle), &self.resolver));
            (profile, (bundle, routes.clone()))
        }));
    }

    pub fn client(
        self: &Arc<Self>,
        profile: Option<&str>,
        max_response_bytes: usize,
    ) -> SharedHttpClient {
        SharedHttpClient::new(ProfileClient {
            clients: Arc::clone(self),
            profile: profile.map(str::to_owned),
            max_response_bytes,
        })
    }
}

/// Looks up the CA bundle for each request, so that a client that a reload keeps takes a changed bundle.
#[derive(Debug)]
struct ProfileClient {
    clients: Arc<HttpClients>,
    profile: Option<String>,
    max_response_bytes: usize,
}

impl HttpClient for ProfileClient {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        let by_profile = self.clients.by_profile.read();
        let routes = by_profile
            .get(&self.profile)
            .map_or(&self.clients.default, |(_, routes)| routes);
        SharedHttpConnector::new(RoutingConnector {
            proxies: self.clients.proxies.clone(),
            direct: routes.direct.http_connector(settings, components),
            proxied: routes.proxied.http_connector(settings, components),
            max_response_bytes: self.max_response_bytes,
        })
    }
}

#[derive(Clone, Debug)]
struct Routes {
    direct: SharedHttpClient,
    proxied: SharedHttpClient,
}

impl Routes {
    fn new(proxies: &Proxies, bundle: Option<&CaBundle>, resolver: &Resolver) -> Self {
        let direct = http_client(ProxyConfig::disabled(), bundle, resolver.clone());
        let proxied = if proxies.enabled {
            http_client(ProxyConfig::from_env(), bundle, resolver.clone())
        } else {
            direct.clone()
        };
        Self { direct, proxied }
    }
}

fn http_client(
    proxy: ProxyConfig,
    bundle: Option<&CaBundle>,
    resolver: Resolver,
) -> SharedHttpClient {
    let mut trusted = TrustStore::default();
    if let Some(bundle) = bundle {
        trusted = TrustStore::empty().with_pem_certificate(bundle.0.as_bytes());
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
            .pool_max_idle_per_host(MAX_IDLE_PER_HOST)
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
    proxied: SharedHttpConnector,
    max_response_bytes: usize,
}

impl HttpConnector for RoutingConnector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let response = if self.proxies.are_bypassed(request.uri()) {
            self.direct.call(request)
        } else {
            self.proxied.call(request)
        };
        let max_bytes = self.max_response_bytes;
        HttpConnectorFuture::new(async move {
            Ok(response.await?.map(|body| {
                let limited = Limited::new(body, max_bytes).map_err(move |error| {
                    if error.is::<LengthLimitError>() {
                        format!("the response is larger than {} MiB", max_bytes >> 20).into()
                    } else {
                        error
                    }
                });
                SdkBody::from_body_1_x::<_, Box<dyn Error + Send + Sync>>(limited)
            }))
        })
    }
}
