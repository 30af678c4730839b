//! What one client may use of the server.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    process::Command,
    thread,
};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::{
    common::{CODECOMMIT, name},
    world::{World, chunk, endless_commands, err, raw, request, rest, status, wait_until_read},
};

#[test]
fn git_runs_for_no_more_requests_at_a_time_than_it_may() {
    let world = World::new("processes");
    let issued = world.anika();
    let server = world.serve(&["--create", "--processes", "1"]);
    let url = server.url_of(&issued, "demo");
    // One after the other, requests never see that there is a limit.
    world.work("work");
    world.does("work", &["push", &url, "main"]);

    let mut stalled = server.post("/demo/git-receive-pack", &issued, "Transfer-Encoding: chunked");
    stalled.write_all(&chunk(endless_commands(40_000).as_bytes())).unwrap();
    server.wait_for(|git| git.contains("receive-pack"));
    let path = "/demo/info/refs?service=git-upload-pack";
    let response = raw(server.address, &request("GET", path, &issued, "Connection: close"));
    assert_eq!(status(&response), 429, "{response}");
    assert!(response.contains("\r\nretry-after: 1\r\n"), "{response}");
    let text = "\r\n\r\ntoo many requests of this user are in progress\n";
    assert!(response.ends_with(text), "{response}");
    // Nor is a repository made for somebody who is not served.
    let new = "/new/info/refs?service=git-receive-pack";
    assert_eq!(server.status("GET", new, &issued), 429);
    assert!(!world.repository("new.git").exists());

    drop(stalled);
    while server.status("GET", path, &issued) == 429 {
        thread::yield_now();
    }
    world.does("", &["clone", "--quiet", &url, "clone"]);
    assert_eq!(world.head("clone", "HEAD"), world.head("work", "HEAD"));
}

#[test]
fn a_user_leaves_slots_to_others() {
    let world = World::new("share");
    let iam = world.iam();
    let [greedy, modest] = ["greedy", "modest"].map(|user| {
        let user = iam.register_user(&name(user)).unwrap();
        iam.create(user.name(), &name(CODECOMMIT)).unwrap()
    });
    drop(iam);
    // No request times out, however slow this machine is.
    let server = world.serve(&["--create", "--processes", "8", "--body-timeout", "3600"]);
    world.work("work");
    world.does("work", &["push", "--quiet", &server.url_of(&modest, "demo"), "main"]);
    let stall = || {
        let chunked = "Transfer-Encoding: chunked";
        let mut stream = server.post("/demo/git-receive-pack", &greedy, chunked);
        stream.write_all(&chunk(endless_commands(40_000).as_bytes())).unwrap();
        wait_until_read(&stream);
        stream
    };
    let mut stalled: Vec<_> = (0..64).map(|_| stall()).collect();
    // A quarter of all slots is theirs; the other requests fail at once.
    let path = "/demo/info/refs?service=git-upload-pack";
    let response = raw(server.address, &request("GET", path, &greedy, "Connection: close"));
    assert_eq!(status(&response), 429, "{response}");
    while server.receiving() != 2 {
        thread::yield_now();
    }
    // Disabling the credential changes nothing for others.
    let id = ("ServiceSpecificCredentialId", greedy.id().as_str());
    let parameters = [("UserName", "greedy"), id, ("Status", "Inactive")];
    let response = server.admin("UpdateServiceSpecificCredential", &parameters);
    assert_eq!(status(&response), 200, "{response}");
    let url = server.url_of(&modest, "demo");
    world.does("", &["clone", "--quiet", &url, "clone"]);
    world.commit("work", "again", b"again");
    world.does("work", &["push", "--quiet", &url, "main"]);
    assert_eq!(server.receiving(), 2);
    stalled.clear();
    server.wait_until_idle();
}

#[test]
fn a_short_body_takes_no_slot_before_it_has_arrived() {
    let world = World::new("short");
    let issued = world.anika();
    let server = world.serve(&["--create", "--processes", "1"]);
    world.work("work");
    let url = server.url_of(&issued, "demo");
    world.does("work", &["push", "--quiet", &url, "main"]);
    let stalled = [0, 1, 2].map(|_| {
        let mut stream = server.post("/demo/git-upload-pack", &issued, "Content-Length: 1000");
        stream.write_all(b"00").unwrap();
        wait_until_read(&stream);
        stream
    });
    world.does("", &["clone", "--quiet", &url, "clone"]);
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
    let issued = world.anika();
    // As a login shell has it.
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -Sn 1024; exec \"$@\"", "sh"]);
    let server = world.command();
    command.arg(server.get_program()).args(server.get_args());
    command.args(["--create", "--admin", "127.0.0.1:0", "--head-timeout", "1"]);
    let server = world.start(&mut command);
    world.work("work");
    let url = server.url_of(&issued, "demo");
    world.does("work", &["push", "--quiet", &url, "main"]);

    let open = |address: SocketAddr, number: usize| {
        let mut stream = TcpStream::connect(address).unwrap();
        let half = ["", "G", "GET / HTTP/1.1\r\nHost: git\r\n"][number % 3];
        stream.write_all(half.as_bytes()).unwrap();
        stream
    };
    let mut idle: Vec<_> = (0..IDLE).map(|number| open(server.address, number)).collect();
    assert_eq!(status(&server.admin("ListUsers", &[])), 200);
    world.does("", &["clone", "--quiet", &url, "clone"]);
    // All are closed in time. The ones of a request that is half there, too.
    for stream in &mut idle {
        let _ = rest(stream);
    }
    // And the other way around.
    let mut idle: Vec<_> = (0..100).map(|number| open(server.admin, number)).collect();
    world.does("clone", &["fetch", "--quiet"]);
    assert_eq!(status(&server.admin("ListUsers", &[])), 200);
    for stream in &mut idle {
        let _ = rest(stream);
    }
    assert!(!world.log().contains("ERROR"), "{}", world.log());
}

#[test]
fn a_connection_that_is_kept_is_closed_when_it_stays_idle() {
    let world = World::new("kept");
    let issued = world.anika();
    let server = world.serve(&["--head-timeout", "0.2"]);
    let mut stream = TcpStream::connect(server.address).unwrap();
    let ask = request("GET", "/", &issued, "Connection: keep-alive");
    stream.write_all(ask.as_bytes()).unwrap();
    assert_eq!(status(&rest(&mut stream).0), 404);
}

#[test]
fn a_request_of_the_admin_address_that_never_ends_is_given_up() {
    let world = World::new("admin-slow");
    let _ = world.anika();
    let server = world.serve(&["--body-timeout", "0.2"]);
    let mut stream = TcpStream::connect(server.admin).unwrap();
    let half = "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nAction=";
    stream.write_all(half.as_bytes()).unwrap();
    assert_eq!(status(&rest(&mut stream).0), 408);
}

#[test]
fn the_head_of_a_request_is_bounded() {
    let world = World::new("head");
    let issued = world.anika();
    let server = world.serve(&[]);
    let long = format!("Connection: close\r\nX: {}", "x".repeat(100_000));
    let mut stream = TcpStream::connect(server.address).unwrap();
    let _ = stream.write_all(request("GET", "/", &issued, &long).as_bytes());
    let mut response = [0; 12];
    stream.read_exact(&mut response).unwrap();
    assert_eq!(&response, b"HTTP/1.1 431");
}

#[test]
fn a_limit_that_the_system_does_not_allow_is_an_error() {
    let world = World::new("files");
    let _ = world.anika();
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 1024; exec \"$@\"", "sh"]);
    let server = world.command();
    command.arg(server.get_program()).args(server.get_args()).args(["--connections", "5000"]);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(err(&output).contains("open files"), "{}", err(&output));
}
