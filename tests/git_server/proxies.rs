//! The configurations of proxies that the README of the example has, with the real proxies.
//!
//! A test whose proxy is not installed is skipped, unless `SSC_REQUIRE_PROXIES` is set. Then 50 MB
//! are pushed too, which takes two minutes.

use std::{
    fs,
    io::Write as _,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
};

use rcgen::{CertificateParams, KeyPair};
use service_specific_credentials::IssuedCredential;

use crate::world::{Server, World, encoded, endless_commands, err, kill, wait_for_the_end_of};

pub(crate) const HOST: &str = "git.example.com";
const README: &str = include_str!("../../examples/git_server/README.md");

/// The block of the README in this language.
fn documented(language: &str) -> &'static str {
    let (_, rest) = README.split_once(&format!("\n```{language}\n")).unwrap();
    rest.split_once("```").unwrap().0
}

/// A proxy in front of a server. It is stopped when it is dropped.
pub(crate) struct Proxy {
    name: &'static str,
    child: Child,
    pub(crate) port: u16,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // nginx has workers, which end with it unless it is killed.
        let pid = rustix::process::Pid::from_child(&self.child);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.child.wait();
    }
}

/// What a test changes in a documented configuration.
type Change = fn(&str) -> String;

pub(crate) fn as_it_is(configuration: &str) -> String {
    configuration.to_owned()
}

impl Proxy {
    /// Starts the proxy that the README has this configuration for; `None` if it is not installed.
    pub(crate) fn start(
        name: &'static str,
        change: Change,
        world: &World,
        upstream: SocketAddr,
    ) -> Option<Self> {
        let program = find(name)?;
        let folder = world.folder.file(name);
        fs::create_dir(&folder).unwrap();
        certify(&folder);
        let port = free_port();
        let language = if name == "caddy" { "caddyfile" } else { name };
        let site = change(documented(language))
            .replace("127.0.0.1:8080", &upstream.to_string())
            .replace("/etc/ssl/", &format!("{}/", folder.display()))
            // Ports below 1024 are for root, and other addresses for other machines.
            .replace("listen 443", &format!("listen 127.0.0.1:{port}"))
            .replace("bind :443", &format!("bind 127.0.0.1:{port}"))
            .replace("git.example.com {", &format!("git.example.com:{port} {{"));
        let file = folder.join("configuration");
        fs::write(&file, surround(name, &site, &folder)).unwrap();
        let mut command = Command::new(program);
        match name {
            "nginx" => command.arg("-p").arg(&folder).arg("-c").arg(&file),
            "haproxy" => command.arg("-db").arg("-f").arg(&file),
            _ => command.args(["run", "--adapter", "caddyfile", "--config"]).arg(&file),
        };
        let log = fs::File::create(folder.join("log")).unwrap();
        let child = command
            .env("HOME", &folder)
            .env("XDG_DATA_HOME", &folder)
            .env("XDG_CONFIG_HOME", &folder)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut proxy = Self { name, child, port };
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            let log = || fs::read_to_string(folder.join("log")).unwrap();
            assert!(proxy.child.try_wait().unwrap().is_none(), "{name} ends: {}", log());
            thread::yield_now();
        }
        let resolve = format!("{HOST}:{port}:127.0.0.1");
        world.does("", &["config", "--global", "http.curloptResolve", &resolve]);
        let authority = folder.join("authority.pem");
        world.does("", &["config", "--global", "http.sslCAInfo", authority.to_str().unwrap()]);
        Some(proxy)
    }

    pub(crate) fn url(&self, issued: &IssuedCredential, repository: &str) -> String {
        let (user, password) = (issued.service_user_name().as_str(), issued.secret().expose());
        format!("https://{}:{}@{HOST}:{}/{repository}", encoded(user), encoded(password), self.port)
    }

    /// `curl`, from another address of this machine.
    fn curl(&self, world: &World, login: &str, path: &str) -> Command {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--interface", "127.0.0.9", "--cacert"])
            .arg(world.folder.file(self.name).join("authority.pem"))
            .args(["--resolve", &format!("{HOST}:{}:127.0.0.1", self.port), "--user", login])
            .arg(format!("https://{HOST}:{}{path}", self.port));
        curl
    }
}

fn are_required() -> bool {
    std::env::var_os("SSC_REQUIRE_PROXIES").is_some()
}

fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/usr/local/sbin";
    let found =
        std::env::split_paths(&path).map(|folder| folder.join(name)).find(|it| it.is_file());
    if found.is_none() {
        assert!(!are_required(), "{name} is not installed");
        eprintln!("skipped: {name} is not installed");
    }
    found
}

fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

/// An authority, and a certificate of it for the host, with its key.
fn certify(folder: &Path) {
    let authority_key = KeyPair::generate().unwrap();
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    // A certificate whose subject is that of its issuer counts as self-signed.
    authority.distinguished_name.push(rcgen::DnType::CommonName, "authority");
    let issuer = authority.self_signed(&authority_key).unwrap();
    fs::write(folder.join("authority.pem"), issuer.pem()).unwrap();
    let key = KeyPair::generate().unwrap();
    let issuer = rcgen::Issuer::new(authority, authority_key);
    let leaf = CertificateParams::new([HOST.to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    let both = leaf.pem() + &key.serialize_pem();
    fs::write(folder.join("git.example.com.pem"), both).unwrap();
    fs::write(folder.join("git.example.com.key"), key.serialize_pem()).unwrap();
}

/// What else the proxy needs to run apart from the system's own.
fn surround(name: &str, site: &str, folder: &Path) -> String {
    let folder = folder.display();
    match name {
        "nginx" => format!(
            "daemon off; user root; pid {folder}/pid; error_log stderr;\nevents {{}}\nhttp {{\n\
             access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;\n\
             fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;\n\
             {site}}}\n"
        ),
        // Over HTTP/2, uploads of curl 7.88 stall at times: see the README.
        "caddy" => format!(
            "{{\nservers {{\nprotocols h1\n}}\nadmin off\nauto_https disable_redirects\ndefault_bind 127.0.0.1\n\
             storage file_system {folder}\n}}\n{site}"
        ),
        _ => site.to_owned(),
    }
}

fn http_1_1(configuration: &str) -> String {
    configuration.replace("    proxy_pass", "    proxy_http_version 1.1;\n    proxy_pass")
}

fn unbuffered(configuration: &str) -> String {
    http_1_1(configuration)
        .replace("    proxy_pass", "    proxy_request_buffering off;\n    proxy_pass")
}

/// Each proxy in each configuration, and whether it forwards a request before it has all of it.
const PROXIES: [(&str, &str, Change, bool); 5] = [
    ("nginx", "nginx", as_it_is, false),
    ("nginx-1.1", "nginx", http_1_1, false),
    ("nginx-unbuffered", "nginx", unbuffered, true),
    ("haproxy", "haproxy", as_it_is, true),
    ("caddy", "caddy", as_it_is, true),
];

/// Runs a test with each proxy, each in a world of its own.
fn with_each(
    test: &str,
    options: &[&str],
    run: impl Fn(&World, &Server, &Proxy, &IssuedCredential, bool) + Sync,
) {
    for (label, name, change, streams) in PROXIES {
        println!("{label}");
        let world = World::new(&format!("{test}-{label}"));
        let issued = world.anika();
        let server = world.serve(&[&["--create", "--proxy", "127.0.0.1"], options].concat());
        let Some(proxy) = Proxy::start(name, change, &world, server.address) else { continue };
        world.work("work");
        run(&world, &server, &proxy, &issued, streams);
        server.wait_until_idle();
    }
}

#[test]
fn pushes_and_clones_of_each_size_pass() {
    let sizes: &[usize] = if are_required() { &[1, 5, 50] } else { &[1, 5] };
    with_each("pass", &[], |world, _, proxy, issued, _| {
        for &megabytes in sizes {
            world.commit_noise("work", megabytes << 20);
            let head = world.head("work", "HEAD");
            // With a length, if it fits into the buffer, or else in chunks.
            for buffer in ["1", "1000"] {
                let url = proxy.url(issued, &format!("demo-{megabytes}-{buffer}"));
                let buffer = format!("http.postBuffer={}", buffer.parse::<u32>().unwrap() << 20);
                world.does("work", &["-c", &buffer, "push", "--quiet", &url, "main"]);
                let name = url.rsplit_once('/').unwrap().1;
                assert_eq!(world.head(world.repository(&format!("{name}.git")), "main"), head);
                world.does("", &["clone", "--quiet", "--bare", &url, name]);
                assert_eq!(world.head(name, "main"), head);
                fs::remove_dir_all(world.folder.file(name)).unwrap();
                fs::remove_dir_all(world.repository(&format!("{name}.git"))).unwrap();
            }
        }
        let complaint =
            world.fails("work", &["ls-remote", &format!("https://x:y@{HOST}:{}/demo", proxy.port)]);
        assert!(complaint.contains("Authentication failed"), "{complaint}");
        assert!(!world.log().contains("ERROR"), "{}", world.log());
    });
}

#[test]
fn the_address_of_a_client_passes_and_cannot_be_forged() {
    let path = "/demo/info/refs?service=git-upload-pack";
    with_each("address", &[], |world, _, proxy, _, _| {
        let mut curl = proxy.curl(world, "typed:typed", path);
        let output = curl.args(["--header", "X-Forwarded-For: 192.0.2.1"]).output().unwrap();
        assert!(output.status.success(), "{}", err(&output));
        let log = world.log();
        assert!(log.lines().last().unwrap().contains("client=127.0.0.9"), "{log}");
    });
}

#[test]
fn a_git_process_that_dies_breaks_the_response() {
    with_each("dies", &[], |world, server, proxy, issued, _| {
        if proxy.name == "caddy" {
            // Caddy 2.6 ends an incomplete response as if it were complete. The README says so.
            return;
        }
        world.commit_noise("work", 5 << 20);
        world.does("work", &["push", "--quiet", &server.url_of(issued, "demo"), "main"]);
        let body = world.folder.file("request");
        fs::write(&body, world.fetch_body("demo.git")).unwrap();
        let login = format!("{}:{}", issued.service_user_name(), issued.secret().expose());
        let clone = || {
            let mut curl = proxy.curl(world, &login, "/demo/git-upload-pack");
            curl.args(["--header", "Content-Type: application/x-git-upload-pack-request"])
                .arg("--data-binary")
                .arg(format!("@{}", body.display()))
                .arg("--output")
                .arg(world.folder.file("response"));
            curl.output().unwrap()
        };
        assert!(clone().status.success());
        // The same with half of the response.
        let half = "git http-backend | head -c 2500000; kill -9 $$";
        world.replace_git(r#"[ "$1$REQUEST_METHOD" = http-backendPOST ]"#, half);
        let output = clone();
        assert!(!output.status.success(), "{}", proxy.name);
        assert!(fs::metadata(world.folder.file("response")).unwrap().len() > 100_000);
    });
}

#[test]
fn a_client_that_disconnects_ends_git() {
    with_each("disconnects", &[], |world, server, proxy, issued, streams| {
        world.does("work", &["push", "--quiet", &proxy.url(issued, "demo"), "main"]);
        // In the middle of a request.
        if streams {
            let login = format!("{}:{}", issued.service_user_name(), issued.secret().expose());
            let mut curl = proxy.curl(world, &login, "/demo/git-receive-pack");
            let mut curl = curl
                .args(["--request", "POST", "--upload-file", "-", "--no-buffer"])
                .args(["--header", "Content-Type: application/x-git-receive-pack-request"])
                .stdin(Stdio::piped())
                .spawn()
                .unwrap();
            let mut stdin = curl.stdin.take().unwrap();
            stdin.write_all(endless_commands(100_000).as_bytes()).unwrap();
            let started = server.wait_for(|git| git.contains("receive-pack"));
            curl.kill().unwrap();
            curl.wait().unwrap();
            wait_for_the_end_of(&started);
        }
        // Before the response.
        world.hook("demo.git", "pre-receive", "exec tail -f /dev/null");
        world.commit("work", "again", b"again");
        let push = world.begins("work", &["push", "--quiet", &proxy.url(issued, "demo"), "main"]);
        let started = server.wait_for(|git| git.contains("tail"));
        kill(push);
        wait_for_the_end_of(&started);
    });
}
