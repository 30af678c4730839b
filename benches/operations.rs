//! Each operation on a store of 1,000,000 users with two credentials each, compared with its floor:
//! the minimal work for the same picks. A summary of the ratios comes last.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a benchmark stops where it fails"
)]

use std::{
    cell::Cell,
    collections::HashMap,
    fs,
    hint::black_box,
    path::PathBuf,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use criterion::{Criterion, Throughput};
use service_specific_credentials::{
    Credential, CredentialId, CredentialManager, Entropy, ListRequest, MaxItems, MemoryStore,
    ServiceName, SystemEntropy, UserName,
};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

const USERS: usize = 1_000_000;
const FEW_USERS: usize = 1_000;
const PICKS: usize = 1 << 19;

/// The maps of a minimal program, without rules, locks or order.
#[derive(Default)]
struct Plain {
    credentials: HashMap<String, Vec<Credential>>,
    digests: HashMap<String, [u8; 32]>,
    owners: HashMap<String, String>,
}

struct Population {
    iam: CredentialManager<Arc<MemoryStore>>,
    plain: Plain,
    picks: Vec<Pick>,
}

/// A user and one of its two credentials, picked at random. The picks are stored in the order of
/// their use, so that reading them adds little to the measurement.
struct Pick {
    user: UserName,
    plain_user: String,
    id: CredentialId,
    name: String,
    plain_key: String,
    password: String,
}

fn codecommit() -> ServiceName {
    "codecommit.amazonaws.com".parse().unwrap()
}

fn cassandra() -> ServiceName {
    "cassandra.amazonaws.com".parse().unwrap()
}

fn user_name(number: usize) -> String {
    format!("user{number:06}")
}

fn plain_key(service: &ServiceName, name: &str) -> String {
    format!("{service}/{name}")
}

fn random() -> u64 {
    let mut bytes = [0; 8];
    SystemEntropy.fill(&mut bytes).unwrap();
    u64::from_le_bytes(bytes)
}

fn populate(users: usize) -> Population {
    let service = codecommit();
    let store = Arc::new(MemoryStore::new());
    let iam = CredentialManager::new("123456789012".parse().unwrap(), store);
    let mut plain = Plain::default();
    let mut passwords = Vec::with_capacity(2 * users);
    // Registered in random order, as users are.
    let mut numbers: Vec<usize> = (0..users).collect();
    for place in (1..users).rev() {
        numbers.swap(place, usize::try_from(random()).unwrap() % (place + 1));
    }
    for number in numbers {
        let user: UserName = user_name(number).parse().unwrap();
        iam.register_user(&user).unwrap();
        for _ in 0..2 {
            let (credential, secret) = iam.create(&user, &service).unwrap().into_parts();
            let digest = Sha256::digest(secret.expose()).into();
            plain
                .digests
                .insert(plain_key(&service, credential.service_user_name().as_str()), digest);
            let id = credential.id().as_str().to_owned();
            plain.owners.insert(id, user.as_str().to_owned());
            passwords.push((credential.clone(), secret.expose().to_owned()));
            plain.credentials.entry(user.as_str().to_owned()).or_default().push(credential);
        }
    }
    let picks = (0..PICKS)
        .map(|_| {
            let (credential, password) =
                &passwords[usize::try_from(random()).unwrap() % passwords.len()];
            let name = credential.service_user_name().as_str();
            Pick {
                user: credential.user_name().clone(),
                plain_user: credential.user_name().as_str().to_owned(),
                id: credential.id().as_str().parse().unwrap(),
                name: name.to_owned(),
                plain_key: plain_key(&service, name),
                password: password.clone(),
            }
        })
        .collect();
    Population { iam, plain, picks }
}

impl Population {
    /// The picks, repeated, from where the last call stopped.
    fn picks(&self) -> impl Iterator<Item = &Pick> {
        thread_local!(static NEXT: Cell<usize> = const { Cell::new(0) });
        let start = NEXT.with(|next| next.replace((next.get() + PICKS / 7) % PICKS));
        self.picks.iter().cycle().skip(start)
    }
}

fn draw_password() -> (String, [u8; 32]) {
    let mut bytes = [0; 32];
    SystemEntropy.fill(&mut bytes).unwrap();
    let password = STANDARD.encode(bytes);
    let digest = Sha256::digest(&password).into();
    (password, digest)
}

fn authenticate(criterion: &mut Criterion, population: &Population) {
    let service = codecommit();
    let Population { iam, plain, .. } = population;
    let floor = |pick: &Pick| {
        let stored = plain.digests.get(&pick.plain_key).unwrap();
        let presented: [u8; 32] = Sha256::digest(&pick.password).into();
        bool::from(stored.ct_eq(&presented))
    };
    let ours = |pick: &Pick| iam.authenticate(&service, &pick.name, &pick.password).is_ok();

    let mut group = criterion.benchmark_group("authenticate");
    let mut picks = population.picks();
    group.bench_function("floor", |b| b.iter(|| assert!(floor(picks.next().unwrap()))));
    group.bench_function("ours", |b| b.iter(|| assert!(ours(picks.next().unwrap()))));
    group.finish();

    let mut group = criterion.benchmark_group("authenticate on two threads");
    group.throughput(Throughput::Elements(1));
    group.bench_function("floor", |b| b.iter_custom(|n| on_two_threads(population, n, &floor)));
    group.bench_function("ours", |b| b.iter_custom(|n| on_two_threads(population, n, &ours)));
    group.finish();
}

/// The time of `count` calls divided between two threads.
fn on_two_threads(
    population: &Population,
    count: u64,
    call: &(impl Fn(&Pick) -> bool + Sync),
) -> Duration {
    let half = usize::try_from(count.div_ceil(2)).unwrap();
    let run = |skip| {
        for pick in population.picks.iter().cycle().skip(skip).take(half) {
            assert!(call(pick));
        }
    };
    let skip = usize::try_from(random()).unwrap() % PICKS;
    let start = Instant::now();
    thread::scope(|scope| {
        scope.spawn(|| run(skip));
        run((skip + PICKS / 2) % PICKS);
    });
    start.elapsed()
}

/// Creates at a second service. The created credentials are deleted outside of the measured time.
fn create(criterion: &mut Criterion, population: &mut Population) {
    const BATCH: u64 = 10_000;
    let service = cassandra();
    let mut group = criterion.benchmark_group("create");

    let Population { iam, plain, picks } = population;
    let mut start = 0;
    group.bench_function("floor", |b| {
        b.iter_custom(|count| {
            in_batches(count, BATCH, |batch| {
                start = (start + 7 * 10_000) % PICKS;
                let picks: Vec<_> = picks.iter().cycle().skip(start).take(batch).collect();
                let mut made = Vec::with_capacity(batch);
                let clock = Instant::now();
                for pick in &picks {
                    let mut random = [0; 17];
                    SystemEntropy.fill(&mut random).unwrap();
                    let id: String = std::iter::once("ACCA")
                        .flat_map(str::chars)
                        .chain(random.iter().map(|byte| char::from(b'A' + byte % 26)))
                        .collect();
                    let (password, digest) = draw_password();
                    let key = format!("{service}/{}+1-at-123456789012", pick.plain_user);
                    plain.digests.insert(key, digest);
                    plain.owners.insert(id.clone(), pick.plain_user.clone());
                    made.push((id, password));
                }
                let elapsed = clock.elapsed();
                for (pick, (id, _)) in picks.iter().zip(made) {
                    let key = format!("{service}/{}+1-at-123456789012", pick.plain_user);
                    plain.digests.remove(&key);
                    plain.owners.remove(&id);
                }
                elapsed
            })
        });
    });
    group.bench_function("ours", |b| {
        b.iter_custom(|count| {
            in_batches(count, BATCH, |batch| {
                start = (start + 7 * 10_000) % PICKS;
                let picks: Vec<_> = picks.iter().cycle().skip(start).take(batch).collect();
                let mut made = Vec::with_capacity(batch);
                let clock = Instant::now();
                for pick in &picks {
                    // A user whom the batch picks a third time reaches the limit; few do.
                    made.push(iam.create(&pick.user, &service));
                }
                let elapsed = clock.elapsed();
                for issued in made.into_iter().flatten() {
                    iam.delete(issued.credential().user_name(), issued.id()).unwrap();
                }
                elapsed
            })
        });
    });
    group.finish();
}

fn in_batches(count: u64, batch: u64, mut run: impl FnMut(usize) -> Duration) -> Duration {
    let whole = (0..count / batch).map(|_| batch);
    let batches = whole.chain(std::iter::once(count % batch));
    batches.map(|size| run(usize::try_from(size).unwrap())).sum()
}

fn reset(criterion: &mut Criterion, population: &Population) {
    let Population { iam, plain, .. } = population;
    let mut picks = population.picks();
    let mut group = criterion.benchmark_group("reset");
    group.bench_function("floor", |b| {
        b.iter(|| {
            let pick = picks.next().unwrap();
            black_box(plain.digests.get(&pick.plain_key).unwrap());
            draw_password()
        });
    });
    group.bench_function("ours", |b| {
        b.iter(|| {
            let pick = picks.next().unwrap();
            iam.reset(&pick.user, &pick.id).unwrap()
        });
    });
    group.finish();
}

fn list(criterion: &mut Criterion, population: &Population) {
    let Population { iam, plain, .. } = population;
    let mut picks = population.picks();
    let mut group = criterion.benchmark_group("list one user");
    group.bench_function("floor", |b| {
        b.iter(|| plain.credentials.get(&picks.next().unwrap().plain_user).unwrap().clone());
    });
    group.bench_function("ours", |b| b.iter(|| iam.list(&picks.next().unwrap().user).unwrap()));
    group.finish();
}

fn page(criterion: &mut Criterion, many: &Population, few: &Population) {
    let mut group = criterion.benchmark_group("page of 100");
    for (name, population) in [("floor", few), ("ours", many)] {
        let pages = pages_of_100(population);
        let mut pages = pages.iter().cycle();
        group.bench_function(name, |b| {
            b.iter(|| {
                let page = population.iam.list_page(pages.next().unwrap()).unwrap();
                assert_eq!(page.items.len(), 100);
                page
            });
        });
    }
    group.finish();
}

/// Requests for pages that begin anywhere in the listing of all users, in random order.
fn pages_of_100(population: &Population) -> Vec<ListRequest> {
    let of = |items| ListRequest::all_users().max_items(MaxItems::new(items).unwrap());
    let users = population.plain.credentials.len();
    let step = u32::try_from(users / 1_000).unwrap().clamp(10, 1_000);
    let mut markers = Vec::new();
    let mut request = of(step);
    while let Some(marker) = population.iam.list_page(&request).unwrap().next {
        markers.push(marker.clone());
        request = request.marker(marker);
    }
    markers.truncate(markers.len() - 100 / step as usize);
    (0..10_000)
        .map(|_| {
            of(100).marker(markers[usize::try_from(random()).unwrap() % markers.len()].clone())
        })
        .collect()
}

/// The median of criterion's measurement, in nanoseconds.
fn median(group: &str, name: &str) -> Option<f64> {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/target")),
        PathBuf::from,
    );
    let file = target.join("criterion").join(group).join(name).join("new/estimates.json");
    let estimates: serde_json::Value = serde_json::from_slice(&fs::read(file).ok()?).ok()?;
    estimates["median"]["point_estimate"].as_f64()
}

fn summarize() {
    println!("\n{:<30}{:>12}{:>12}{:>9}  target", "median", "floor", "ours", "ratio");
    for (group, target) in [
        ("authenticate", "at most 1.5"),
        ("create", "at most 2.5"),
        ("reset", "at most 2.5"),
        ("list one user", "at most 1.5"),
        ("page of 100", "at most 4"),
        ("authenticate on two threads", ""),
    ] {
        if let (Some(floor), Some(ours)) = (median(group, "floor"), median(group, "ours")) {
            let ratio = ours / floor;
            println!("{group:<30}{floor:>9.0} ns{ours:>9.0} ns{ratio:>9.2}  {target}");
        }
    }
    let gain =
        |name| Some(median("authenticate", name)? / median("authenticate on two threads", name)?);
    if let (Some(floor), Some(ours)) = (gain("floor"), gain("ours")) {
        let ratio = ours / floor;
        println!(
            "{:<30}{floor:>11.2}x{ours:>11.2}x{ratio:>9.2}  at least 0.9",
            "gain by a second thread"
        );
    }
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let mut many = populate(USERS);
    let few = populate(FEW_USERS);
    authenticate(&mut criterion, &many);
    create(&mut criterion, &mut many);
    reset(&mut criterion, &many);
    list(&mut criterion, &many);
    page(&mut criterion, &many, &few);
    criterion.final_summary();
    summarize();
}
