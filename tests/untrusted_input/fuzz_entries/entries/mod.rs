//! The fuzz entries, which the fuzz targets and the property tests share. Each takes untrusted
//! bytes, and panics if the result is neither a value nor an error. Those in modules of their own
//! also compare the result with that of another crate.

use std::sync::LazyLock;

use http::{HeaderMap, HeaderValue, Request as HttpRequest, Response, Uri, header::AUTHORIZATION};
use roxmltree::Document;
use service_specific_credentials::{
    CredentialManager, Error, ListRequest, ListUsersRequest, Marker, MaxItems, MemoryStore,
    UserName,
    http::{Credentials, DecodeBuffer, HttpAuthenticator},
    query::{self, Dialect, ErrorResponse, Request, RequestId},
    store::UserRecord,
    testing::{FixedClock, SeededEntropy},
};
use sha2::{Digest as _, Sha256};
use time::{Duration, OffsetDateTime};

pub(crate) mod alias;
pub(crate) mod form_differential;
pub(crate) mod xml;

pub(crate) const CODECOMMIT: &str = "codecommit.amazonaws.com";

/// `anika` with two passwords and an API key, `bo` with a password, `carl` without credentials. The
/// ids and secrets are the same in every run, so that seeds can contain them.
pub(crate) fn manager() -> CredentialManager<MemoryStore> {
    let dawn = OffsetDateTime::UNIX_EPOCH + Duration::milliseconds(1_478_022_442_382);
    let iam = CredentialManager::builder("123456789012".parse().unwrap(), MemoryStore::new())
        .clock(FixedClock::new(dawn))
        .entropy(SeededEntropy::new(7))
        .build();
    for (user, services) in [
        ("anika", &[CODECOMMIT, CODECOMMIT, "bedrock.amazonaws.com"][..]),
        ("bo", &[CODECOMMIT]),
        ("carl", &[]),
    ] {
        let user: UserName = user.parse().unwrap();
        iam.register_user(&user).unwrap();
        for service in services {
            drop(iam.create(&user, &service.parse().unwrap()).unwrap());
        }
    }
    iam
}

/// A manager whose store is never changed.
static SHARED: LazyLock<CredentialManager<MemoryStore>> = LazyLock::new(manager);

/// The bytes as a form: parsed, and executed as a body and as a query string.
pub(crate) fn form(bytes: &[u8]) {
    let id = RequestId::from_bytes([7; 16]);
    let read = Request::from_form(bytes);
    let rejection =
        read.as_ref().err().map(|error| ErrorResponse::from(error.clone()).response(id));
    if let Ok(request) = read {
        assert!(!request.action().is_empty());
        let _ = (request.user_name(), request.service_name(), request.credential_id());
    }
    let form_type = "application/x-www-form-urlencoded";
    let post = HttpRequest::post("/").header("content-type", form_type).body(bytes).unwrap();
    let uri = Uri::try_from([b"/?", bytes].concat()).ok();
    let get = uri.map(|uri| HttpRequest::get(uri).body(&b""[..]).unwrap());
    // A `#` ends a query string; nothing else does.
    let get = get.filter(|get| get.uri().query().unwrap_or_default().len() == bytes.len());

    let caller = "carl".parse().unwrap();
    for (dialect, caller) in [(Dialect::Documented, None), (Dialect::Recorded, Some(&caller))] {
        let responses: Vec<_> = [Some(&post), get.as_ref()]
            .into_iter()
            .flatten()
            .map(|request| {
                // An invalid request changes nothing and needs no fresh manager.
                let fresh = rejection.is_none().then(manager);
                query::handle(fresh.as_ref().unwrap_or(&SHARED), request, caller, dialect, id)
            })
            .collect();
        for response in &responses {
            let xml = std::str::from_utf8(response.body().as_ref()).unwrap();
            let document = Document::parse(xml).unwrap();
            let failed = document.root_element().tag_name().name() == "ErrorResponse";
            let status = response.status();
            assert_eq!(status.is_success(), !failed, "{status} {xml}");
            assert!(!status.is_server_error(), "{status} {xml}");
            // An escaped `"` takes six bytes, and a response lists at most five users and
            // credentials.
            assert!(xml.len() <= 8 * bytes.len() + 8192, "{} bytes", xml.len());
            assert_eq!(response.body().as_ref(), responses[0].body().as_ref());
            if let Some(rejection) = &rejection {
                assert_eq!(
                    (status, response.body().as_ref()),
                    (rejection.status(), rejection.body().as_ref())
                );
            }
        }
    }
}

/// The bytes as an `Authorization` header of requests to a service with passwords and to one with
/// API keys. Each is rejected, because fuzzed input is never a secret.
pub(crate) fn authorization(bytes: &[u8]) {
    let Ok(value) = HeaderValue::from_bytes(bytes) else { return };
    let headers = HeaderMap::from_iter([(AUTHORIZATION, value)]);
    let mut buffer = DecodeBuffer::new();
    let parsed = Credentials::parse(&headers, &mut buffer);
    let invalid = parsed.as_ref().err().map(|invalid| invalid.as_str());
    match parsed {
        Ok(Some(Credentials::Basic { name, password })) => {
            assert!(name.len() <= 512 && password.len() <= 512 && !name.contains(':'));
            // The header has at least as many bytes as its decoded parts.
            assert!(name.len() + password.len() < bytes.len());
        }
        Ok(Some(Credentials::Bearer { token })) => {
            assert!((1..=512).contains(&token.len()) && token.is_ascii());
        }
        Ok(None) => panic!("there is a header"),
        Err(_) => {}
    }
    for (service, scheme) in [(CODECOMMIT, "Basic "), ("bedrock.amazonaws.com", "Bearer ")] {
        let http = HttpAuthenticator::new(&SHARED, service.parse().unwrap()).unwrap();
        let rejection = http.authenticate(&headers).unwrap_err();
        let reason = rejection.reason().as_str();
        assert!(!rejection.is_missing_credentials() && invalid.is_none_or(|it| it == reason));
        let challenge = rejection.header().1.to_str().unwrap();
        assert!(challenge.starts_with(scheme), "{challenge}");
        assert_eq!(Response::<String>::from(rejection).status(), 401);
    }
}

/// The bytes as a marker: parsed, and used for a listing.
pub(crate) fn marker(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(marker) = text.parse::<Marker>() else { return };
    assert_eq!(marker.as_str(), text);
    let user = |name: &str| ListRequest::of(name.parse().unwrap());
    let service = CODECOMMIT.parse().unwrap();
    for request in
        [user("anika"), user("bo"), user("anika").service(service), ListRequest::all_users()]
    {
        let whole = SHARED.list_page(&request).unwrap().items;
        let part = SHARED.list_page(&request.marker(marker.clone()));
        match part {
            // A page contains only listed items, in the same order.
            Ok(page) => assert!(whole.ends_with(&page.items)),
            Err(Error::MarkerMismatch) => {}
            Err(error) => panic!("{error:?}"),
        }
    }
    match SHARED.list_users_page(
        &ListUsersRequest::new().marker(marker.clone()).max_items(MaxItems::default()),
    ) {
        Ok(page) => assert!(page.items.len() <= 3),
        Err(Error::MarkerMismatch) => {}
        Err(error) => panic!("{error:?}"),
    }
}

/// The bytes as a record: a decoded record encodes to the same bytes, or, from format 1, to the
/// current format. Then again with a correct checksum, which mutation does not find.
pub(crate) fn record(bytes: &[u8]) {
    decode(bytes);
    let body = &bytes[..bytes.len().saturating_sub(4)];
    decode(&[body, &Sha256::digest(body)[..4]].concat());
}

fn decode(bytes: &[u8]) {
    if let Ok(record) = UserRecord::decode(bytes) {
        let written = record.encode();
        if bytes.first() == Some(&1) {
            assert_eq!(UserRecord::decode(&written).unwrap().encode(), written);
        } else {
            assert_eq!(written, bytes);
        }
        assert!(record.keys().count() > record.credential_count());
    }
}
