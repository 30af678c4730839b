//! Bodies of requests and responses that are incomplete, slow, compressed, or not read.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{Shutdown, TcpStream},
    process::{Command, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};
use service_specific_credentials::IssuedCredential;

use crate::{
    clients::peak,
    world::{
        Server, World, basic, chunk, command, endless_commands, err, kill, raw, request, rest,
        status, wait_for_the_end_of, wait_until_read,
    },
};

/// A server with one repository, `demo`, that holds one commit of 200 KB.
fn serve_demo(world: &World, options: &[&str]) -> (Server, IssuedCredential) {
    let issued = world.anika();
    let server = world.serve(&[&["--create"], options].concat());
    world.work("work");
    world.commit_noise("work", 200_000);
    world.does("work", &["push", "--quiet", &server.url_of(&issued, "demo"), "main"]);
    (server, issued)
}

/// How a body is delimited and encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    Length,
    Chunked,
    CompressedLength,
}

/// The header lines and the body of a request, cut off after some part of it.
fn cut(body: &[u8], sent: usize, framing: Framing) -> (String, Vec<u8>) {
    match framing {
        Framing::Length => (format!("Content-Length: {}", body.len()), body[..sent].to_vec()),
        Framing::CompressedLength => {
            let whole = gzip(body);
            let headers = format!("Content-Encoding: gzip\r\nContent-Length: {}", whole.len());
            let sent = sent * (whole.len() - 1) / body.len();
            (headers, whole[..sent].to_vec())
        }
        Framing::Chunked => {
            let mut bytes: Vec<_> = body[..sent].chunks(10_000).flat_map(chunk).collect();
            // Within a chunk.
            bytes.truncate(bytes.len().saturating_sub(1));
            ("Transfer-Encoding: chunked".to_owned(), bytes)
        }
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = Command::new("gzip");
    let mut gzip = gzip.arg("-c").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let (mut stdin, bytes) = (gzip.stdin.take().unwrap(), bytes.to_vec());
    let writing = std::thread::spawn(move || stdin.write_all(&bytes).unwrap());
    let compressed = gzip.wait_with_output().unwrap().stdout;
    writing.join().unwrap();
    compressed
}

/// Every way to stop in the middle of a request: bodies of a fetch and a push, cut after each of
/// their parts and within them, in each framing.
fn truncated(world: &World) -> Vec<(&'static str, String, Vec<u8>)> {
    let push = world.push_body("work", "cut");
    let fetch = world.fetch_body("demo.git");
    let (commands, pack) = (push[0].len(), push[2].len());
    let push = push.concat();
    let in_pack = commands + 4 + pack / 2;
    let mut requests = Vec::new();
    for framing in [Framing::Length, Framing::Chunked, Framing::CompressedLength] {
        for sent in [0, 2, commands / 2, commands, commands + 4, in_pack, push.len() - 1] {
            let (headers, bytes) = cut(&push, sent, framing);
            requests.push(("/demo/git-receive-pack", headers, bytes));
        }
        for sent in [0, 2, fetch.len() / 2, fetch.len() - 1] {
            let (headers, bytes) = cut(&fetch, sent, framing);
            requests.push(("/demo/git-upload-pack", headers, bytes));
        }
    }
    requests
}

#[test]
fn a_truncated_body_leaves_no_process_and_takes_no_slot() {
    let world = World::new("truncated");
    let (server, issued) = serve_demo(&world, &["--processes", "1"]);
    for (path, headers, bytes) in truncated(&world) {
        for how in ["close", "shutdown", "reset"] {
            let mut stream = server.post(path, &issued, &headers);
            stream.write_all(&bytes).unwrap();
            wait_until_read(&stream);
            match how {
                "shutdown" => {
                    stream.shutdown(Shutdown::Write).unwrap();
                    let _ = rest(&mut stream);
                }
                "reset" => {
                    socket2::SockRef::from(&stream)
                        .set_linger(Some(std::time::Duration::ZERO))
                        .unwrap();
                }
                _ => {}
            }
            drop(stream);
            server.wait_until_idle();
            server.wait_for_a_slot(&issued);
        }
    }
    let refs = world.does(world.repository("demo.git"), &["for-each-ref"]);
    assert_eq!(refs.lines().count(), 1, "{refs}");
    world.does("", &["clone", "--quiet", &server.url_of(&issued, "demo"), "clone"]);
}

#[test]
fn a_body_without_progress_is_given_up() {
    let world = World::new("slow");
    let (server, issued) = serve_demo(&world, &["--body-timeout", "0.2"]);
    let fetch = world.fetch_body("demo.git");
    let requests = truncated(&world);
    // All at once: each of them takes its time.
    let mut streams: Vec<_> = requests
        .iter()
        .map(|(path, headers, bytes)| {
            let mut stream = server.post(path, &issued, headers);
            stream.write_all(bytes).unwrap();
            stream
        })
        .collect();
    // One that sends a byte now and then is below the minimum rate all the same.
    let mut drops = server.post("/demo/git-upload-pack", &issued, "Content-Length: 100000000");
    while drops.write_all(b"0").is_ok() {
        wait_until_read(&drops);
    }
    for (stream, (path, headers, bytes)) in streams.iter_mut().zip(&requests) {
        let (response, _) = rest(stream);
        let expected = [408, 429];
        assert!(
            expected.contains(&status(&response)),
            "{path} {headers} {}: {response}",
            bytes.len()
        );
    }
    server.wait_until_idle();
    // Nor does a denied request keep its connection.
    let length = fetch.len();
    let half = format!(
        "POST /demo/git-upload-pack HTTP/1.1\r\nHost: git\r\n{}\r\nContent-Length: {length}\r\n\
         \r\n00",
        basic("x", "y")
    );
    assert_eq!(status(&raw(server.address, &half)), 401);
    world.does("", &["clone", "--quiet", &server.url_of(&issued, "demo"), "clone"]);
}

#[test]
fn a_fetch_whose_question_is_compressed_is_understood() {
    let world = World::new("gzip");
    let issued = world.anika();
    let server = world.serve(&["--create"]);
    let url = server.url_of(&issued, "demo");
    world.work("work");
    world.does("work", &["push", &url, "main"]);
    world.does("", &["clone", "--quiet", &url, "clone"]);
    // The more it has to ask for, the longer its question.
    for number in 0..40 {
        let branch = format!("branch-{number}");
        world.does("work", &["checkout", "--quiet", "-b", &branch]);
        world.commit("work", &branch, b"");
    }
    world.does("work", &["push", "--quiet", "--all", &url]);
    let fetch = world.git("clone", &["fetch"]).env("GIT_TRACE_CURL", "1").output().unwrap();
    assert!(fetch.status.success(), "{}", err(&fetch));
    assert!(err(&fetch).contains("Send header: Content-Encoding: gzip"), "{}", err(&fetch));
    assert_eq!(world.head("clone", "origin/branch-39"), world.head("work", "HEAD"));
}

#[test]
fn a_push_that_stops_in_its_midst_changes_nothing() {
    let world = World::new("midst");
    let issued = world.anika();
    let server = world.serve(&["--create"]);
    let url = server.url_of(&issued, "demo");
    world.work("work");
    world.does("work", &["push", &url, "main"]);

    let mut push = server.post("/demo/git-receive-pack", &issued, "Transfer-Encoding: chunked");
    push.write_all(&chunk(endless_commands(40_000).as_bytes())).unwrap();
    let started = server.wait_for(|git| git.contains("receive-pack"));
    drop(push);
    wait_for_the_end_of(&started);
    world.commit("work", "again", b"again");
    world.does("work", &["push", &url, "main"]);
    assert_eq!(server.stop(), Some(0));
}

#[test]
fn what_a_client_has_started_ends_when_the_client_goes_away() {
    let world = World::new("gone");
    let issued = world.anika();
    let server = world.serve(&["--create"]);
    let url = server.url_of(&issued, "demo");
    world.work("work");
    world.does("work", &["push", &url, "main"]);
    // Left to itself, this push would never end.
    let hook = world.hook("demo.git", "pre-receive", "exec tail -f /dev/null");
    world.commit("work", "again", b"again");
    let push = world.begins("work", &["push", &url, "main"]);
    let started = server.wait_for(|git| git.contains("tail"));
    kill(push);
    wait_for_the_end_of(&started);
    // It has left no lock behind.
    fs::remove_file(hook).unwrap();
    world.does("work", &["push", &url, "main"]);
    assert_eq!(server.stop(), Some(0));
}

/// A request for a clone of `demo`, in this version of HTTP.
fn ask_for_a_clone(
    world: &World,
    server: &Server,
    issued: &IssuedCredential,
    version: &str,
) -> TcpStream {
    let body = world.fetch_body("demo.git");
    let head = request(
        "POST",
        "/demo/git-upload-pack",
        issued,
        &format!(
            "Content-Type: application/x-git-upload-pack-request\r\nContent-Length: {}",
            body.len()
        ),
    );
    let mut stream = TcpStream::connect(server.address).unwrap();
    stream.write_all(head.replacen("HTTP/1.1", version, 1).as_bytes()).unwrap();
    stream.write_all(&body).unwrap();
    stream
}

#[test]
fn a_git_process_that_dies_breaks_the_connection() {
    let world = World::new("dies");
    let issued = world.anika();
    let server = world.serve(&["--create"]);
    world.work("work");
    world.commit_noise("work", 30 << 20);
    world.does("work", &["push", "--quiet", &server.url_of(&issued, "demo"), "main"]);
    for victim in [None, Some("http-backend"), Some("upload-pack"), Some("pack-objects")] {
        for version in ["HTTP/1.1", "HTTP/1.0"] {
            let mut stream = ask_for_a_clone(&world, &server, &issued, version);
            // There is more than fits into all buffers.
            stream.read_exact(&mut vec![0; 1 << 16]).unwrap();
            if let Some(victim) = victim {
                // A shell may have run it, under the same name.
                let is = |pid: &u32| {
                    command(*pid).contains(&format!("git {victim}"))
                        || command(*pid).contains(&format!("git-{victim}"))
                };
                let pids = server.wait_for(|line| line.contains("pack-objects"));
                for pid in pids.into_iter().filter(is) {
                    let pid = Pid::from_raw(pid.try_into().unwrap()).unwrap();
                    kill_process(pid, Signal::KILL).unwrap();
                }
            }
            let (response, result) = rest(&mut stream);
            let ended = match version {
                "HTTP/1.1" => response.ends_with("\r\n0\r\n\r\n"),
                _ => result.is_ok(),
            };
            assert_eq!(ended, victim.is_none(), "{victim:?} {version} {result:?}");
            server.wait_until_idle();
        }
    }
}

/// Otherwise a proxy that speaks HTTP/1.0 takes a response that was cut for a complete one, and
/// `git push` waits forever for the rest.
#[test]
fn a_short_response_in_http_1_0_has_a_length() {
    let world = World::new("length");
    let (server, issued) = serve_demo(&world, &[]);
    let login = basic(issued.service_user_name().as_str(), issued.secret().expose());
    let push = world.push_body("work", "other").concat();
    let fetch = world.fetch_body("demo.git");
    for (method, path, body) in [
        ("GET", "info/refs?service=git-receive-pack", &[][..]),
        ("POST", "git-upload-pack", &fetch),
        ("POST", "git-receive-pack", &push),
    ] {
        let service = path.strip_prefix("git-").unwrap_or_default();
        let mut stream = TcpStream::connect(server.address).unwrap();
        let head = format!(
            "{method} /demo/{path} HTTP/1.0\r\n{login}\r\nContent-Length: {}\r\n\
             Content-Type: application/x-git-{service}-request\r\n\r\n",
            body.len()
        );
        stream.write_all(&[head.as_bytes(), body].concat()).unwrap();
        let mut response = Vec::new();
        stream.read_to_end(&mut response).unwrap();
        let end = response.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap() + 4;
        let (head, body) = response.split_at(end);
        let head = String::from_utf8(head.to_vec()).unwrap();
        assert_eq!(status(&head), 200, "{head}");
        assert!(head.contains(&format!("content-length: {}\r\n", body.len())), "{head}");
        assert!(!body.is_empty());
    }
}

#[test]
fn a_git_that_fails_before_it_responds_is_an_error_of_the_server() {
    let world = World::new("fails");
    let (server, issued) = serve_demo(&world, &[]);
    drop(server);
    for (failure, expected) in
        [("exit 3", 500), ("kill -9 $$", 500), ("echo", 200), ("echo x", 500)]
    {
        world.replace_git("[ $1 = http-backend ]", failure);
        let server = world.serve(&[]);
        let path = "/demo/info/refs?service=git-upload-pack";
        assert_eq!(server.status("GET", path, &issued), expected, "{failure}");
    }
}

#[test]
fn a_response_that_is_not_read_is_given_up() {
    let world = World::new("unread");
    let issued = world.anika();
    let server = world.serve(&["--create", "--response-timeout", "0.3"]);
    world.work("work");
    world.commit_noise("work", 30 << 20);
    world.does("work", &["push", "--quiet", &server.url_of(&issued, "demo"), "main"]);
    let mut streams: Vec<_> = ["HTTP/1.1", "HTTP/1.0"]
        .map(|version| ask_for_a_clone(&world, &server, &issued, version))
        .into();
    server.wait_for(|git| git.contains("pack-objects"));
    server.wait_until_idle();
    for stream in &mut streams {
        let (response, result) = rest(stream);
        assert!(result.is_err() || !response.ends_with("\r\n0\r\n\r\n"));
    }
}

#[test]
fn a_hook_that_ignores_the_request_to_end_is_killed() {
    let world = World::new("stubborn");
    let (server, issued) = serve_demo(&world, &["--processes", "1"]);
    world.hook("demo.git", "pre-receive", "trap '' TERM INT HUP; while :; do sleep 1; done");
    let body = world.push_body("work", "other").concat();
    let headers = format!("Content-Length: {}", body.len());
    let mut push = server.post("/demo/git-receive-pack", &issued, &headers);
    push.write_all(&body).unwrap();
    let started = server.wait_for(|git| git.contains("sleep"));
    drop(push);
    wait_for_the_end_of(&started);
    fs::remove_file(world.repository("demo.git/hooks/pre-receive")).unwrap();
    server.wait_for_a_slot(&issued);
    world.does("work", &["push", &server.url_of(&issued, "demo"), "main:other"]);
}

#[test]
fn a_response_waits_until_the_request_has_ended() {
    let world = World::new("held");
    let (server, issued) = serve_demo(&world, &[]);
    let [command, flush, pack] = world.push_body("work", "other");
    let mut push = server.post("/demo/git-receive-pack", &issued, "Transfer-Encoding: chunked");
    let (first, second) = pack.split_at(pack.len() / 2);
    push.write_all(&chunk(&[&command, &flush, first].concat())).unwrap();
    // By now, Git has written the head of its response.
    server.wait_for(|git| git.contains("unpack-objects") || git.contains("index-pack"));
    wait_until_read(&push);
    push.set_nonblocking(true).unwrap();
    let error = push.read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
    push.set_nonblocking(false).unwrap();
    push.write_all(&chunk(second)).unwrap();
    push.write_all(b"0\r\n\r\n").unwrap();
    let mut head = [0; 15];
    push.read_exact(&mut head).unwrap();
    assert_eq!(&head, b"HTTP/1.1 200 OK");
}

#[test]
fn a_push_that_git_rejects_early_is_told_why() {
    let world = World::new("rejected");
    let (server, issued) = serve_demo(&world, &[]);
    world.does(world.repository("demo.git"), &["config", "receive.maxInputSize", "1k"]);
    world.commit_noise("work", 20 << 20);
    for buffer in ["1048576", "100000000"] {
        let buffer = format!("http.postBuffer={buffer}");
        let url = server.url_of(&issued, "demo");
        let complaint = world.fails("work", &["-c", &buffer, "push", &url, "main"]);
        assert!(complaint.contains("unpacker error"), "{complaint}");
    }
    server.wait_until_idle();
}

#[test]
fn bodies_are_inflated_within_limits() {
    let world = World::new("encodings");
    let (server, issued) = serve_demo(&world, &[]);
    let fetch = world.fetch_body("demo.git");
    let compressed = gzip(&fetch);
    let (front, back) = fetch.split_at(fetch.len() / 2);
    let in_two = [gzip(front), gzip(back)].concat();
    let with_more = [&compressed[..], b"more"].concat();
    let bomb = gzip(&vec![0; 64 << 20]);
    let empty = gzip(b"").repeat(100_000);
    for (encoding, body, expected) in [
        ("", &fetch, 200),
        ("Content-Encoding: identity", &fetch, 200),
        ("Content-Encoding: gzip", &compressed, 200),
        ("Content-Encoding: x-gzip", &compressed, 200),
        ("content-encoding: GZIP", &compressed, 200),
        ("Content-Encoding: gzip", &in_two, 200),
        ("Content-Encoding: gzip", &with_more, 400),
        ("Content-Encoding: gzip", &fetch, 400),
        ("Content-Encoding: gzip", &bomb, 413),
        ("Content-Encoding: gzip", &empty, 200),
        ("Content-Encoding: ", &fetch, 415),
        ("Content-Encoding: br", &fetch, 415),
        ("Content-Encoding: deflate", &fetch, 415),
        ("Content-Encoding: gzip, gzip", &gzip(&compressed), 415),
        ("Content-Encoding: gzip\r\nContent-Encoding: gzip", &gzip(&compressed), 415),
        ("Content-Encoding: gzip\r\nContent-Encoding: identity", &compressed, 415),
        ("Content-Encoding: gzip;q=1", &compressed, 415),
    ] {
        let mut headers = format!("Connection: close\r\nContent-Length: {}", body.len());
        if !encoding.is_empty() {
            headers = format!("{headers}\r\n{encoding}");
        }
        let mut stream = server.post("/demo/git-upload-pack", &issued, &headers);
        let _ = stream.write_all(body);
        let (response, _) = rest(&mut stream);
        assert_eq!(status(&response), expected, "{encoding}");
        server.wait_until_idle();
    }
    assert!(peak(&server) < 64 << 10, "{}", peak(&server));
}

#[test]
fn a_client_that_waits_to_send_a_body_is_told_whether_it_may() {
    let world = World::new("expect");
    let (server, issued) = serve_demo(&world, &[]);
    let body = world.fetch_body("demo.git");
    let expect =
        format!("Connection: close\r\nExpect: 100-continue\r\nContent-Length: {}", body.len());
    let mut stream = server.post("/demo/git-upload-pack", &issued, &expect);
    let mut go = [0; 25];
    stream.read_exact(&mut go).unwrap();
    assert_eq!(&go, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(&body).unwrap();
    assert_eq!(status(&rest(&mut stream).0), 200);
    let denied = format!(
        "POST /demo/git-upload-pack HTTP/1.1\r\nHost: git\r\n{}\r\n{expect}\r\n\r\n",
        basic("x", "y")
    );
    assert_eq!(status(&raw(server.address, &denied)), 401);
}
