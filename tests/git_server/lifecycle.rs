//! Startup and shutdown of the server.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    process::{Command, Stdio},
    sync::mpsc,
    thread,
};

use rustix::process::{Signal, kill_process};

use crate::world::{World, err, request, wait_for_exit, wait_until_read};

#[test]
fn shutdown_waits_for_a_clone_in_progress() {
    let world = World::new("stop");
    let issued = world.issue_credential();
    let mut server = world.serve(&["--create"]);
    world.create_work_tree("work");
    world.commit_noise("work", 30 << 20);
    world.run_git("work", &["push", "--quiet", &server.url_of(&issued, "demo"), "main"]);

    // Git clones through a relay. After 1 MiB of a response, the relay sends SIGTERM to the server
    // and waits until the server accepts no further connection. Then it forwards the rest.
    let relay = TcpListener::bind("127.0.0.1:0").unwrap();
    let (relay_address, address) = (relay.local_addr().unwrap(), server.address);
    let (pid, (sender, receiver)) = (server.pid(), mpsc::channel());
    thread::spawn(move || {
        for client in relay.incoming() {
            let (client, sender) = (client.unwrap(), sender.clone());
            let Ok(upstream) = TcpStream::connect(address) else { continue };
            let (mut from, mut to) = (client.try_clone().unwrap(), upstream.try_clone().unwrap());
            thread::spawn(move || std::io::copy(&mut from, &mut to));
            thread::spawn(move || {
                let (mut from, mut to) = (upstream, client);
                std::io::copy(&mut (&mut from).take(1 << 20), &mut to).unwrap();
                let mut first = [0];
                // Only the response with the pack is longer than 1 MiB.
                if from.read(&mut first).unwrap() == 1 {
                    kill_process(pid, Signal::TERM).unwrap();
                    while TcpStream::connect(address).is_ok() {
                        thread::yield_now();
                    }
                    sender.send(()).unwrap();
                    to.write_all(&first).unwrap();
                    std::io::copy(&mut from, &mut to).unwrap();
                }
                to.shutdown(std::net::Shutdown::Both).unwrap();
            });
        }
    });
    let url =
        server.url_of(&issued, "demo").replace(&address.to_string(), &relay_address.to_string());
    world.run_git("", &["clone", "--quiet", &url, "clone"]);
    // The shutdown began during the clone.
    receiver.try_recv().unwrap();
    assert_eq!(world.head("clone", "HEAD"), world.head("work", "HEAD"));
    world.run_git("clone", &["fsck"]);
    assert_eq!(server.child.wait().unwrap().code(), Some(0));
}

#[test]
fn idle_connections_do_not_delay_shutdown() {
    let world = World::new("idle");
    let issued = world.issue_credential();
    let server = world.serve(&[]);
    let silent = TcpStream::connect(server.address).unwrap();
    // This connection stays open after its first response.
    let mut keep_alive = TcpStream::connect(server.address).unwrap();
    let get = request("GET", "/", &issued, "Connection: keep-alive");
    keep_alive.write_all(get.as_bytes()).unwrap();
    let mut first = [0; 12];
    keep_alive.read_exact(&mut first).unwrap();
    assert_eq!(first, *b"HTTP/1.1 404");
    assert_eq!(server.stop(), Some(0));
    drop((silent, keep_alive));

    // SIGINT stops the server, too.
    let mut server = world.serve(&[]);
    kill_process(server.pid(), Signal::INT).unwrap();
    assert_eq!(server.child.wait().unwrap().code(), Some(0));
}

#[test]
fn shutdown_is_forced_after_the_grace_period() {
    let world = World::new("grace-period");
    let forced_shutdowns = || world.log().matches("still in progress are aborted").count();
    let issued = world.issue_credential();
    let server = world.serve(&["--grace-period", "0"]);
    let mut incomplete = TcpStream::connect(server.address).unwrap();
    incomplete.write_all(b"GET / HTTP/1.1\r\nHost:").unwrap();
    wait_until_read(&incomplete);
    assert_eq!(server.stop(), Some(0));
    assert_eq!(forced_shutdowns(), 1);
    drop(incomplete);

    // A forced shutdown ends the Git processes of unfinished requests.
    let server = world.serve(&["--create", "--grace-period", "0"]);
    let url = server.url_of(&issued, "demo");
    world.create_work_tree("work");
    world.run_git("work", &["push", &url, "main"]);
    world.hook("demo.git", "pre-receive", "exec tail -f /dev/null");
    world.commit("work", "again", b"again");
    let mut push = world.git("work", &["push", &url, "main"]);
    let mut push = push.stderr(Stdio::null()).spawn().unwrap();
    let started = server.wait_for_process(|git| git.contains("tail"));
    assert_eq!(server.stop(), Some(0));
    wait_for_exit(&started);
    assert!(!push.wait().unwrap().success());
    assert_eq!(forced_shutdowns(), 2);
}

#[test]
fn a_startup_error_is_one_line_on_standard_error() {
    let world = World::new("start");
    let _ = world.issue_credential();
    let startup_error = |command: &mut Command| {
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(output.stdout.is_empty());
        let error = err(&output);
        assert_eq!(error.lines().count(), 1, "{error}");
        error
    };
    let server = world.serve(&[]);
    assert!(startup_error(&mut world.command()).contains("another process holds the file"));
    drop(server);

    let api_keys = startup_error(world.command().args(["--service", "bedrock.amazonaws.com"]));
    assert!(api_keys.contains("bedrock.amazonaws.com takes API keys"), "{api_keys}");
    assert!(startup_error(world.command().env("PATH", "/nowhere")).contains("git cannot be run"));
    fs::remove_dir(world.repository("")).unwrap();
    assert!(startup_error(&mut world.command()).contains("No such file or directory"));
    fs::create_dir(world.repository("")).unwrap();
    fs::write(world.folder.file("credentials.redb"), "this is no database").unwrap();
    assert!(startup_error(&mut world.command()).contains("the file is no database"));
}
