//! The file never contains a secret.

use std::{collections::HashSet, fmt::Write as _, fs, path::Path};

use base64::{
    Engine as _, engine::general_purpose::STANDARD, engine::general_purpose::URL_SAFE_NO_PAD,
};
use service_specific_credentials::{
    Alphabet, CredentialKind, CredentialManager, IssuedCredential, ListRequest, Policy,
    store::RedbStore,
};

use super::{ACCOUNT, CODECOMMIT, Folder, name, open};
use crate::common::BEDROCK;

/// The length of the pieces of a secret to search for.
const WINDOW: usize = 12;

/// Returns the texts of which the file contains a piece.
fn found<'t>(path: &Path, texts: &'t [Vec<u8>]) -> HashSet<&'t [u8]> {
    let pieces: HashSet<&[u8]> = texts.iter().flat_map(|text| text.windows(WINDOW)).collect();
    let bytes = fs::read(path).unwrap();
    let written = bytes.windows(WINDOW).filter(|window| window[0] != 0);
    written.filter_map(|window| pieces.get(window).copied()).collect()
}

/// A secret, its password and its random bytes, each plain and in hex.
fn forms(issued: &IssuedCredential) -> [Vec<u8>; 5] {
    let secret = issued.secret().expose();
    let password = match issued.kind() {
        CredentialKind::Password => secret.to_owned(),
        CredentialKind::ApiKey => {
            let inner = STANDARD.decode(secret.strip_prefix("ABSK").unwrap()).unwrap();
            std::str::from_utf8(&inner).unwrap().split_once(':').unwrap().1.to_owned()
        }
    };
    let raw = STANDARD.decode(&password).or_else(|_| URL_SAFE_NO_PAD.decode(&password)).unwrap();
    let mut hex = String::new();
    for byte in &raw {
        write!(hex, "{byte:02x}").unwrap();
    }
    let upper = hex.to_uppercase();
    [secret.into(), password.into(), raw, hex.into(), upper.into()]
}

#[test]
fn the_file_never_contains_a_secret() {
    let folder = Folder::new("secrets");
    let path = folder.file("store.redb");
    let mut issued = Vec::new();
    let url_safe = Policy::builder().alphabet(Alphabet::UrlSafe).build().unwrap();
    for (round, policy) in [Policy::default(), Policy::recorded(), url_safe].into_iter().enumerate()
    {
        let user = |number: usize| name(&format!("user-{round}-{number}"));
        let iam = CredentialManager::builder(name(ACCOUNT), RedbStore::create(&path).unwrap())
            .policy(policy)
            .build();
        for number in 0..10 {
            let user = user(number);
            iam.register_user(&user).unwrap();
            for service in [CODECOMMIT, BEDROCK] {
                let kept = iam.create(&user, &name(service)).unwrap();
                let gone = iam.create(&user, &name(service)).unwrap();
                issued.push(iam.reset(&user, kept.id()).unwrap());
                iam.delete(&user, gone.id()).unwrap();
                issued.extend([kept, gone]);
            }
        }
        let secrets: Vec<_> = issued.iter().flat_map(forms).collect();
        assert_eq!(found(&path, &secrets), HashSet::new(), "while it is open");
        for number in (0..10).step_by(2) {
            iam.remove_user_with_credentials(&user(number)).unwrap();
        }
        drop(iam);
        assert_eq!(found(&path, &secrets), HashSet::new(), "once it is closed");
    }
    // The same search finds what the file contains.
    let all = ListRequest::all_users();
    let kept = open(&path).list_page(&all).unwrap().items;
    let names: Vec<Vec<u8>> =
        kept.iter().map(|kept| kept.service_user_name().as_str().into()).collect();
    let pieces = found(&path, &names);
    assert!(names.iter().flat_map(|name| name.windows(WINDOW)).all(|piece| pieces.contains(piece)));
    assert!(!pieces.is_empty());
}
