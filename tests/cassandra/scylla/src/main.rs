//! Logs in to a Cassandra with the driver `scylla`: `HOST:PORT USER SESSIONS [CERTIFICATE]`, and
//! the password in `PASSWORD`. All sessions are open at a time, and each runs a query.

use std::{env, error::Error, sync::Arc};

use scylla::client::{session::Session, session_builder::SessionBuilder};
use tokio::task::JoinSet;
use tokio_rustls::rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, pem::PemObject as _},
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let mut next = || arguments.next().ok_or("HOST:PORT USER SESSIONS [CERTIFICATE]");
    let (address, user, sessions) = (next()?, next()?, next()?.parse::<u16>()?);
    let password = env::var("PASSWORD")?;
    let tls = next().ok().map(trusting).transpose()?;

    let mut connecting = JoinSet::new();
    for _ in 0..sessions {
        let (address, user, password, tls) =
            (address.clone(), user.clone(), password.clone(), tls.clone());
        connecting.spawn(async move {
            SessionBuilder::new()
                .known_node(address)
                .user(user, password)
                .tls_context(tls)
                .build()
                .await
        });
    }
    let mut connected = Vec::new();
    while let Some(session) = connecting.join_next().await {
        connected.push(session??);
    }
    for session in &connected {
        println!("{}", release(session).await?);
    }
    Ok(())
}

fn trusting(certificate: String) -> Result<Arc<ClientConfig>, Box<dyn Error>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(certificate)?)?;
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

async fn release(session: &Session) -> Result<String, Box<dyn Error>> {
    let rows = session.query_unpaged("SELECT release_version FROM system.local", ()).await?;
    Ok(rows.into_rows_result()?.single_row::<(String,)>()?.0)
}
