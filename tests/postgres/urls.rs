//! Connection URLs: supported parts, and errors that identify an invalid part.

use service_specific_credentials::store::{PostgresError, PostgresOptions, PostgresStore};

use crate::{
    database::{Installation, shared, until, wait},
    failures::connect_error,
};

/// The password in these URLs is `hunter2`. `secret` is a part of another one.
#[test]
fn the_error_identifies_the_invalid_part_of_a_url() {
    const SCHEME: &str = "it does not begin with `postgres://` or `postgresql://`";
    const SSLMODE: &str =
        "`sslmode` is not `disable`, `prefer`, `require`, `verify-ca` or `verify-full`";
    const SEARCH_PATH: &str = "`search_path` in `options` does not name one schema";
    let unknown =
        |which: &str| format!("parameter {which} is not known, or its value is not valid");
    let cases = [
        ("", SCHEME),
        ("hunter2", SCHEME),
        ("mysql://user:hunter2@localhost/x", SCHEME),
        ("host=localhost password=hunter2", SCHEME),
        ("postgres://", "it names no host"),
        ("postgres:///x", "it names no host"),
        ("postgres://user:hunter2@host:port/x", "host 1 or its port is not valid"),
        ("postgres://user:hunter2@one,two:65536/x", "host 2 or its port is not valid"),
        ("postgresql://user:hunter2@[::1/x", "host 1 or its port is not valid"),
        ("postgres://user:hunter2@localhost/%ff", "the name of the database is not valid UTF-8"),
        ("postgres://%ff:hunter2@localhost/x", "the name of the user is not valid UTF-8"),
        ("postgres://user:hunter2@localhost/x?sslmode=hunter2", SSLMODE),
        ("postgres://user:hunter2@localhost/x?sslmode=allow", SSLMODE),
        ("postgres://user:hunter2@localhost/x?sslmod=require", &unknown("1, `sslmod`,")),
        ("postgres://user:hunter2@localhost/x?sslrootcert=/ca", &unknown("1, `sslrootcert`,")),
        (
            "postgres://user:hunter2@localhost/x?keepalives=1&connect_timeout=hunter2",
            &unknown("2, `connect_timeout`,"),
        ),
        (
            "postgres://user:hunter2@localhost/x?application_name",
            &unknown("1, `application_name`,"),
        ),
        ("postgres://user:hunter2@localhost/x?hunter2=1", &unknown("1")),
        // A password with `@`, `?` or `&` in it that is not percent-encoded.
        ("postgres://user:hunter2@x?secret=1@localhost/x", &unknown("1")),
        ("postgres://user@localhost/x?password=hunter2&secret=1", &unknown("2")),
        (
            "postgres://user:hunter2@localhost/x?target_session_attrs=read-only",
            "`target_session_attrs=read-only`, but the store makes changes",
        ),
        (
            "postgres://user:hunter2@localhost/x?hostaddr=127.0.0.1,127.0.0.2",
            "`hostaddr` does not have an address for each host",
        ),
        ("postgres://user:hunter2@localhost/x?port=1,2", "there is not one port for each host"),
        ("postgres://localhost/x?options=-csearch_path%3Done,two", SEARCH_PATH),
        ("postgres://localhost/x?options=-csearch_path%3D", SEARCH_PATH),
        (
            "postgres://localhost/x?%6fptions=--search-path%3Dtwo",
            "`search_path` in `options` names another schema than the options",
        ),
    ];
    wait(async {
        for (url, problem) in cases {
            let error = connect_error(url, &PostgresOptions::new().schema("one")).await;
            assert!(matches!(error, PostgresError::Url { .. }), "{url}: {error:?}");
            assert_eq!(error.to_string(), format!("the connection URL is not valid: {problem}"));
            assert!(!error.is_retryable());
            assert!(!error.to_string().contains("secret"));
        }
        for schema in ["", &"x".repeat(64), "a\0b"] {
            let options = PostgresOptions::new().schema(schema);
            let error = connect_error("postgres://localhost/x", &options).await;
            assert!(matches!(error, PostgresError::SchemaName), "{schema:?}");
        }
    });
}

#[test]
fn several_hosts_can_share_one_port() {
    let Some(server) = shared() else { return };
    let url = server.url();
    let (address, _) = url.split_once("/postgres?").unwrap();
    let (_, port) = address.rsplit_once(':').unwrap();
    let hosts = "host=127.0.0.1&host=127.0.0.1";
    let url = format!("postgres:///postgres?user=postgres&{hosts}&port={port}&sslmode=disable");
    let store = wait(PostgresStore::connect(&url)).unwrap();
    wait(store.migrate()).unwrap();
}

/// The server has a certificate of a test authority.
#[test]
fn certificates_are_verified() {
    let Some(installation) = Installation::find() else { return };
    let authority = rcgen::KeyPair::generate().unwrap();
    let mut parameters = rcgen::CertificateParams::new(Vec::<String>::new()).unwrap();
    parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let root = parameters.self_signed(&authority).unwrap();
    let issuer = rcgen::Issuer::new(parameters, authority);
    let key = rcgen::KeyPair::generate().unwrap();
    let own = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let own = own.signed_by(&key, &issuer).unwrap();

    let server = installation.server(&["fsync=off"]);
    installation.put(&server.data(), "server.crt", &own.pem());
    installation.put(&server.data(), "server.key", &key.serialize_pem());
    wait(async {
        let client = server.client().await;
        client.batch_execute("ALTER SYSTEM SET ssl = on").await.unwrap();
        client.batch_execute("SELECT pg_reload_conf()").await.unwrap();
        drop(client);
        until("certificates to be there", async || {
            let client = server.client().await;
            client.query_one("SHOW ssl", &[]).await.unwrap().get::<_, &str>(0) == "on"
        })
        .await;
        let url = |host: &str, mode: &str| {
            let port = server.port();
            format!("postgres://postgres@{host}:{port}/postgres?hostaddr=127.0.0.1&sslmode={mode}")
        };
        let trusting = PostgresOptions::new().authorities(root.pem());
        for mode in ["require", "prefer", "verify-ca", "verify-full"] {
            let store = PostgresStore::connect_with(&trusting, &url("localhost", mode)).await;
            let store = store.unwrap();
            store.migrate().await.unwrap();
            let client = server.client().await;
            let encrypted = "SELECT bool_or(ssl) \
                FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
                WHERE application_name = 'service-specific-credentials'";
            assert!(client.query_one(encrypted, &[]).await.unwrap().get::<_, bool>(0));
            drop(store);

            // An unknown authority, and another host.
            let strict = PostgresOptions::new();
            let error = connect_error(&url("localhost", mode), &strict).await;
            assert!(matches!(error, PostgresError::Tls(_)), "{error:?}");
            let error = connect_error(&url("db.example.com", mode), &trusting).await;
            assert!(matches!(error, PostgresError::Tls(_)), "{error:?}");
            assert!(!error.is_retryable());
        }
        PostgresStore::connect(&url("localhost", "disable")).await.unwrap();
        let none = PostgresOptions::new().authorities("no certificate");
        let error = connect_error(&url("localhost", "require"), &none).await;
        assert!(matches!(error, PostgresError::Tls(_)), "{error:?}");
    });
}
