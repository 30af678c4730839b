//! The encoding of records: every format that was ever written can be decoded, and invalid bytes
//! are rejected.
//!
//! The samples are in `tests/stores/records`, with one directory per format. A sample describes the
//! record, with its secrets, followed by the encoded bytes. Never change a sample. To add one, add
//! it to [`SAMPLES`], and the test writes it.

use std::{
    cell::RefCell,
    collections::{BTreeMap, HashSet},
    fmt::Write as _,
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use proptest::{
    prelude::*,
    sample::Index,
    test_runner::{Config, RngSeed, TestRunner},
};
use service_specific_credentials::{
    Alphabet, AuthenticationError, Authenticator, CreateOptions, CredentialId, CredentialKind,
    CredentialManager, DenialReason, IssuedCredential, Lifetime, ListUsersRequest, MaxItems,
    MemoryStore, Policy, RegisterOptions, ServiceName, Status, Tags, UserName,
    store::{
        Change, CommitOutcome,
        DecodeError::{self, Checksum, Empty, Repeated, Surplus, UnknownFormat, Unordered, Value},
        Key, ScanRange, Store, StoreError, UserRecord,
    },
    testing::{FixedClock, SeededEntropy},
};
use sha2::{Digest as _, Sha256};
use time::{Duration, OffsetDateTime};

use crate::common::{ACCOUNT, CASSANDRA, CODECOMMIT, dawn, name};

const BUILDS: &str = "builds.example.com";

/// The file, the description, and the construction of a sample.
type Recipe = (&'static str, &'static str, fn(&Maker));

/// The samples of each format, the first of which have the same names.
const FORMATS: [(u8, usize); 2] = [(1, 7), (2, SAMPLES.len())];

const SAMPLES: [Recipe; 10] = [
    ("no_credentials", "A user without credentials.", |it| it.register("anika")),
    ("two_passwords", "A user with two passwords, issued in one moment.", |it| {
        it.register("Anika");
        it.create("Anika", CODECOMMIT);
        it.create("Anika", CODECOMMIT);
    }),
    ("api_key", "A user with an API key that was reset once.", |it| {
        it.register("anika");
        let id = it.create("anika", BUILDS);
        it.later();
        it.keep(&it.iam.reset(&name("anika"), &id).unwrap());
    }),
    ("inactive_and_expiring", "One credential is inactive, one expires after 90 days.", |it| {
        it.register("anika");
        let id = it.create("anika", CODECOMMIT);
        it.later();
        let age = Lifetime::days(90).unwrap();
        it.keep(
            &it.iam
                .create_with_options(
                    &name("anika"),
                    &name(CASSANDRA),
                    &CreateOptions::new().lifetime(age),
                )
                .unwrap(),
        );
        it.iam.set_status(&name("anika"), &id, Status::Inactive).unwrap();
    }),
    ("renamed", "A user who was renamed twice. The credentials keep their names.", |it| {
        it.register("Anika");
        it.create("Anika", CODECOMMIT);
        let gone = it.create("Anika", CODECOMMIT);
        it.iam.rename_user(&name("Anika"), &name("b_e+r=t,@-.")).unwrap();
        it.later();
        it.create("b_e+r=t,@-.", CODECOMMIT);
        it.create("b_e+r=t,@-.", CASSANDRA);
        it.iam.delete(&name("b_e+r=t,@-."), &gone).unwrap();
        it.iam.rename_user(&name("b_e+r=t,@-."), &name("Carl")).unwrap();
    }),
    ("longest_names", "The longest names, and as many credentials as a service permits.", |it| {
        let user = "Longest_".repeat(8);
        it.register(&user);
        for _ in 0..10 {
            it.create(&user, &longest_service());
        }
    }),
    ("many_services", "Two credentials at each of a hundred services.", |it| {
        it.register("anika");
        for (service, _) in policy().services() {
            it.create("anika", service.as_str());
            it.create("anika", service.as_str());
            it.later();
        }
    }),
    ("reset", "A reset later, one at the moment of creation, and one that never was.", |it| {
        it.register("anika");
        let [first, second] = [CODECOMMIT, CASSANDRA].map(|service| it.create("anika", service));
        it.create("anika", CASSANDRA);
        it.keep(&it.iam.reset(&name("anika"), &second).unwrap());
        it.later();
        it.keep(&it.iam.reset(&name("anika"), &first).unwrap());
    }),
    ("path_and_tags", "A user with a path and tags, who has one credential with tags.", |it| {
        let options =
            RegisterOptions::new().path(name("/staff/")).tags(tags(&[("T", "é"), ("a", "")]));
        it.iam.register_user_with_options(&name("anika"), &options).unwrap();
        it.create("anika", CODECOMMIT);
        let (user, service) = (name("anika"), name(CASSANDRA));
        let options = CreateOptions::new().tags(tags(&[("device", "laptop")]));
        let id = it.keep(&it.iam.create_with_options(&user, &service, &options).unwrap());
        it.later();
        it.keep(&it.iam.reset(&name("anika"), &id).unwrap());
    }),
    ("longest_details", "The longest path, the longest tag, and as many as there can be.", |it| {
        let options = RegisterOptions::new().path(name(&format!("/{}/", "p".repeat(510))));
        it.iam.register_user_with_options(&name("anika"), &options).unwrap();
        let number = |number: usize| (format!("{number:02}"), String::new());
        let longest = ("é".repeat(128), "日".repeat(256));
        let most = Tags::from_pairs((0..49).map(number).chain([longest])).unwrap();
        it.iam.set_user_tags(&name("anika"), &most).unwrap();
        let id = it.create("anika", CODECOMMIT);
        it.iam.set_credential_tags(&name("anika"), &id, &most).unwrap();
    }),
];

fn tags(pairs: &[(&str, &str)]) -> Tags {
    Tags::from_pairs(pairs.iter().copied()).unwrap()
}

fn longest_service() -> String {
    "longest.".repeat(16)
}

/// A policy with a hundred services.
fn policy() -> Policy {
    let named = [CODECOMMIT, CASSANDRA, &longest_service()].map(name::<ServiceName>);
    let numbered = (4..100).map(|number| name(&format!("s{number}")));
    let services = named.into_iter().chain(numbered);
    services
        .fold(Policy::builder().without_services(), |policy, service| {
            policy.password_service(service)
        })
        .api_key_service(name(BUILDS), "BLDK")
        .credentials_per_service(10)
        .password_bytes(16)
        .alphabet(Alphabet::UrlSafe)
        .build()
        .unwrap()
}

/// Builds a sample, and collects the secrets.
struct Maker {
    iam: CredentialManager<MemoryStore>,
    clock: Arc<FixedClock>,
    secrets: RefCell<BTreeMap<CredentialId, String>>,
}

impl Maker {
    fn new(seed: u64) -> Self {
        let clock = Arc::new(FixedClock::new(dawn()));
        let iam = CredentialManager::builder(name(ACCOUNT), MemoryStore::new())
            .policy(policy())
            .clock(Arc::clone(&clock))
            .entropy(SeededEntropy::new(seed))
            .build();
        Self { iam, clock, secrets: RefCell::default() }
    }

    fn register(&self, user: &str) {
        self.iam.register_user(&name(user)).unwrap();
    }

    fn create(&self, user: &str, service: &str) -> CredentialId {
        self.keep(&self.iam.create(&name(user), &name(service)).unwrap())
    }

    fn keep(&self, issued: &IssuedCredential) -> CredentialId {
        let (id, secret) = (issued.id().clone(), issued.secret().expose().to_owned());
        self.secrets.borrow_mut().insert(id.clone(), secret);
        id
    }

    fn later(&self) {
        self.clock.advance(Duration::milliseconds(86_400_001));
    }

    /// The text of the sample.
    fn write(&self, what: &str) -> String {
        let users = self
            .iam
            .list_users_page(&ListUsersRequest::new().max_items(MaxItems::default()))
            .unwrap();
        let [user] = &users.items[..] else { unreachable!("{users:?}") };
        let key = Key::User { account: user.account(), name: user.name() };
        let record = self.iam.store().find(&key).unwrap().unwrap();
        let mut text = format!(
            "# {what}\n\
             # The user: account, id, name, when registered, changes since, path. Each credential: \
             kind, id,\n# service, name, status, when created, when it expires, when its secret \
             was made, secret.\n# Each tag: its key and its value, in hexadecimal, after whose tag \
             it is. Then the bytes.\n\
             user {} {} {} {} {} {}\n",
            user.account(),
            user.id(),
            user.name(),
            milliseconds(user.created()),
            record.revision().count(),
            user.path(),
        );
        write_tags(&mut text, user.tags());
        for credential in self.iam.list(user.name()).unwrap() {
            let kind = match credential.kind() {
                CredentialKind::Password => "password",
                CredentialKind::ApiKey => "api-key",
            };
            let expires = credential.expires().map(|date| milliseconds(date).to_string());
            let fields = [
                kind,
                credential.id().as_str(),
                credential.service().as_str(),
                credential.service_user_name().as_str(),
                credential.status().as_str(),
                &milliseconds(credential.created()).to_string(),
                expires.as_deref().unwrap_or("never"),
                &milliseconds(credential.secret_changed()).to_string(),
                &self.secrets.borrow()[credential.id()],
            ];
            text += &(fields.join(" ") + "\n");
            write_tags(&mut text, credential.tags());
        }
        for line in record.encode().chunks(48) {
            for byte in line {
                write!(text, "{byte:02x}").unwrap();
            }
            text.push('\n');
        }
        text
    }
}

fn write_tags(text: &mut String, tags: &Tags) {
    for (key, value) in tags.iter() {
        writeln!(text, "tag {} {}", hex(key), hex(value)).unwrap();
    }
}

fn hex(text: &str) -> String {
    text.bytes().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").unwrap();
        hex
    })
}

fn milliseconds(date: OffsetDateTime) -> u64 {
    (date - OffsetDateTime::UNIX_EPOCH).whole_milliseconds().try_into().unwrap()
}

fn date(milliseconds: u64) -> OffsetDateTime {
    OffsetDateTime::UNIX_EPOCH + Duration::milliseconds(milliseconds.try_into().unwrap())
}

fn directory(format: u8) -> PathBuf {
    let folder = format!("tests/stores/records/format-{format}");
    Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)
}

fn path(format: u8, file: &str) -> PathBuf {
    directory(format).join(file).with_extension("hex")
}

/// A parsed sample.
struct Sample {
    format: u8,
    account: u64,
    user: [u8; 16],
    name: String,
    created: u64,
    changes: u64,
    path: String,
    tags: Vec<(String, String)>,
    credentials: Vec<Stated>,
    bytes: Vec<u8>,
}

struct Stated {
    kind: CredentialKind,
    id: CredentialId,
    service: ServiceName,
    name: String,
    status: Status,
    created: u64,
    expires: Option<u64>,
    secret_changed: u64,
    secret: String,
    tags: Vec<(String, String)>,
}

impl Sample {
    /// The sample of the format that is written.
    fn read(file: &str) -> Self {
        Self::of_format(2, file)
    }

    fn of_format(format: u8, file: &str) -> Self {
        let text = fs::read_to_string(path(format, file)).unwrap();
        let mut lines = text.lines().filter(|line| !line.starts_with('#')).peekable();
        let user = lines.next().unwrap();
        // Format 1 has no path.
        let user = if format == 1 { format!("{user} /") } else { user.to_owned() };
        let ["user", account, id, name, created, changes, path] = words(&user) else {
            unreachable!("{file}")
        };
        let mut read_tags = || {
            std::iter::from_fn(|| lines.next_if(|line| line.starts_with("tag ")).map(read_tag))
                .collect::<Vec<_>>()
        };
        let (tags, mut credentials) = (read_tags(), Vec::new());
        while let Some(line) = lines.next_if(|line| line.contains(' ')) {
            let mut stated = Stated::read(format, line);
            while let Some(line) = lines.next_if(|line| line.starts_with("tag ")) {
                stated.tags.push(read_tag(line));
            }
            credentials.push(stated);
        }
        Self {
            format,
            path: path.to_owned(),
            tags,
            account: account.parse().unwrap(),
            user: bytes(&id.replace('-', "")).try_into().unwrap(),
            name: name.to_owned(),
            created: created.parse().unwrap(),
            changes: changes.parse().unwrap(),
            credentials,
            bytes: lines.flat_map(bytes).collect(),
        }
    }

    /// The samples of all formats.
    fn all() -> impl Iterator<Item = Self> {
        FORMATS.into_iter().flat_map(|(format, count)| {
            SAMPLES.iter().take(count).map(move |(file, ..)| Self::of_format(format, file))
        })
    }

    /// The samples that are small enough to try every bit.
    fn small() -> impl Iterator<Item = Self> {
        Self::all().filter(|sample| sample.bytes.len() < 512)
    }

    fn record(&self) -> UserRecord {
        UserRecord::decode(&self.bytes).unwrap()
    }

    /// The values of the sample, in the order of the format's description.
    fn parts(&self) -> Parts {
        let mut parts = vec![
            ("format", vec![self.format]),
            ("account", number(self.account)),
            ("user id", self.user.to_vec()),
            ("number of changes", number(self.changes)),
            ("creation date", number(self.created)),
            ("user name", text(&self.name)),
        ];
        if self.format > 1 {
            parts.push(("path", long_text(path_form(&self.path))));
            parts.extend(tag_parts(&self.tags));
        }
        parts.push(("number of credentials", number(self.credentials.len() as u64)));
        parts.extend(self.credentials.iter().flat_map(|stated| stated.parts(self.format)));
        Parts(parts)
    }
}

impl Stated {
    fn read(format: u8, line: &str) -> Self {
        // In format 1 each secret has the creation date.
        let line = if format == 1 {
            let mut words: Vec<_> = line.split(' ').collect();
            words.insert(7, words[5]);
            words.join(" ")
        } else {
            line.to_owned()
        };
        let [kind, id, service, user_name, status, created, expires, secret_changed, secret] =
            words(&line);
        Self {
            kind: match kind {
                "password" => CredentialKind::Password,
                "api-key" => CredentialKind::ApiKey,
                _ => unreachable!("{line}"),
            },
            id: name(id),
            service: name(service),
            name: user_name.to_owned(),
            status: status.parse().unwrap(),
            created: created.parse().unwrap(),
            expires: (expires != "never").then(|| expires.parse().unwrap()),
            secret_changed: secret_changed.parse().unwrap(),
            secret: secret.to_owned(),
            tags: Vec::new(),
        }
    }

    fn parts(&self, format: u8) -> Vec<(&'static str, Vec<u8>)> {
        let was_reset = format > 1 && self.secret_changed > self.created;
        let flags = u8::from(self.status == Status::Active)
            | u8::from(self.kind == CredentialKind::ApiKey) << 1
            | u8::from(self.expires.is_some()) << 2
            | u8::from(was_reset) << 3
            | u8::from(!self.tags.is_empty()) << 4;
        let mut parts = vec![
            ("credential id", text(self.id.as_str())),
            ("service name", text(self.service.as_str())),
            ("service user name", text(&self.name)),
            ("credential flags", vec![flags]),
            ("credential creation date", number(self.created)),
        ];
        parts.extend(self.expires.map(|date| ("credential expiration date", number(date))));
        if was_reset {
            parts.push(("date of the secret", number(self.secret_changed)));
        }
        if !self.tags.is_empty() {
            parts.extend(tag_parts(&self.tags));
        }
        parts.push(("digest", [&[1], &Sha256::digest(&self.secret)[..]].concat()));
        parts
    }
}

fn read_tag(line: &str) -> (String, String) {
    let ["tag", key, value] = words(line) else { unreachable!("{line}") };
    (String::from_utf8(bytes(key)).unwrap(), String::from_utf8(bytes(value)).unwrap())
}

/// `/` is written as an empty text.
fn path_form(path: &str) -> &str {
    if path == "/" { "" } else { path }
}

fn tag_parts(tags: &[(String, String)]) -> Vec<(&'static str, Vec<u8>)> {
    let tag =
        |(key, value): &(String, String)| ("tag", [long_text(key), long_text(value)].concat());
    let count = ("number of tags", number(tags.len() as u64));
    std::iter::once(count).chain(tags.iter().map(tag)).collect()
}

fn long_text(text: &str) -> Vec<u8> {
    [&number(text.len() as u64), text.as_bytes()].concat()
}

fn words<const N: usize>(line: &str) -> [&str; N] {
    line.split(' ').collect::<Vec<_>>().try_into().unwrap()
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<_> = hex.chars().map(|digit| digit.to_digit(16).unwrap()).collect();
    digits.chunks(2).map(|pair| u8::try_from(pair[0] << 4 | pair[1]).unwrap()).collect()
}

/// The values of a record, with the names that errors use.
#[derive(Clone)]
struct Parts(Vec<(&'static str, Vec<u8>)>);

impl Parts {
    /// Replaces the `nth` value of this name by `bytes`.
    fn with(mut self, what: &str, nth: usize, bytes: &[u8]) -> Self {
        let mut named = self.0.iter_mut().filter(|(name, _)| *name == what);
        named.nth(nth).unwrap().1 = bytes.to_vec();
        self
    }

    fn get(&self, what: &str, nth: usize) -> &[u8] {
        &self.0.iter().filter(|(name, _)| *name == what).nth(nth).unwrap().1
    }

    fn body(&self) -> Vec<u8> {
        self.0.iter().flat_map(|(_, bytes)| bytes.clone()).collect()
    }

    fn decode(&self) -> Result<UserRecord, DecodeError> {
        decode_untrusted(&sealed(&self.body()))
    }
}

fn number(number: u64) -> Vec<u8> {
    let group = u8::try_from(number % 128).unwrap();
    match number / 128 {
        0 => vec![group],
        rest => [&[group | 0x80], &self::number(rest)[..]].concat(),
    }
}

fn text(text: &str) -> Vec<u8> {
    [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat()
}

fn sealed(body: &[u8]) -> Vec<u8> {
    [body, &Sha256::digest(body)[..4]].concat()
}

/// The names of the values.
const VALUES: [&str; 17] = [
    "account",
    "user id",
    "number of changes",
    "creation date",
    "user name",
    "path",
    "number of tags",
    "tag",
    "number of credentials",
    "credential id",
    "service name",
    "service user name",
    "credential flags",
    "credential creation date",
    "credential expiration date",
    "date of the secret",
    "digest",
];

/// Decodes arbitrary bytes. A decoded record is encoded to the same bytes, and an error contains
/// nothing of the input.
fn decode_untrusted(bytes: &[u8]) -> Result<UserRecord, DecodeError> {
    let result = UserRecord::decode(bytes);
    match &result {
        Ok(record) if bytes.first() == Some(&2) => assert_eq!(record.encode(), bytes),
        Ok(record) => {
            let rewritten = record.encode();
            assert_eq!(UserRecord::decode(&rewritten).unwrap().encode(), rewritten);
        }
        Err(UnknownFormat(format)) => assert_eq!(bytes.first(), Some(format)),
        Err(Value(what)) => assert!(VALUES.contains(what), "{what}"),
        Err(Repeated(what)) => assert!(["id", "service user name"].contains(what), "{what}"),
        Err(Empty | Checksum | Unordered | Surplus) => {}
        Err(other) => unreachable!("{other}"),
    }
    result
}

/// A store of one record that cannot be changed.
#[derive(Debug)]
struct ReadOnly(Arc<UserRecord>);

impl Store for ReadOnly {
    fn find(&self, key: &Key<'_>) -> Result<Option<Arc<UserRecord>>, StoreError> {
        Ok(self.0.holds(key).then(|| Arc::clone(&self.0)))
    }

    fn commit(&self, _: &Change) -> Result<CommitOutcome, StoreError> {
        Err(StoreError::new("read-only"))
    }

    fn scan(&self, _: &ScanRange<'_>) -> Result<Vec<Arc<UserRecord>>, StoreError> {
        Ok(vec![Arc::clone(&self.0)])
    }
}

#[test]
fn samples_are_encoded_to_the_recorded_bytes() {
    for (seed, (file, what, make)) in (1..).zip(SAMPLES) {
        let maker = Maker::new(seed);
        make(&maker);
        let text = maker.write(what);
        if let Ok(mut new) = File::create_new(path(2, file)) {
            new.write_all(text.as_bytes()).unwrap();
            unreachable!("a new sample was written: review and commit {file}");
        }
        assert!(
            fs::read_to_string(path(2, file)).unwrap() == text,
            "{file} is encoded differently"
        );
    }
}

#[test]
fn every_sample_is_listed() {
    for (format, count) in FORMATS {
        assert_eq!(fs::read_dir(directory(format)).unwrap().count(), count);
    }
}

#[test]
fn samples_have_the_documented_format() {
    for sample in Sample::all() {
        assert_eq!(sealed(&sample.parts().body()), sample.bytes, "{}", sample.name);
    }
}

#[test]
fn samples_decode_to_their_description_and_encode_to_the_same_bytes() {
    for sample in Sample::all() {
        let record = sample.record();
        // An earlier format is written as the present one.
        let written = Sample { format: 2, ..sample };
        assert_eq!(record.encode(), sealed(&written.parts().body()));
        let sample = written;
        assert_eq!(record.account().to_string().parse(), Ok(sample.account));
        assert_eq!(record.id().as_bytes(), &sample.user);
        assert_eq!(record.name().as_str(), sample.name);
        assert_eq!(record.created(), date(sample.created));
        assert_eq!(record.revision().count(), sample.changes);
        assert_eq!(record.credential_count(), sample.credentials.len());

        let (account, user) = (record.account(), &name::<UserName>(&sample.name));
        let mut keys = HashSet::from([Key::User { account, name: user }]);
        for Stated { id, service, name, .. } in &sample.credentials {
            keys.insert(Key::Credential { account, id });
            keys.insert(Key::ServiceUser { account, service, name });
            keys.insert(Key::Holder { account, service: Some(service), user });
            keys.insert(Key::Holder { account, service: None, user });
        }
        assert_eq!(record.keys().count(), keys.len());
        assert_eq!(record.keys().collect::<HashSet<_>>(), keys);
    }
}

#[test]
fn samples_are_listed_as_described() {
    for sample in Sample::all() {
        let store = ReadOnly(sample.record().into());
        let iam = CredentialManager::builder(store.0.account(), store)
            .clock(FixedClock::new(date(sample.created)))
            .build();
        let user: UserName = name(&sample.name);
        let listed = iam.list(&user).unwrap();
        assert_eq!(listed.len(), sample.credentials.len());
        for (credential, stated) in listed.iter().zip(&sample.credentials) {
            assert_eq!(*credential.id(), stated.id);
            assert_eq!(*credential.service(), stated.service);
            assert_eq!(credential.user_name().as_str(), sample.name);
            assert_eq!(credential.service_user_name().as_str(), stated.name);
            assert_eq!(credential.kind(), stated.kind);
            assert_eq!(credential.status(), stated.status);
            assert_eq!(credential.created(), date(stated.created));
            assert_eq!(credential.expires(), stated.expires.map(date));
            assert_eq!(credential.secret_changed(), date(stated.secret_changed));
            assert!(credential.tags().iter().eq(pairs(&stated.tags)));
        }
        let user = iam.user(&user).unwrap();
        assert_eq!(user.path().as_str(), sample.path);
        assert!(user.tags().iter().eq(pairs(&sample.tags)));
    }
}

fn pairs(tags: &[(String, String)]) -> impl Iterator<Item = (&str, &str)> {
    tags.iter().map(|(key, value)| (key.as_str(), value.as_str()))
}

#[test]
fn the_secrets_of_samples_still_authenticate() {
    for sample in Sample::all() {
        let record = Arc::new(sample.record());
        let clock = Arc::new(FixedClock::new(dawn()));
        let store = ReadOnly(Arc::clone(&record));
        let authenticator = Authenticator::new(store, policy(), Arc::clone(&clock));
        for Stated { kind, id, service, name, status, created, expires, secret, .. } in
            &sample.credentials
        {
            let authenticate = |secret: &str| {
                let response = match kind {
                    CredentialKind::Password => authenticator.authenticate(service, name, secret),
                    CredentialKind::ApiKey => authenticator.authenticate_api_key(service, secret),
                };
                let identity = response.map_err(|error| match error {
                    AuthenticationError::Denied(rejection) => rejection.reason(),
                    AuthenticationError::Unavailable(error) => unreachable!("{error}"),
                })?;
                assert_eq!((identity.user_id(), identity.credential().id()), (record.id(), id));
                Ok(())
            };
            let expected = match status {
                Status::Active => Ok(()),
                _ => Err(DenialReason::Inactive),
            };
            clock.set(date(*created));
            assert_eq!(authenticate(secret), expected);
            authenticate(&format!("{secret}x")).unwrap_err();
            if let Some(expires) = expires {
                clock.set(date(expires - 1));
                assert_eq!(authenticate(secret), expected);
                clock.set(date(*expires));
                assert_eq!(authenticate(secret), Err(DenialReason::Expired));
            }
        }
    }
}

#[test]
fn damage_is_detected() {
    assert_eq!(decode_untrusted(&[]).unwrap_err(), Empty);
    for Sample { bytes, .. } in Sample::small() {
        for length in 1..bytes.len() {
            assert_eq!(decode_untrusted(&bytes[..length]).unwrap_err(), Checksum, "{length}");
        }
        for more in [&[0][..], &[1], &[0xff], &bytes] {
            assert_eq!(decode_untrusted(&[&bytes, more].concat()).unwrap_err(), Checksum);
        }
        for flipped in flips(&bytes) {
            let known = [1, 2].contains(&flipped[0]);
            let expected = if known { Checksum } else { UnknownFormat(flipped[0]) };
            assert_eq!(decode_untrusted(&flipped).unwrap_err(), expected);
        }
    }
}

/// Copies of the bytes, each with one bit flipped.
fn flips(bytes: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    (0..bytes.len() * 8).map(|bit| {
        let mut flipped = bytes.to_vec();
        flipped[bit / 8] ^= 1 << (bit % 8);
        flipped
    })
}

#[test]
fn other_formats_are_rejected() {
    for sample in Sample::small() {
        for format in (0..=255).filter(|format| ![1, 2].contains(format)) {
            let other = sample.parts().with("format", 0, &[format]);
            assert_eq!(other.decode().unwrap_err(), UnknownFormat(format));
        }
    }
}

/// Two credentials, the second of which expires.
fn two() -> Parts {
    Sample::read("inactive_and_expiring").parts()
}

/// Two credentials of format 1.
fn two_of_format_1() -> Parts {
    Sample::of_format(1, "inactive_and_expiring").parts()
}

/// A path, tags, and a second credential that has tags and was reset.
fn detailed() -> Parts {
    Sample::read("path_and_tags").parts()
}

#[test]
fn the_error_names_a_missing_value() {
    for parts in Sample::small().map(|sample| sample.parts()) {
        let body = parts.body();
        let whose = parts.0.iter().flat_map(|(what, bytes)| vec![*what; bytes.len()]);
        for (length, what) in whose.enumerate().skip(1) {
            let cut = decode_untrusted(&sealed(&body[..length])).unwrap_err();
            assert_eq!(cut, Value(what), "{length}");
        }
    }
}

/// 9999-12-31T23:59:59.999Z.
const LAST: u64 = 253_402_300_799_999;

#[test]
fn the_error_names_an_invalid_value() {
    // More than 64 bits, without a last byte, and not canonical.
    let numbers = [
        [&[0xff; 9][..], &[0x02]].concat(),
        [0x80; 11].to_vec(),
        vec![0x80, 0x00],
        vec![0x81, 0x80, 0x00],
    ];
    let dates = [LAST + 1, i64::MAX as u64, i64::MAX as u64 + 1, u64::MAX].map(number);
    let texts = [vec![0], vec![1, 0xff], vec![2, 0xc3, 0x28], vec![3, 0xed, 0xa0, 0x80]];
    let values = |bad: &[&[Vec<u8>]]| bad.concat();
    let spoilt = |bad: &[&str]| bad.iter().copied().map(text).collect::<Vec<_>>();
    let long = |length: usize| text(&"a".repeat(length));
    let unknown = |algorithm| [&[algorithm], &two().get("digest", 0)[1..]].concat();
    let created = milliseconds(dawn()) + 86_400_001;
    for (what, bad) in [
        ("account", values(&[&numbers, &[1_000_000_000_000, u64::MAX].map(number)])),
        ("number of changes", values(&[&numbers, &[u64::MAX / 2 + 1, u64::MAX].map(number)])),
        ("creation date", values(&[&numbers, &dates])),
        (
            "user name",
            values(&[&texts, &spoilt(&["an ika", "anika\n", "änika", "a\0"]), &[long(65)]]),
        ),
        ("number of credentials", values(&[&numbers])),
        (
            "credential id",
            values(&[&texts, &spoilt(&["ACCA-ACCA-ACCA-ACCA-A"]), &[long(19), long(129)]]),
        ),
        (
            "service name",
            values(&[
                &texts,
                &spoilt(&["CodeCommit.amazonaws.com", "code_commit", "a\0"]),
                &[long(129), long(255)],
            ]),
        ),
        (
            "service user name",
            values(&[&texts, &spoilt(&["an ika", "anika\n", "é"]), &[long(92), long(200)]]),
        ),
        ("credential flags", (5..8).map(|bit| vec![1 << bit]).collect()),
        ("credential creation date", values(&[&numbers, &dates])),
        (
            "credential expiration date",
            values(&[&numbers, &dates, &[0, 1, created - 1].map(number)]),
        ),
        ("digest", [0, 2, 128, 255].map(unknown).to_vec()),
    ] {
        for nth in 0..two().0.iter().filter(|(name, _)| *name == what).count() {
            for bad in &bad {
                let error = two().with(what, nth, bad).decode().unwrap_err();
                assert_eq!(error, Value(what), "{bad:x?}");
                let message = format!("the record's {what} is missing or invalid");
                assert_eq!(error.to_string(), message);
                assert_eq!(format!("{error:?}"), format!("Value({what:?})"));
            }
        }
    }
}

#[test]
fn a_detail_that_is_not_valid_is_named() {
    let created = milliseconds(dawn());
    let tag = |key: &str, value: &str| [long_text(key), long_text(value)].concat();
    let paths = ["/", "//", "/a", "a/", "/ a/", "/é/"].map(long_text).to_vec();
    let too_long = long_text(&format!("/{}/", "p".repeat(511)));
    let long = |length: usize| "é".repeat(length);
    let tags = vec![
        tag("", ""),
        tag("a*", ""),
        tag("a", "\n"),
        tag(&long(129), ""),
        tag("a", &long(257)),
        [long_text("a"), vec![1, 0xff]].concat(),
    ];
    for (what, bad) in [
        ("path", [paths, vec![too_long, vec![1, 0xff], vec![0x80, 0x00]]].concat()),
        ("number of tags", vec![number(51), number(u64::MAX), vec![0x80, 0x00]]),
        ("tag", tags),
        ("date of the secret", [0, created - 1, created, LAST + 1].map(number).to_vec()),
    ] {
        for nth in 0..detailed().0.iter().filter(|(name, _)| *name == what).count() {
            for bad in &bad {
                let error = detailed().with(what, nth, bad).decode().unwrap_err();
                assert_eq!(error, Value(what), "{bad:x?}");
            }
        }
    }
    // In order of the keys, each once, and flagged only if there are any.
    let edited = |what, nth, bytes: &[u8]| detailed().with(what, nth, bytes).decode().map(drop);
    assert_eq!(edited("tag", 0, &tag("t", "")), Err(Value("tag")));
    assert_eq!(edited("tag", 0, &tag("z", "")), Err(Value("tag")));
    assert_eq!(edited("tag", 1, &tag("A", "")), Err(Value("tag")));
    let untagged = detailed().with("number of tags", 1, &[0]).with("tag", 2, &[]);
    assert_eq!(untagged.decode().unwrap_err(), Value("number of tags"));
    for (what, nth, good) in [
        ("path", 0, long_text("/a//b/")),
        ("path", 0, long_text(&format!("/{}/", "p".repeat(510)))),
        ("tag", 0, tag("a", &long(256))),
        ("tag", 1, tag(&long(128), "")),
        ("date of the secret", 0, number(created + 1)),
        ("date of the secret", 0, number(LAST)),
    ] {
        assert_eq!(edited(what, nth, &good), Ok(()), "{what}");
    }
}

#[test]
fn format_1_has_no_other_flags() {
    for bit in 3..8 {
        let flagged = two_of_format_1().with("credential flags", 0, &[1 << bit]);
        assert_eq!(flagged.decode().unwrap_err(), Value("credential flags"));
    }
    for flags in 0..4 {
        two_of_format_1().with("credential flags", 0, &[flags]).decode().unwrap();
    }
}

#[test]
fn values_at_their_bounds_are_decoded() {
    let long = |length: usize| text(&"a".repeat(length));
    let created = milliseconds(dawn()) + 86_400_001;
    for (what, nth, good) in [
        ("account", 0, [0, 999_999_999_999].map(number)),
        ("user id", 0, [vec![0; 16], vec![255; 16]]),
        ("number of changes", 0, [0, u64::MAX / 2].map(number)),
        ("creation date", 0, [0, LAST].map(number)),
        ("user name", 0, [1, 64].map(long)),
        ("credential id", 0, [20, 128].map(long)),
        ("service name", 0, [1, 128].map(long)),
        ("service user name", 0, [1, 91].map(long)),
        ("credential flags", 0, [vec![0], vec![3]]),
        ("credential flags", 1, [vec![4], vec![7]]),
        ("credential creation date", 0, [0, created - 1].map(number)),
        ("credential expiration date", 0, [created, LAST].map(number)),
    ] {
        for good in good {
            two().with(what, nth, &good).decode().unwrap();
        }
    }
}

/// The name of a value, its index among those of the name, and the replacing bytes.
type Replacement<'a> = (&'a str, usize, &'a [u8]);

#[test]
fn repeated_unordered_and_surplus_credentials_are_rejected() {
    let parts = two();
    let both = |what: &str| [0, 1].map(|nth| parts.get(what, nth).to_vec());
    let [id, later_id] = both("credential id");
    let [created, later] = both("credential creation date");
    let [service, _] = both("service name");
    let [name, _] = both("service user name");
    let (low, high) = if id < later_id { (&id, &later_id) } else { (&later_id, &id) };
    let capital = name.to_ascii_uppercase();
    let (repeated, surplus) = (Repeated("service user name"), Surplus);
    let rows: [(&[Replacement], _); 15] = [
        (&[], Ok(())),
        (&[("credential id", 1, &id)], Err(Repeated("id"))),
        (&[("credential id", 1, &id.to_ascii_lowercase())], Ok(())),
        (&[("service user name", 1, &name)], Ok(())),
        (&[("service name", 1, &service)], Err(repeated.clone())),
        (&[("service name", 1, &service), ("service user name", 1, &capital)], Err(repeated)),
        (&[("service name", 1, &service), ("service user name", 1, b"\x01a")], Ok(())),
        (&[("credential creation date", 0, &number(LAST))], Err(Unordered)),
        (&[("credential creation date", 1, &number(1))], Err(Unordered)),
        (
            &[
                ("credential creation date", 1, &created),
                ("credential id", 0, high),
                ("credential id", 1, low),
            ],
            Err(Unordered),
        ),
        (
            &[
                ("credential creation date", 0, &later),
                ("credential id", 0, low),
                ("credential id", 1, high),
            ],
            Ok(()),
        ),
        (&[("number of credentials", 0, &[0])], Err(surplus.clone())),
        (&[("number of credentials", 0, &[1])], Err(surplus.clone())),
        (&[("number of credentials", 0, &[3])], Err(Value("credential id"))),
        (&[("digest", 1, &[parts.get("digest", 1), &[0]].concat())], Err(surplus)),
    ];
    for (edits, expected) in rows {
        let edited = edits
            .iter()
            .fold(parts.clone(), |parts, (what, nth, bytes)| parts.with(what, *nth, bytes));
        assert_eq!(edited.decode().map(drop), expected, "{edits:x?}");
    }
}

#[test]
fn repeated_names_are_detected_at_any_distance() {
    for sample in ["renamed", "many_services"].map(Sample::read) {
        let parts = sample.parts();
        let last = sample.credentials.len() - 1;
        let repeat = |parts: Parts, what| {
            let first = parts.get(what, 0).to_vec();
            parts.with(what, last, &first)
        };
        let id = repeat(parts.clone(), "credential id");
        assert_eq!(id.decode().unwrap_err(), Repeated("id"));
        let name = repeat(repeat(parts, "service name"), "service user name");
        assert_eq!(name.decode().unwrap_err(), Repeated("service user name"));
    }
}

#[test]
fn a_false_number_of_credentials_allocates_nothing() {
    for announced in [3, 1 << 32, u64::MAX] {
        let body = two().with("number of credentials", 0, &number(announced)).body();
        let bytes = sealed(&body);
        // Regular expressions are compiled once, before allocations are counted.
        two().decode().unwrap();
        let allocated = allocation_counter::measure(|| {
            assert_eq!(UserRecord::decode(&bytes).unwrap_err(), Value("credential id"));
        });
        assert!(allocated.bytes_max < 4_096, "{allocated:?}");
    }
}

#[test]
fn decode_errors_have_precise_messages() {
    for (error, message) in [
        (Empty, "a record is never empty"),
        (UnknownFormat(9), "unsupported record format 9; supported: 1 and 2"),
        (Checksum, "the checksum of the record is wrong"),
        (Value("digest"), "the record's digest is missing or invalid"),
        (Repeated("id"), "two credentials of the record have the same id"),
        (Unordered, "the credentials of the record are not in order"),
        (Surplus, "there are bytes after the end of the record"),
    ] {
        assert_eq!(error.to_string(), message);
    }
}

#[test]
fn debug_output_contains_no_digest() {
    let record = Sample::read("two_passwords").record();
    assert!(format!("{record:?}").contains("digest: Sha256(..)"), "{record:?}");
}

#[test]
fn the_encoding_is_canonical() {
    let mut read = 0;
    for sample in Sample::small() {
        for flipped in flips(&sample.parts().body()) {
            read += usize::from(decode_untrusted(&sealed(&flipped)).is_ok());
        }
    }
    assert!(read > 1_000, "{read}");
}

#[derive(Clone, Debug)]
enum Edit {
    Set(Index, u8),
    Insert(Index, u8),
    Remove(Index),
    Repeat(Index, usize),
}

fn edited(mut bytes: Vec<u8>, edits: &[Edit]) -> Vec<u8> {
    for edit in edits {
        let place = |index: &Index| index.index(bytes.len().max(1)).min(bytes.len());
        match edit {
            Edit::Set(at, byte) => {
                let at = place(at);
                bytes.iter_mut().skip(at).take(1).for_each(|old| *old = *byte);
            }
            Edit::Insert(at, byte) => bytes.insert(place(at), *byte),
            Edit::Remove(at) => {
                let at = place(at);
                bytes.drain(at..bytes.len().min(at + 1));
            }
            Edit::Repeat(at, length) => {
                let (from, end) = (place(at), (place(at) + length).min(bytes.len()));
                bytes.extend_from_within(from..end);
            }
        }
    }
    bytes
}

#[test]
fn decoded_bytes_are_encoded_to_the_same_bytes() {
    let interesting = prop_oneof![Just(0_u8), Just(1), Just(0x7f), Just(0x80), any::<u8>()];
    let edit = prop_oneof![
        4 => (any::<Index>(), interesting.clone()).prop_map(|(at, byte)| Edit::Set(at, byte)),
        2 => (any::<Index>(), interesting.clone()).prop_map(|(at, byte)| Edit::Insert(at, byte)),
        1 => any::<Index>().prop_map(Edit::Remove),
        1 => (any::<Index>(), 0..150_usize).prop_map(|(at, length)| Edit::Repeat(at, length)),
    ];
    let bodies: Vec<_> = Sample::small().map(|sample| sample.parts().body()).collect();
    let edits = proptest::collection::vec(edit, 1..4);
    let mutated =
        (proptest::sample::select(bodies), edits).prop_map(|(body, edits)| edited(body, &edits));
    let random =
        proptest::collection::vec(interesting, 0..200).prop_map(|bytes| [vec![2], bytes].concat());
    run(&prop_oneof![3 => mutated, 1 => random], |body| {
        let _ = decode_untrusted(&body);
        let _ = decode_untrusted(&sealed(&body));
    });
}

fn run<S: Strategy>(strategy: &S, test: impl Fn(S::Value)) {
    let config = Config {
        cases: 3_000,
        rng_seed: RngSeed::Fixed(1),
        failure_persistence: None,
        ..Config::default()
    };
    let outcome = TestRunner::new(config).run(strategy, |value| {
        test(value);
        Ok(())
    });
    outcome.unwrap();
}
