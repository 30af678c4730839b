//! Limits on concurrent requests, connections, timeouts, and request heads.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    process::Command,
    thread,
};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::{
    common::{CODECOMMIT, name},
    world::{
        World, chunk, err, raw, read_response, request, status, unterminated_commands,
        wait_until_read,
    },
};

#[test]
fn concurrent_git_requests_are_limited() {
    let world = World::new("processes");
    let issued = world.issue_credential();
    let iam = world.iam();
    let other = iam.register_user(&name("other")).unwrap();
    let other = iam.create(other.name(), &name(CODECOMMIT)).unwrap();
    drop(iam);
    let server = world.serve(&["--create", "--processes", "1"]);
    let url = server.url_of(&issued, "demo");
    // Sequential requests do not reach the limit.
    world.create_work_tree("work");
    world.run_git("work", &["push", &url, "main"]);

    let mut stalled = server.post("/demo/git-receive-pack", &issued, "Transfer-Encoding: chunked");
    stalled.write_all(&chunk(unterminated_commands(40_000).as_bytes())).unwrap();
    server.wait_for_process(|git| git.contains("receive-pack"));
    let path = "/demo/info/refs?service=git-upload-pack";
    for (credential, expected, text) in [
        (&issued, 429, "too many requests of this user are in progress"),
        (&other, 503, "too many requests are in progress"),
    ] {
        let response = raw(server.address, &request("GET", path, credential, "Connection: close"));
        assert_eq!(status(&response), expected, "{response}");
        assert!(response.contains("\r\nretry-after: 1\r\n"), "{response}");
        assert!(response.ends_with(&format!("\r\n\r\n{text}\n")), "{response}");
    }
    // A rejected request creates no repository.
    let new = "/new/info/refs?service=git-receive-pack";
    assert_eq!(server.status("GET", new, &issued), 429);
    assert!(!world.repository("new.git").exists());

    drop(stalled);
    while server.status("GET", path, &issued) == 429 {
        thread::yield_now();
    }
    world.run_git("", &["clone", "--quiet", &url, "clone"]);
    assert_eq!(world.head("clone", "HEAD"), world.head("work", "HEAD"));
}

#[test]
fn one_user_cannot_take_all_slots() {
    let world = World::new("share");
    let iam = world.iam();
    let [greedy, modest] = ["greedy", "modest"].map(|user| {
        let user = iam.register_user(&name(user)).unwrap();
        iam.create(user.name(), &name(CODECOMMIT)).unwrap()
    });
    drop(iam);
    // The timeout is so long that no request times out on a slow machine.
    let server = world.serve(&["--create", "--processes", "8", "--body-timeout", "3600"]);
    world.create_work_tree("work");
    world.run_git("work", &["push", "--quiet", &server.url_of(&modest, "demo"), "main"]);
    let stall = || {
        let chunked = "Transfer-Encoding: chunked";
        let mut stream = server.post("/demo/git-receive-pack", &greedy, chunked);
        stream.write_all(&chunk(unterminated_commands(40_000).as_bytes())).unwrap();
        wait_until_read(&stream);
        stream
    };
    let mut stalled: Vec<_> = (0..64).map(|_| stall()).collect();
    // One user may take a quarter of all slots. Further requests fail immediately.
    let path = "/demo/info/refs?service=git-upload-pack";
    let response = raw(server.address, &request("GET", path, &greedy, "Connection: close"));
    assert_eq!(status(&response), 429, "{response}");
    while server.receive_pack_count() != 2 {
        thread::yield_now();
    }
    // Disabling the credential ends no request in progress and does not affect other users.
    let id = ("ServiceSpecificCredentialId", greedy.id().as_str());
    let parameters = [("UserName", "greedy"), id, ("Status", "Inactive")];
    let response = server.admin("UpdateServiceSpecificCredential", &parameters);
    assert_eq!(status(&response), 200, "{response}");
    let url = server.url_of(&modest, "demo");
    world.run_git("", &["clone", "--quiet", &url, "clone"]);
    world.commit("work", "again", b"again");
    world.run_git("work", &["push", "--quiet", &url, "main"]);
    assert_eq!(server.receive_pack_count(), 2);
    stalled.clear();
    server.wait_until_idle();
}

#[test]
fn an_incomplete_short_body_takes_no_slot() {
    let world = World::new("short");
    let issued = world.issue_credential();
    let server = world.serve(&["--create", "--processes", "1"]);
    world.create_work_tree("work");
    let url = server.url_of(&issued, "demo");
    world.run_git("work", &["push", "--quiet", &url, "main"]);
    let stalled = [0, 1, 2].map(|_| {
        let mut stream = server.post("/demo/git-upload-pack", &issued, "Content-Length: 1000");
        stream.write_all(b"00").unwrap();
        wait_until_read(&stream);
        stream
    });
    world.run_git("", &["clone", "--quiet", &url, "clone"]);
    drop(stalled);
}

#[test]
fn idle_connections_block_neither_the_admin_address_nor_git() {
    const IDLE: usize = 1100;

    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let files =
        Rlimit { current: maximum.map_or(Some(1 << 16), |it| Some(it.min(1 << 16))), maximum };
    setrlimit(Resource::Nofile, files).unwrap();
    let world = World::new("idle-connections");
    let issued = world.issue_credential();
    // The usual soft limit on open files in a login shell.
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -Sn 1024; exec \"$@\"", "sh"]);
    let server = world.command();
    command.arg(server.get_program()).args(server.get_args());
    command.args(["--create", "--admin", "127.0.0.1:0", "--head-timeout", "1"]);
    let server = world.start(&mut command);
    world.create_work_tree("work");
    let url = server.url_of(&issued, "demo");
    world.run_git("work", &["push", "--quiet", &url, "main"]);

    let open = |address: SocketAddr, number: usize| {
        let mut stream = TcpStream::connect(address).unwrap();
        let incomplete = ["", "G", "GET / HTTP/1.1\r\nHost: git\r\n"][number % 3];
        stream.write_all(incomplete.as_bytes()).unwrap();
        stream
    };
    let mut idle: Vec<_> = (0..IDLE).map(|number| open(server.address, number)).collect();
    assert_eq!(status(&server.admin("ListUsers", &[])), 200);
    world.run_git("", &["clone", "--quiet", &url, "clone"]);
    // The server closes idle connections and connections with an incomplete head.
    for stream in &mut idle {
        let _ = read_response(stream);
    }
    // Idle connections to the admin address do not block Git. The admin address serves further
    // requests once it has closed idle connections.
    let mut idle: Vec<_> = (0..100).map(|number| open(server.admin, number)).collect();
    world.run_git("clone", &["fetch", "--quiet"]);
    assert_eq!(status(&server.admin("ListUsers", &[])), 200);
    for stream in &mut idle {
        let _ = read_response(stream);
    }
    assert!(!world.log().contains("ERROR"), "{}", world.log());
}

#[test]
fn an_idle_keep_alive_connection_is_closed() {
    let world = World::new("keep-alive");
    let issued = world.issue_credential();
    let server = world.serve(&["--head-timeout", "0.2"]);
    let mut stream = TcpStream::connect(server.address).unwrap();
    let get = request("GET", "/", &issued, "Connection: keep-alive");
    stream.write_all(get.as_bytes()).unwrap();
    assert_eq!(status(&read_response(&mut stream).0), 404);
}

#[test]
fn an_incomplete_admin_request_times_out() {
    let world = World::new("admin-slow");
    let _ = world.issue_credential();
    let server = world.serve(&["--body-timeout", "0.2"]);
    let mut stream = TcpStream::connect(server.admin).unwrap();
    let incomplete = "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nAction=";
    stream.write_all(incomplete.as_bytes()).unwrap();
    assert_eq!(status(&read_response(&mut stream).0), 408);
}

#[test]
fn an_oversized_request_head_is_rejected() {
    let world = World::new("head");
    let issued = world.issue_credential();
    let server = world.serve(&[]);
    let long = format!("Connection: close\r\nX: {}", "x".repeat(100_000));
    let mut stream = TcpStream::connect(server.address).unwrap();
    let _ = stream.write_all(request("GET", "/", &issued, &long).as_bytes());
    let mut response = [0; 12];
    stream.read_exact(&mut response).unwrap();
    assert_eq!(&response, b"HTTP/1.1 431");
}

#[test]
fn startup_fails_if_the_open_file_limit_is_too_low() {
    let world = World::new("files");
    let _ = world.issue_credential();
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 1024; exec \"$@\"", "sh"]);
    let server = world.command();
    command.arg(server.get_program()).args(server.get_args()).args(["--connections", "5000"]);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(err(&output).contains("open files"), "{}", err(&output));
}
