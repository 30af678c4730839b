//! Logins over TLS.

use std::{fs, io::Read as _, net::TcpStream, sync::Arc};

use tokio_rustls::rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion,
    crypto::ring,
    pki_types::{CertificateDer, pem::PemObject as _},
    version::{TLS12, TLS13},
};

use crate::world::{
    BAD_CREDENTIALS, Client, DENIED, Gateway, OPTIONS, TIMEOUT, World, write_certificate,
};

type Tls = StreamOwned<ClientConnection, TcpStream>;

/// A client that trusts the certificate in a file, and supports one version of TLS.
fn connect(
    gateway: &Gateway,
    trusted: &str,
    tls: &'static SupportedProtocolVersion,
    version: u8,
) -> Client<Tls> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(trusted).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[tls])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let server = "localhost".try_into().unwrap();
    let connection = ClientConnection::new(Arc::new(config), server).unwrap();
    let stream = TcpStream::connect(gateway.address).unwrap();
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    Client::new(StreamOwned::new(connection, stream), version)
}

#[test]
fn a_client_logs_in_over_tls_and_its_requests_reach_the_upstream() {
    let world = World::new("tls");
    let issued = world.anika();
    let second = World::new("tls-upstream");
    let known = second.anika();
    let upstream = second.serve(&[]);
    let [cert, key] = write_certificate(&world.folder.0, "gateway");
    let mut command = world.command();
    command
        .args(["--cert", &cert, "--key", &key, "--upstream", &upstream.address.to_string()])
        .args(["--upstream-user", known.service_user_name().as_str()])
        .env("UPSTREAM_PASSWORD", known.secret().expose());
    let gateway = world.start(&mut command);
    for tls in [&TLS12, &TLS13] {
        for version in 3..=5 {
            let (user, password) = (issued.service_user_name().as_str(), issued.secret().expose());
            let client = connect(&gateway, &cert, tls, version);
            assert!(client.log_in(user, password).unwrap().works());
            let client = connect(&gateway, &cert, tls, version);
            let denied = client.log_in(user, "wrong").map(drop);
            assert_eq!(denied, Err((BAD_CREDENTIALS, DENIED.to_owned())));
        }
    }
}

#[test]
fn a_tls_client_and_a_plain_gateway_fail_and_vice_versa() {
    let world = World::new("tls-mixed");
    let issued = world.anika();
    let [cert, key] = write_certificate(&world.folder.0, "gateway");
    let [other, _] = write_certificate(&world.folder.0, "other");

    let gateway = world.serve(&["--cert", &cert, "--key", &key, "--login-timeout", "2"]);
    let mut plain = gateway.connect(4);
    plain.send(OPTIONS, b"");
    let mut response = Vec::new();
    let _ = plain.stream.read_to_end(&mut response);
    // At most a TLS alert.
    assert!(response.is_empty() || response[0] == 0x15, "{response:?}");
    world.wait_for_log("no TLS");
    // A client that does not trust the certificate sends no password.
    let mut untrusting = connect(&gateway, &other, &TLS13, 4);
    untrusting.stream.conn.complete_io(&mut untrusting.stream.sock).unwrap_err();
    // A client that does not start the handshake is disconnected in time.
    let mut idle = gateway.connect(4);
    assert_eq!(idle.receive(), None);
    world.wait_for_log("no login in time");
    let client = connect(&gateway, &cert, &TLS12, 5);
    let (user, password) = (issued.service_user_name().as_str(), issued.secret().expose());
    assert!(client.log_in(user, password).unwrap().works());
    drop(gateway);

    let gateway = world.serve(&[]);
    let mut encrypted = connect(&gateway, &cert, &TLS13, 4);
    encrypted.stream.conn.complete_io(&mut encrypted.stream.sock).unwrap_err();
    assert!(gateway.log_in_as(4, &issued).unwrap().works());
}

#[test]
fn a_certificate_and_its_key_are_needed_for_tls() {
    let world = World::new("tls-files");
    drop(world.anika());
    let [cert, key] = write_certificate(&world.folder.0, "gateway");
    let [_, other] = write_certificate(&world.folder.0, "other");
    let empty = world.folder.file("empty").display().to_string();
    fs::write(&empty, "").unwrap();
    for (options, expected) in [
        (vec!["--cert", &cert], "--key"),
        (vec!["--key", &key], "--cert"),
        (vec!["--cert", "missing.pem", "--key", &key], "missing.pem: "),
        (vec!["--cert", &cert, "--key", "missing.pem"], "missing.pem: "),
        (vec!["--cert", &cert, "--key", &empty], "empty: "),
        (vec!["--cert", &empty, "--key", &key], ""),
        (vec!["--cert", &key, "--key", &key], ""),
        (vec!["--cert", &cert, "--key", &other], ""),
    ] {
        let complaint = world.fails(&options);
        assert!(complaint.contains(expected), "{options:?}: {complaint}");
    }
}
