//! Tests the proxy configurations of the example's README with the real proxies.
//!
//! Proxies that are not installed are skipped. If `SSC_REQUIRE_PROXIES` is set, a missing proxy is
//! an error, and the tests also push 50 MB, which takes two minutes.

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

use crate::world::{Server, World, encoded, err, kill, unterminated_commands, wait_for_exit};

pub(crate) const HOST: &str = "git.example.com";
const README: &str = include_str!("../../examples/git_server/README.md");

/// The code block of the README in this language.
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
        // nginx stops its workers on SIGTERM. SIGKILL would leave them running.
        let pid = rustix::process::Pid::from_child(&self.child);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.child.wait();
    }
}

/// A change to a documented configuration.
type Change = fn(&str) -> String;

pub(crate) fn unchanged(configuration: &str) -> String {
    configuration.to_owned()
}

impl Proxy {
    /// Starts a proxy with its configuration in the README; `None` if the proxy is not installed.
    pub(crate) fn start(
        name: &'static str,
        change: Change,
        world: &World,
        upstream: SocketAddr,
    ) -> Option<Self> {
        let program = find(name)?;
        let folder = world.folder.file(name);
        fs::create_dir(&folder).unwrap();
        create_certificates(&folder);
        let port = free_port();
        let language = if name == "caddy" { "caddyfile" } else { name };
        let site = change(documented(language))
            .replace("127.0.0.1:8080", &upstream.to_string())
            .replace("/etc/ssl/", &format!("{}/", folder.display()))
            // Listens on loopback only, and on a port that does not need root.
            .replace("listen 443", &format!("listen 127.0.0.1:{port}"))
            .replace("bind :443", &format!("bind 127.0.0.1:{port}"))
            .replace("git.example.com {", &format!("git.example.com:{port} {{"));
        let file = folder.join("configuration");
        fs::write(&file, with_test_settings(name, &site, &folder)).unwrap();
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
            assert!(proxy.child.try_wait().unwrap().is_none(), "{name} has exited: {}", log());
            thread::yield_now();
        }
        let resolve = format!("{HOST}:{port}:127.0.0.1");
        world.run_git("", &["config", "--global", "http.curloptResolve", &resolve]);
        let authority = folder.join("authority.pem");
        world.run_git("", &["config", "--global", "http.sslCAInfo", authority.to_str().unwrap()]);
        Some(proxy)
    }

    pub(crate) fn url(&self, issued: &IssuedCredential, repository: &str) -> String {
        let (user, password) = (issued.service_user_name().as_str(), issued.secret().expose());
        format!("https://{}:{}@{HOST}:{}/{repository}", encoded(user), encoded(password), self.port)
    }

    /// A `curl` command that connects from 127.0.0.9.
    fn curl(&self, world: &World, login: &str, path: &str) -> Command {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--interface", "127.0.0.9", "--cacert"])
            .arg(world.folder.file(self.name).join("authority.pem"))
            .args(["--resolve", &format!("{HOST}:{}:127.0.0.1", self.port), "--user", login])
            .arg(format!("https://{HOST}:{}{path}", self.port));
        curl
    }
}

fn proxies_are_required() -> bool {
    std::env::var_os("SSC_REQUIRE_PROXIES").is_some()
}

fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/usr/local/sbin";
    let found =
        std::env::split_paths(&path).map(|folder| folder.join(name)).find(|it| it.is_file());
    if found.is_none() {
        assert!(!proxies_are_required(), "{name} is not installed");
        eprintln!("skipped: {name} is not installed");
    }
    found
}

fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

/// Creates a certificate authority, and a certificate and a key for [`HOST`].
fn create_certificates(folder: &Path) {
    let authority_key = KeyPair::generate().unwrap();
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    // A certificate whose subject equals its issuer counts as self-signed.
    authority.distinguished_name.push(rcgen::DnType::CommonName, "authority");
    let issuer = authority.self_signed(&authority_key).unwrap();
    fs::write(folder.join("authority.pem"), issuer.pem()).unwrap();
    let key = KeyPair::generate().unwrap();
    let issuer = rcgen::Issuer::new(authority, authority_key);
    let leaf = CertificateParams::new([HOST.to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    let certificate_and_key = leaf.pem() + &key.serialize_pem();
    fs::write(folder.join("git.example.com.pem"), certificate_and_key).unwrap();
    fs::write(folder.join("git.example.com.key"), key.serialize_pem()).unwrap();
}

/// Adds the settings that isolate the proxy from the proxy of the system.
fn with_test_settings(name: &str, site: &str, folder: &Path) -> String {
    let folder = folder.display();
    match name {
        "nginx" => format!(
            "daemon off; user root; pid {folder}/pid; error_log stderr;\nevents {{}}\nhttp {{\n\
             access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;\n\
             fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;\n\
             {site}}}\n"
        ),
        // Over HTTP/2, uploads of curl 7.88 sometimes stall: see the README.
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

/// The tested configurations: a label, the program, the change to the documented configuration, and
/// whether the proxy forwards a request body as it arrives.
const PROXIES: [(&str, &str, Change, bool); 5] = [
    ("nginx", "nginx", unchanged, false),
    ("nginx-1.1", "nginx", http_1_1, false),
    ("nginx-unbuffered", "nginx", unbuffered, true),
    ("haproxy", "haproxy", unchanged, true),
    ("caddy", "caddy", unchanged, true),
];

/// Runs a test with each proxy, in a separate [`World`].
fn with_each(
    test: &str,
    options: &[&str],
    run: impl Fn(&World, &Server, &Proxy, &IssuedCredential, bool) + Sync,
) {
    for (label, name, change, streams) in PROXIES {
        println!("{label}");
        let world = World::new(&format!("{test}-{label}"));
        let issued = world.issue_credential();
        let server = world.serve(&[&["--create", "--proxy", "127.0.0.1"], options].concat());
        let Some(proxy) = Proxy::start(name, change, &world, server.address) else { continue };
        world.create_work_tree("work");
        run(&world, &server, &proxy, &issued, streams);
        server.wait_until_idle();
    }
}

#[test]
fn pushes_and_clones_succeed_through_each_proxy() {
    let sizes: &[usize] = if proxies_are_required() { &[1, 5, 50] } else { &[1, 5] };
    with_each("pass", &[], |world, _, proxy, issued, _| {
        for &megabytes in sizes {
            world.commit_noise("work", megabytes << 20);
            let head = world.head("work", "HEAD");
            // Git sends a `Content-Length` if the push fits into the buffer, and chunks otherwise.
            for buffer in ["1", "1000"] {
                let url = proxy.url(issued, &format!("demo-{megabytes}-{buffer}"));
                let buffer = format!("http.postBuffer={}", buffer.parse::<u32>().unwrap() << 20);
                world.run_git("work", &["-c", &buffer, "push", "--quiet", &url, "main"]);
                let name = url.rsplit_once('/').unwrap().1;
                assert_eq!(world.head(world.repository(&format!("{name}.git")), "main"), head);
                world.run_git("", &["clone", "--quiet", "--bare", &url, name]);
                assert_eq!(world.head(name, "main"), head);
                fs::remove_dir_all(world.folder.file(name)).unwrap();
                fs::remove_dir_all(world.repository(&format!("{name}.git"))).unwrap();
            }
        }
        let complaint = world
            .git_fails("work", &["ls-remote", &format!("https://x:y@{HOST}:{}/demo", proxy.port)]);
        assert!(complaint.contains("Authentication failed"), "{complaint}");
        assert!(!world.log().contains("ERROR"), "{}", world.log());
    });
}

#[test]
fn a_client_cannot_forge_its_address() {
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
fn a_killed_git_process_aborts_the_response() {
    with_each("dies", &[], |world, server, proxy, issued, _| {
        if proxy.name == "caddy" {
            // Caddy 2.6 ends an incomplete response as if it were complete: see the README.
            return;
        }
        world.commit_noise("work", 5 << 20);
        world.run_git("work", &["push", "--quiet", &server.url_of(issued, "demo"), "main"]);
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
        // Git is killed after 2.5 MB of the response.
        let script = "git http-backend | head -c 2500000; kill -9 $$";
        world.replace_git(r#"[ "$1$REQUEST_METHOD" = http-backendPOST ]"#, script);
        let output = clone();
        assert!(!output.status.success(), "{}", proxy.name);
        assert!(fs::metadata(world.folder.file("response")).unwrap().len() > 100_000);
    });
}

#[test]
fn git_processes_end_when_the_client_disconnects() {
    with_each("disconnects", &[], |world, server, proxy, issued, streams| {
        world.run_git("work", &["push", "--quiet", &proxy.url(issued, "demo"), "main"]);
        // The client disconnects during the request body.
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
            stdin.write_all(unterminated_commands(100_000).as_bytes()).unwrap();
            let started = server.wait_for_process(|git| git.contains("receive-pack"));
            curl.kill().unwrap();
            curl.wait().unwrap();
            wait_for_exit(&started);
        }
        // The client disconnects before the response.
        world.hook("demo.git", "pre-receive", "exec tail -f /dev/null");
        world.commit("work", "again", b"again");
        let push =
            world.spawn_git("work", &["push", "--quiet", &proxy.url(issued, "demo"), "main"]);
        let started = server.wait_for_process(|git| git.contains("tail"));
        kill(push);
        wait_for_exit(&started);
    });
}
