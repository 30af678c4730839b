//! The certificates that a connection trusts.

use std::sync::Arc;

use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, pem::PemObject as _},
};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::PostgresError;

/// A connector that accepts a certificate for the host's name, issued by one of `authorities` (in
/// PEM), or, if it is `None`, by an authority that the system trusts.
pub(super) fn connector(authorities: Option<&[u8]>) -> Result<MakeRustlsConnect, PostgresError> {
    let failed = |error: rustls::Error| PostgresError::Tls(Box::new(error));
    let roots = match authorities {
        Some(pem) => chosen(pem)?,
        None => trusted_by_the_system(),
    };
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(failed)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(MakeRustlsConnect::new(config))
}

fn chosen(pem: &[u8]) -> Result<RootCertStore, PostgresError> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| PostgresError::Tls(Box::new(error)))?;
        roots.add(certificate).map_err(|error| PostgresError::Tls(Box::new(error)))?;
    }
    if roots.is_empty() {
        return Err(PostgresError::Tls("there is no certificate among the authorities".into()));
    }
    Ok(roots)
}

/// The system's certificates that can be read. If there are none, every certificate is rejected.
fn trusted_by_the_system() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
}
