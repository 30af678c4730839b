//! Each operation in memory compared with its floor: the minimal work for the same users, in plain
//! maps without rules, locks or order. From 1,000 users with two credentials each to 10,000,000.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_precision_loss,
    reason = "a benchmark stops where it fails, and rounds"
)]

mod measure;

use std::{collections::HashMap, hint::black_box, ops::Range, sync::Arc, thread};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use measure::{Figures, Target, grouped, in_turns, rounds, shuffled, sizes, time};
use service_specific_credentials::{
    Credential, CredentialId, CredentialManager, Entropy, IssuedCredential, ListRequest, MaxItems,
    MemoryStore, Policy, PolicyBuilder, ServiceName, Status, SystemEntropy, UserName,
};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

/// The largest number of users for which both contenders are in memory, and measured in turns.
const TOGETHER: usize = 1_000_000;
/// The number of picked users, spread over all.
const PICKS: usize = 200_000;
/// The number of operations per round.
const COUNT: usize = 10_000;
/// The number of pages per round.
const PAGES: usize = 100;

const AUTHENTICATE: &str = "authenticate";
const ON_TWO_THREADS: &str = "authenticate on two threads";
const PAGE: &str = "a page of 100 credentials";
/// A reset changes passwords, so it comes after what authenticates.
const OPERATIONS: [&str; 6] =
    [AUTHENTICATE, ON_TWO_THREADS, "create", "reset", "list one user", PAGE];

/// The bound of the ratio to the floor. With more users, what both wait for is memory.
fn target(operation: &str, users: usize) -> Target {
    match operation {
        AUTHENTICATE if users <= 10_000 => Target::AtMost(2.0),
        AUTHENTICATE if users <= 100_000 => Target::AtMost(1.6),
        AUTHENTICATE => Target::AtMost(1.25),
        "create" | "reset" => Target::AtMost(1.8),
        "list one user" => Target::AtMost(1.5),
        _ => Target::None,
    }
}

/// What is measured: this crate, or the floor.
trait Contender: Sized {
    /// Users with two credentials each.
    fn populate(users: usize) -> Self;

    /// The nanoseconds per operation, on other users with each call.
    fn time(&mut self, operation: &str) -> f64;
}

fn manager() -> CredentialManager<Arc<MemoryStore>> {
    CredentialManager::new("123456789012".parse().unwrap(), Arc::new(MemoryStore::new()))
}

fn codecommit() -> ServiceName {
    "codecommit.amazonaws.com".parse().unwrap()
}

fn cassandra() -> ServiceName {
    "cassandra.amazonaws.com".parse().unwrap()
}

fn user_name(number: usize) -> String {
    format!("user{number:08}")
}

/// Registers a user and creates two credentials.
fn issue(
    iam: &CredentialManager<Arc<MemoryStore>>,
    service: &ServiceName,
    number: usize,
) -> [IssuedCredential; 2] {
    let user = user_name(number).parse().unwrap();
    iam.register_user(&user).unwrap();
    [(); 2].map(|()| iam.create(&user, service).unwrap())
}

/// A user and one of its credentials.
struct Pick {
    user: UserName,
    id: CredentialId,
    name: String,
    /// The key of the floor.
    key: String,
    password: String,
}

/// The picks, in an order of their own.
struct Picks {
    picks: Vec<Pick>,
    next: usize,
}

impl Picks {
    /// Picks from users in the order in which they were created, and calls `each` for all of them.
    fn from(
        users: usize,
        mut issue: impl FnMut(usize) -> [IssuedCredential; 2],
        mut each: impl FnMut([IssuedCredential; 2]),
    ) -> Self {
        let step = users.div_ceil(PICKS);
        let mut picks = Vec::with_capacity(users / step);
        for (place, number) in shuffled(users).into_iter().enumerate() {
            let issued = issue(number);
            if place % step == 0 {
                let issued = &issued[number % 2];
                let credential = issued.credential();
                let name = credential.service_user_name().as_str();
                picks.push(Some(Pick {
                    user: credential.user_name().clone(),
                    id: credential.id().as_str().parse().unwrap(),
                    name: name.to_owned(),
                    key: key(credential.service(), name),
                    password: issued.secret().expose().to_owned(),
                }));
            }
            each(issued);
        }
        let order = shuffled(picks.len());
        let picks = order.into_iter().map(|place| picks[place].take().unwrap()).collect();
        Self { picks, next: 0 }
    }

    /// The picks of the next round, which are all different.
    fn next(&mut self) -> Range<usize> {
        let start = if self.next < self.picks.len() { self.next } else { 0 };
        self.next = (start + COUNT).min(self.picks.len());
        start..self.next
    }
}

/// The nanoseconds per call, with the calls divided between two threads.
fn on_two_threads(picks: &[Pick], call: impl Fn(&Pick) + Sync) -> f64 {
    let (one, other) = picks.split_at(picks.len() / 2);
    time(picks.len(), || {
        thread::scope(|scope| {
            scope.spawn(|| one.iter().for_each(&call));
            other.iter().for_each(&call);
        });
    })
}

struct Ours {
    iam: CredentialManager<Arc<MemoryStore>>,
    picks: Picks,
    pages: Vec<ListRequest>,
}

impl Contender for Ours {
    fn populate(users: usize) -> Self {
        let (iam, service) = (manager(), codecommit());
        let picks = Picks::from(users, |number| issue(&iam, &service, number), drop);
        let pages = pages(&iam, users);
        Self { iam, picks, pages }
    }

    fn time(&mut self, operation: &str) -> f64 {
        let (service, second) = (codecommit(), cassandra());
        let Self { iam, picks, pages } = self;
        let range = picks.next();
        let picks = &picks.picks[range];
        let authenticate = |pick: &Pick| {
            black_box(iam.authenticate(&service, &pick.name, &pick.password).unwrap());
        };
        match operation {
            AUTHENTICATE => time(picks.len(), || picks.iter().for_each(authenticate)),
            ON_TWO_THREADS => on_two_threads(picks, authenticate),
            "create" => {
                let mut issued = Vec::with_capacity(picks.len());
                let time = time(picks.len(), || {
                    issued
                        .extend(picks.iter().map(|pick| iam.create(&pick.user, &second).unwrap()));
                });
                for issued in issued {
                    iam.delete(issued.credential().user_name(), issued.id()).unwrap();
                }
                time
            }
            "reset" => time(picks.len(), || {
                for pick in picks {
                    black_box(&iam.reset(&pick.user, &pick.id).unwrap());
                }
            }),
            "list one user" => time(picks.len(), || {
                for pick in picks {
                    black_box(&iam.list(&pick.user).unwrap());
                }
            }),
            PAGE => {
                pages.rotate_left(PAGES);
                time(PAGES, || {
                    for page in &pages[..PAGES] {
                        let page = iam.list_page(page).unwrap();
                        assert_eq!(black_box(&page).items.len(), 100);
                    }
                })
            }
            other => panic!("{other} is no operation"),
        }
    }
}

/// Requests for pages that begin anywhere in the listing of all users, in random order.
fn pages(iam: &CredentialManager<Arc<MemoryStore>>, users: usize) -> Vec<ListRequest> {
    let of = |items| ListRequest::all_users().max_items(MaxItems::new(items).unwrap());
    let step = u32::try_from((2 * users / 1_000).clamp(10, 1_000)).unwrap();
    let mut markers = Vec::new();
    let mut request = of(step);
    while let Some(marker) = iam.list_page(&request).unwrap().next {
        markers.push(marker.clone());
        request = request.marker(marker);
    }
    // A page that begins later has fewer than 100 items.
    markers.truncate(markers.len() - 100 / step as usize);
    let order = shuffled(markers.len());
    order
        .into_iter()
        .cycle()
        .take(1_000)
        .map(|place| of(100).marker(markers[place].clone()))
        .collect()
}

/// The maps of a minimal program, without rules, locks or order.
struct Floor {
    credentials: HashMap<String, Vec<Credential>>,
    digests: HashMap<String, [u8; 32]>,
    owners: HashMap<String, String>,
    picks: Picks,
    /// The users of each page.
    pages: Vec<Vec<String>>,
}

/// The key of a service user name.
fn key(service: &ServiceName, name: &str) -> String {
    format!("{service}/{name}")
}

/// A password and its digest.
fn draw_password() -> (String, [u8; 32]) {
    let mut bytes = [0; 32];
    SystemEntropy.fill(&mut bytes).unwrap();
    let password = STANDARD.encode(bytes);
    let digest = Sha256::digest(&password).into();
    (password, digest)
}

/// A credential id.
fn draw_id() -> String {
    let mut random = [0; 17];
    SystemEntropy.fill(&mut random).unwrap();
    let letters = random.iter().map(|byte| char::from(b'A' + byte % 26));
    "ACCA".chars().chain(letters).collect()
}

impl Contender for Floor {
    fn populate(users: usize) -> Self {
        let mut floor = Self {
            credentials: HashMap::new(),
            digests: HashMap::new(),
            owners: HashMap::new(),
            picks: Picks { picks: Vec::new(), next: 0 },
            pages: Vec::new(),
        };
        // The credentials come from a manager that is replaced before it is large.
        let (mut iam, service, mut issued) = (manager(), codecommit(), 0);
        floor.picks = Picks::from(
            users,
            |number| {
                issued += 1;
                if issued % 1_000 == 0 {
                    iam = manager();
                }
                issue(&iam, &service, number)
            },
            |issued| {
                let mut of_user = Vec::with_capacity(2);
                for issued in issued {
                    let (credential, secret) = issued.into_parts();
                    let name = credential.service_user_name().as_str();
                    let digest = Sha256::digest(secret.expose()).into();
                    floor.digests.insert(key(&service, name), digest);
                    let user = credential.user_name().as_str().to_owned();
                    floor.owners.insert(credential.id().as_str().to_owned(), user);
                    of_user.push(credential);
                }
                let user = of_user[0].user_name().as_str().to_owned();
                floor.credentials.insert(user, of_user);
            },
        );
        let pages = shuffled(users / 50).into_iter().cycle().take(1_000);
        floor.pages =
            pages.map(|page| (page * 50..(page + 1) * 50).map(user_name).collect()).collect();
        floor
    }

    fn time(&mut self, operation: &str) -> f64 {
        let Self { credentials, digests, owners, picks, pages } = self;
        let range = picks.next();
        let picks = &picks.picks[range];
        let second = cassandra();
        let second_key = |pick: &Pick| format!("{second}/{}+1-at-123456789012", pick.user);
        match operation {
            AUTHENTICATE => time(picks.len(), || {
                for pick in picks {
                    verify(digests, pick);
                }
            }),
            ON_TWO_THREADS => on_two_threads(picks, |pick| verify(digests, pick)),
            "create" => {
                let mut made = Vec::with_capacity(picks.len());
                let time = time(picks.len(), || {
                    for pick in picks {
                        let id = draw_id();
                        let (password, digest) = draw_password();
                        digests.insert(second_key(pick), digest);
                        owners.insert(id.clone(), pick.user.as_str().to_owned());
                        made.push((id, password));
                    }
                });
                for (pick, (id, _)) in picks.iter().zip(made) {
                    digests.remove(&second_key(pick));
                    owners.remove(&id);
                }
                time
            }
            "reset" => time(picks.len(), || {
                for pick in picks {
                    let digest = digests.get_mut(&pick.key).unwrap();
                    let (password, new) = draw_password();
                    *digest = new;
                    black_box(password);
                }
            }),
            "list one user" => time(picks.len(), || {
                for pick in picks {
                    black_box(credentials[pick.user.as_str()].clone());
                }
            }),
            PAGE => {
                pages.rotate_left(PAGES);
                time(PAGES, || {
                    for users in &pages[..PAGES] {
                        let mut page = Vec::with_capacity(100);
                        for user in users {
                            page.extend_from_slice(&credentials[user]);
                        }
                        black_box(page);
                    }
                })
            }
            other => panic!("{other} is no operation"),
        }
    }
}

fn verify(digests: &HashMap<String, [u8; 32]>, pick: &Pick) {
    let presented: [u8; 32] = Sha256::digest(&pick.password).into();
    assert!(bool::from(digests[&pick.key].ct_eq(&presented)));
}

/// The times of all operations, of one contender alone.
fn alone<C: Contender>(users: usize) -> [Vec<f64>; OPERATIONS.len()] {
    let mut contender = C::populate(users);
    OPERATIONS.map(|operation| (0..rounds()).map(|_| contender.time(operation)).collect())
}

fn growth(figures: &mut Figures, users: usize) {
    if users > TOGETHER {
        let times = alone::<Ours>(users).into_iter().zip(alone::<Floor>(users));
        for (operation, (ours, floor)) in OPERATIONS.into_iter().zip(times) {
            let target = target(operation, users);
            figures.compared(operation, (users, 1), target, &[ours, floor]);
        }
    } else {
        let (mut ours, mut floor) = (Ours::populate(users), Floor::populate(users));
        for operation in OPERATIONS {
            let target = target(operation, users);
            let times = in_turns(|| ours.time(operation), || floor.time(operation));
            figures.compared(operation, (users, 1), target, &times);
        }
    }
}

/// Figures that follow from those of the operations.
fn derived(figures: &mut Figures, sizes: &[usize]) {
    let of = |operation: &str, users: usize| {
        let mut all = figures.comparisons.iter();
        all.find(|found| found.operation == operation && found.users == users).unwrap()
    };
    let gain = |users| of(AUTHENTICATE, users).ratio / of(ON_TWO_THREADS, users).ratio;
    let page = |users| of(PAGE, users).ours / of(PAGE, sizes[0]).ours;
    let together = *sizes.iter().rfind(|size| **size <= TOGETHER).unwrap();
    let (gain, page) = (gain(together), page(together));
    figures.value(
        "gain by a second authenticating thread, of the floor's gain",
        gain,
        "times",
        Target::AtLeast(0.9),
    );
    figures.value(
        &format!(
            "a page of 100 credentials, among {} users to among {}",
            grouped(together),
            grouped(sizes[0]),
        ),
        page,
        "times",
        Target::AtMost(4.0),
    );
}

/// A user with as many credentials as any policy allows, compared with one who has two.
fn largest_user(figures: &mut Figures) {
    let names = (0..Policy::MAX_SERVICES).map(|number| format!("service{number}.amazonaws.com"));
    let services: Vec<ServiceName> = names.map(|name| name.parse().unwrap()).collect();
    let limit = Policy::MAX_CREDENTIALS_PER_SERVICE;
    let policy = Policy::builder().without_services().credentials_per_service(limit);
    let policy = services.iter().cloned().fold(policy, PolicyBuilder::password_service);
    let iam = CredentialManager::builder("123456789012".parse().unwrap(), MemoryStore::new())
        .policy(policy.build().unwrap())
        .build();
    let [two, many]: [UserName; 2] = ["two", "many"].map(|name| name.parse().unwrap());
    iam.register_user(&two).unwrap();
    iam.register_user(&many).unwrap();
    let issue = |user: &UserName, service: &ServiceName| iam.create(user, service).unwrap();
    let of_two = [(); 2].map(|()| issue(&two, &services[0]));
    let of_many: Vec<IssuedCredential> =
        (0..limit).flat_map(|_| services.iter().map(|service| issue(&many, service))).collect();
    let size = of_many.len();
    let many_credentials = format!("{} credentials", grouped(size));

    let authenticate = |issued: &IssuedCredential| {
        let (credential, secret) = (issued.credential(), issued.secret());
        let name = credential.service_user_name().as_str();
        black_box(iam.authenticate(credential.service(), name, secret.expose()).unwrap());
    };
    figures.compare(
        &format!("authenticate: {many_credentials} beside two"),
        (2, 1),
        Target::AtMost(3.0),
        || time(size, || of_many.iter().for_each(authenticate)),
        || time(size, || of_two.iter().cycle().take(size).for_each(authenticate)),
    );

    let mut of_many = of_many.iter().map(IssuedCredential::credential).cycle();
    let mut change = |what: &str, change: &dyn Fn(&Credential)| {
        let times = (0..rounds() * 4).map(|_| {
            let credential = of_many.next().unwrap();
            time(1, || change(credential))
        });
        let micros = measure::median(times) / 1e3;
        let what = format!("{what}, a user with {many_credentials}");
        figures.value(&what, micros, "µs", Target::AtMost(1_000.0));
    };
    change("disable", &|credential| {
        iam.set_status(&many, credential.id(), Status::Inactive).unwrap();
    });
    change("reset", &|credential| {
        black_box(&iam.reset(&many, credential.id()).unwrap());
    });
    change("delete and create", &|credential| {
        iam.delete(&many, credential.id()).unwrap();
        black_box(&iam.create(&many, credential.service()).unwrap());
    });
}

fn main() {
    let mut figures = Figures::default();
    let sizes = sizes(10_000_000);
    for users in &sizes {
        growth(&mut figures, *users);
    }
    derived(&mut figures, &sizes);
    largest_user(&mut figures);
    figures.write("operations");
}
