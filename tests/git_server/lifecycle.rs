//! How the server starts and stops.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    process::{Command, Stdio},
    sync::mpsc,
    thread,
};

use rustix::process::{Signal, kill_process};

use crate::world::{World, err, request, wait_for_the_end_of, wait_until_read};

#[test]
fn a_clone_that_was_begun_is_finished_before_the_server_ends() {
    let world = World::new("stop");
    let issued = world.anika();
    let mut server = world.serve(&["--create"]);
    world.work("work");
    world.commit_noise("work", 30 << 20);
    world.does("work", &["push", "--quiet", &server.url_of(&issued, "demo"), "main"]);

    // Git clones through a relay, which holds back most of the response until the server was told
    // to end and accepts no further connection.
    let relay = TcpListener::bind("127.0.0.1:0").unwrap();
    let (through, address) = (relay.local_addr().unwrap(), server.address);
    let (pid, (begun, has_begun)) = (server.pid(), mpsc::channel());
    thread::spawn(move || {
        for client in relay.incoming() {
            let (client, begun) = (client.unwrap(), begun.clone());
            let Ok(upstream) = TcpStream::connect(address) else { continue };
            let (mut from, mut to) = (client.try_clone().unwrap(), upstream.try_clone().unwrap());
            thread::spawn(move || std::io::copy(&mut from, &mut to));
            thread::spawn(move || {
                let (mut from, mut to) = (upstream, client);
                std::io::copy(&mut (&mut from).take(1 << 20), &mut to).unwrap();
                let mut first = [0];
                // Only of the clone itself is there more.
                if from.read(&mut first).unwrap() == 1 {
                    kill_process(pid, Signal::TERM).unwrap();
                    while TcpStream::connect(address).is_ok() {
                        thread::yield_now();
                    }
                    begun.send(()).unwrap();
                    to.write_all(&first).unwrap();
                    std::io::copy(&mut from, &mut to).unwrap();
                }
                to.shutdown(std::net::Shutdown::Both).unwrap();
            });
        }
    });
    let url = server.url_of(&issued, "demo").replace(&address.to_string(), &through.to_string());
    world.does("", &["clone", "--quiet", &url, "clone"]);
    has_begun.try_recv().unwrap();
    assert_eq!(world.head("clone", "HEAD"), world.head("work", "HEAD"));
    world.does("clone", &["fsck"]);
    assert_eq!(server.child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_client_that_asks_for_nothing_does_not_keep_the_server() {
    let world = World::new("idle");
    let issued = world.anika();
    let server = world.serve(&[]);
    let silent = TcpStream::connect(server.address).unwrap();
    // One that has its response, and keeps its connection open.
    let mut kept_open = TcpStream::connect(server.address).unwrap();
    let kept = request("GET", "/", &issued, "Connection: keep-alive");
    kept_open.write_all(kept.as_bytes()).unwrap();
    let mut first = [0; 12];
    kept_open.read_exact(&mut first).unwrap();
    assert_eq!(first, *b"HTTP/1.1 404");
    assert_eq!(server.stop(), Some(0));
    drop((silent, kept_open));

    // By Ctrl-C, too.
    let mut server = world.serve(&[]);
    kill_process(server.pid(), Signal::INT).unwrap();
    assert_eq!(server.child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_client_that_never_finishes_does_not_keep_the_server_for_longer_than_its_patience() {
    let world = World::new("patience");
    let given_up = || world.log().matches("still in progress are given up").count();
    let issued = world.anika();
    let server = world.serve(&["--patience", "0"]);
    let mut half = TcpStream::connect(server.address).unwrap();
    half.write_all(b"GET / HTTP/1.1\r\nHost:").unwrap();
    wait_until_read(&half);
    assert_eq!(server.stop(), Some(0));
    assert_eq!(given_up(), 1);
    drop(half);

    // What was started for somebody who is given up ends, too.
    let server = world.serve(&["--create", "--patience", "0"]);
    let url = server.url_of(&issued, "demo");
    world.work("work");
    world.does("work", &["push", &url, "main"]);
    world.hook("demo.git", "pre-receive", "exec tail -f /dev/null");
    world.commit("work", "again", b"again");
    let mut push = world.git("work", &["push", &url, "main"]);
    let mut push = push.stderr(Stdio::null()).spawn().unwrap();
    let started = server.wait_for(|git| git.contains("tail"));
    assert_eq!(server.stop(), Some(0));
    wait_for_the_end_of(&started);
    assert!(!push.wait().unwrap().success());
    assert_eq!(given_up(), 2);
}

#[test]
fn a_server_that_cannot_start_says_why_on_one_line() {
    let world = World::new("start");
    let _ = world.anika();
    let said = |command: &mut Command| {
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(output.stdout.is_empty());
        let said = err(&output);
        assert_eq!(said.lines().count(), 1, "{said}");
        said
    };
    let server = world.serve(&[]);
    assert!(said(&mut world.command()).contains("another process holds the file"));
    drop(server);

    let api_keys = said(world.command().args(["--service", "bedrock.amazonaws.com"]));
    assert!(api_keys.contains("bedrock.amazonaws.com takes API keys"), "{api_keys}");
    assert!(said(world.command().env("PATH", "/nowhere")).contains("git cannot be run"));
    fs::remove_dir(world.repository("")).unwrap();
    assert!(said(&mut world.command()).contains("No such file or directory"));
    fs::create_dir(world.repository("")).unwrap();
    fs::write(world.folder.file("credentials.redb"), "this is no database").unwrap();
    assert!(said(&mut world.command()).contains("the file is no database"));
}
