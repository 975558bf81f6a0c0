//! TLS: the roots that are trusted, and nothing that a peer could talk down.

use std::sync::Arc;

use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// The roots of the web as they are built in, and those that this machine trusts besides: an organisation's own.
pub(crate) fn roots() -> RootCertStore {
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    let native = rustls_native_certs::load_native_certs();
    for error in &native.errors {
        tracing::debug!(%error, "a certificate of the system cannot be read");
    }
    roots.add_parsable_certificates(native.certs);
    roots
}

/// A connector that trusts these roots.
///
/// # Errors
/// Never with the provider that is built in, whose protocol versions a test has seen.
pub(crate) fn connector(roots: RootCertStore) -> Result<TlsConnector, tokio_rustls::rustls::Error> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}
