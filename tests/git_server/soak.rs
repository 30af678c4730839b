//! Long tests, run by hand with `tests/git_server/soak` and `tests/git_server/gigabyte`.

use std::{
    fs,
    io::{Read, Write as _},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use rand::{RngExt as _, SeedableRng as _, rngs::ChaCha20Rng};
use service_specific_credentials::IssuedCredential;

use crate::{
    clients::peak,
    common::{CODECOMMIT, Folder, name},
    proxies::{HOST, Proxy, unchanged},
    world::{
        Server, World, basic, chunk, element, encoded, kill, status, unterminated_commands,
        wait_for_exit,
    },
};

const CLIENTS: usize = 16;
const REPOSITORIES: usize = 4;
/// The number of slots of the server. One user may take all of them.
const PROCESSES: usize = 24;
/// A command that takes longer counts as hung. No timeout of the server or of nginx is longer.
const HANG_TIMEOUT: Duration = Duration::from_secs(120);

/// A TCP relay that cuts a random third of its connections.
struct CuttingRelay {
    address: SocketAddr,
    /// The number of connections cut so far.
    cut: Arc<AtomicUsize>,
}

impl CuttingRelay {
    fn start(upstream: SocketAddr, seed: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let cut = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&cut);
        thread::spawn(move || {
            let mut random = ChaCha20Rng::seed_from_u64(seed);
            for client in listener.incoming() {
                let (Ok(client), Ok(server)) = (client, TcpStream::connect(upstream)) else {
                    continue;
                };
                let mut limits = [u64::MAX; 2];
                if random.random_range(0..3) == 0 {
                    // Cuts the connection within a head, or within a body.
                    let most: u64 = if random.random() { 4_000 } else { 400_000 };
                    limits[random.random_range(0..2)] = random.random_range(0..most);
                }
                let pairs =
                    [(client.try_clone().unwrap(), server.try_clone().unwrap()), (server, client)];
                for ((mut from, mut to), limit) in pairs.into_iter().zip(limits) {
                    let counter = Arc::clone(&counter);
                    thread::spawn(move || {
                        let copied = std::io::copy(&mut (&mut from).take(limit), &mut to);
                        if copied.is_ok_and(|copied| copied == limit) {
                            counter.fetch_add(1, Relaxed);
                            let _ = from.shutdown(Shutdown::Both);
                        }
                        let _ = to.shutdown(Shutdown::Both);
                    });
                }
            }
        });
        Self { address, cut }
    }
}

/// The results of the commands of all clients.
#[derive(Default)]
struct Figures {
    succeeded: AtomicUsize,
    failed: AtomicUsize,
    hung: AtomicUsize,
    slowest: Mutex<Duration>,
}

#[test]
#[ignore = "takes ten minutes"]
fn cut_connections_leak_no_processes_slots_or_memory() {
    let seconds = std::env::var("SSC_SOAK_SECONDS").map_or(600, |it| it.parse().unwrap());
    let world = World::new("soak");
    let iam = world.iam();
    let issued: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let user = iam.register_user(&name(&format!("user-{number}"))).unwrap();
            iam.create(user.name(), &name(CODECOMMIT)).unwrap()
        })
        .collect();
    drop(iam);
    let [all, each] = [PROCESSES, PROCESSES].map(|number| number.to_string());
    let options = ["--create", "--proxy", "127.0.0.1", "--failed-logins", "1000", "--processes"];
    let server = world.serve(&[&options[..], &[&all, "--processes-per-user", &each]].concat());
    let behind = CuttingRelay::start(server.address, 1);
    let nginx = Proxy::start("nginx", unchanged, &world, behind.address).expect("nginx");
    let before = CuttingRelay::start(SocketAddr::from(([127, 0, 0, 1], nginx.port)), 2);
    let resolve = format!("{HOST}:{}:127.0.0.1", before.address.port());
    world.run_git("", &["config", "--global", "http.curloptResolve", &resolve]);

    let passwords: Vec<_> =
        issued.iter().map(|it| Mutex::new(it.secret().expose().to_owned())).collect();
    let (figures, stop) = (Figures::default(), AtomicBool::new(false));
    let mut memory = Vec::new();
    let (start, mut resets) = (Instant::now(), 0);
    thread::scope(|scope| {
        for number in 0..CLIENTS {
            let (world, figures, stop, passwords) = (&world, &figures, &stop, &passwords);
            let (user, port) =
                (issued[number].service_user_name().to_string(), before.address.port());
            scope.spawn(move || {
                let url = |repository: usize| {
                    let password = encoded(&passwords[number].lock().unwrap());
                    format!("https://{}:{password}@{HOST}:{port}/demo-{repository}", encoded(&user))
                };
                run_client(world, number, url, figures, stop);
            });
        }
        let mut random = ChaCha20Rng::seed_from_u64(3);
        while start.elapsed() < Duration::from_secs(seconds) {
            thread::sleep(Duration::from_secs(1));
            memory.push(resident(&server));
            let chosen = random.random_range(0..CLIENTS);
            let user = format!("user-{chosen}");
            let user = ("UserName", &*user);
            let id = ("ServiceSpecificCredentialId", issued[chosen].id().as_str());
            let mut password = passwords[chosen].lock().unwrap();
            let response = server.admin("ResetServiceSpecificCredential", &[user, id]);
            assert_eq!(status(&response), 200, "{response}");
            *password = element(&response, "ServicePassword").to_owned();
            resets += 1;
        }
        stop.store(true, Relaxed);
    });

    let behind = behind.cut.load(Relaxed);
    drop(nginx);
    server.wait_until_idle();
    let lost = lost_slots(&server, &issued[0]);
    // Orphaned processes may take some seconds to end.
    let waiting_since = Instant::now();
    let mut strays = processes_of(&world);
    while !strays.is_empty() && waiting_since.elapsed() < HANG_TIMEOUT / 8 {
        strays = processes_of(&world);
    }
    for number in 0..REPOSITORIES {
        world.run_git(world.repository(&format!("demo-{number}.git")), &["fsck", "--strict"]);
    }

    let median = |part: &[u64]| {
        let mut part = part.to_vec();
        part.sort_unstable();
        part[part.len() / 2]
    };
    let quarter = memory.len() / 4;
    let (early, late) = (median(&memory[..quarter]), median(&memory[memory.len() - quarter..]));
    println!("{} s, {CLIENTS} clients", start.elapsed().as_secs());
    println!(
        "commands: {} succeeded, {} failed, {} hung, the slowest took {:.1} s",
        figures.succeeded.load(Relaxed),
        figures.failed.load(Relaxed),
        figures.hung.load(Relaxed),
        figures.slowest.lock().unwrap().as_secs_f64()
    );
    println!("connections cut: {} before nginx, {behind} behind it", before.cut.load(Relaxed));
    println!("credentials reset: {resets}");
    println!("stray processes: {}; lost slots: {lost}", strays.len());
    println!(
        "memory: median {early} KiB in the first quarter, {late} KiB in the last; peak {} KiB",
        peak(&server)
    );
    assert!(figures.succeeded.load(Relaxed) > 0);
    assert_eq!((figures.hung.load(Relaxed), lost), (0, 0));
    assert!(strays.is_empty(), "{strays:?}");
    assert!(late < early + early / 4, "memory grows");
    assert_eq!(server.stop(), Some(0));
}

/// Takes all slots with requests of one user. Returns the number of slots that do not run Git.
fn lost_slots(server: &Server, issued: &IssuedCredential) -> usize {
    let parameters =
        [("UserName", "user-0"), ("ServiceSpecificCredentialId", issued.id().as_str())];
    let response = server.admin("ResetServiceSpecificCredential", &parameters);
    let login = basic(issued.service_user_name().as_str(), element(&response, "ServicePassword"));
    let head = format!(
        "POST /demo-0/git-receive-pack HTTP/1.1\r\nHost: git\r\n{login}\r\n\
         Content-Type: application/x-git-receive-pack-request\r\n\
         Transfer-Encoding: chunked\r\n\r\n"
    );
    let (start, mut lost) = (Instant::now(), PROCESSES);
    // The server frees the slot of a process shortly after the process has ended.
    while lost > 0 && start.elapsed() < HANG_TIMEOUT {
        let stalled = [(); PROCESSES].map(|()| {
            let mut stream = TcpStream::connect(server.address).unwrap();
            stream.write_all(head.as_bytes()).unwrap();
            stream.write_all(&chunk(unterminated_commands(40_000).as_bytes())).unwrap();
            stream
        });
        let attempt = Instant::now();
        while lost > 0 && attempt.elapsed() < HANG_TIMEOUT / 8 {
            lost = lost.min(PROCESSES - server.receive_pack_count());
        }
        drop(stalled);
        server.wait_until_idle();
    }
    lost
}

/// Runs pushes, clones and fetches until `stop` is set.
fn run_client(
    world: &World,
    number: usize,
    url: impl Fn(usize) -> String,
    figures: &Figures,
    stop: &AtomicBool,
) {
    let mut random = ChaCha20Rng::seed_from_u64(100 + number as u64);
    let work = format!("work-{number}");
    world.create_work_tree(&work);
    for step in 0.. {
        if stop.load(Relaxed) {
            return;
        }
        let repository = random.random_range(0..REPOSITORIES);
        let url = url(repository);
        let clone = format!("clone-{number}");
        let branch = format!("main:client-{number}");
        let arguments = match random.random_range(0..8) {
            0..=2 => {
                let mut content = vec![0; random.random_range(0..200_000)];
                rand::Rng::fill_bytes(&mut random, &mut content);
                world.commit(&work, &format!("file-{}", step % 4), &content);
                vec!["-C", &work, "push", "--quiet", "--force", &url, &branch]
            }
            3 => {
                let chunked = "http.postBuffer=65536";
                vec!["-C", &work, "-c", chunked, "push", "--quiet", "--force", &url, &branch]
            }
            4 => vec!["clone", "--quiet", "--bare", &url, &clone],
            5 => vec!["clone", "--quiet", "--bare", "--depth=1", &url, &clone],
            6 => vec!["clone", "--quiet", "--bare", "--filter=blob:none", &url, &clone],
            _ => vec!["-C", &work, "fetch", "--quiet", &url],
        };
        let mut git = world.spawn_git("", &arguments);
        let start = Instant::now();
        // Some commands are killed early.
        let killed_early = random.random_range(0..10) == 0;
        let timeout = if killed_early {
            Duration::from_millis(random.random_range(0..1000))
        } else {
            HANG_TIMEOUT
        };
        let succeeded = loop {
            if let Some(status) = git.try_wait().unwrap() {
                break status.success();
            }
            if start.elapsed() > timeout {
                if !killed_early {
                    let words: Vec<_> = arguments.iter().filter(|it| **it != url).collect();
                    println!("hung: {words:?}");
                    figures.hung.fetch_add(1, Relaxed);
                }
                kill(git);
                break false;
            }
            thread::sleep(Duration::from_millis(20));
        };
        let counter = if succeeded { &figures.succeeded } else { &figures.failed };
        counter.fetch_add(1, Relaxed);
        let mut slowest = figures.slowest.lock().unwrap();
        *slowest = start.elapsed().max(*slowest);
        drop(slowest);
        let _ = fs::remove_dir_all(world.folder.file(&clone));
        // Starts a new history, to keep it short.
        if step % 16 == 15 {
            fs::remove_dir_all(world.folder.file(&work)).unwrap();
            world.create_work_tree(&work);
        }
    }
}

/// The ids of all processes that serve a repository of `world`, including orphans.
fn processes_of(world: &World) -> Vec<u32> {
    let root = format!("GIT_PROJECT_ROOT={}", world.repository("").display());
    let serves = |pid: &u32| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        String::from_utf8_lossy(&environment).contains(root.trim_end_matches('/'))
    };
    crate::world::all_processes().map(|(pid, _)| pid).filter(serves).collect()
}

/// The resident memory of the server, in KiB.
fn resident(server: &Server) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", server.child.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse().unwrap()
}

#[test]
#[ignore = "takes minutes, and 5 GB of disk space"]
fn memory_is_bounded_during_a_push_and_a_clone_of_a_gigabyte() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("gigabyte");
    let _ = fs::remove_dir_all(&folder);
    let world = World::at(Folder(folder));
    let issued = world.issue_credential();
    let server = world.serve(&["--create"]);
    world.create_work_tree("work");
    let mut random = ChaCha20Rng::seed_from_u64(7);
    // Git stores a push of 100 objects or more as a pack. It serves clones from this pack without a
    // search for deltas.
    let mut noise = vec![0; 8 << 20];
    for number in 0..128 {
        rand::Rng::fill_bytes(&mut random, &mut noise);
        fs::write(world.folder.file("work").join(number.to_string()), &noise).unwrap();
    }
    world.run_git("work", &["config", "core.compression", "0"]);
    // Disables the search for deltas: it takes most of the time, and random data has none.
    world.run_git("work", &["config", "core.bigFileThreshold", "1m"]);
    world.run_git("work", &["add", "."]);
    world.run_git("work", &["commit", "--quiet", "-m", "noise"]);
    let url = server.url_of(&issued, "demo");
    for buffer in ["http.postBuffer=1048576", "http.postBuffer=2000000000"] {
        let start = Instant::now();
        world.run_git("work", &["-c", buffer, "push", "--quiet", &url, "main"]);
        println!(
            "{buffer}: pushed in {:.0} s, peak {} KiB",
            start.elapsed().as_secs_f64(),
            peak(&server)
        );
        let start = Instant::now();
        world.run_git("", &["clone", "--quiet", "--bare", &url, "clone"]);
        println!("cloned in {:.0} s, peak {} KiB", start.elapsed().as_secs_f64(), peak(&server));
        assert_eq!(world.head("clone", "main"), world.head("work", "main"));
        fs::remove_dir_all(world.folder.file("clone")).unwrap();
        fs::remove_dir_all(world.repository("demo.git")).unwrap();
    }
    assert!(peak(&server) < 64 << 10);
    let started = server.descendants();
    wait_for_exit(&started);
}
