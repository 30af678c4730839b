//! Request and response bodies that are incomplete, slow, compressed, or unread.

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
        Server, World, basic, chunk, command, err, kill, raw, read_response, request, status,
        unterminated_commands, wait_for_exit, wait_until_read,
    },
};

/// Starts a server with one repository, `demo`, which contains an incompressible file of 200 KB.
fn serve_demo(world: &World, options: &[&str]) -> (Server, IssuedCredential) {
    let issued = world.issue_credential();
    let server = world.serve(&[&["--create"], options].concat());
    world.create_work_tree("work");
    world.commit_noise("work", 200_000);
    world.run_git("work", &["push", "--quiet", &server.url_of(&issued, "demo"), "main"]);
    (server, issued)
}

/// How a body is delimited and encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    Length,
    Chunked,
    CompressedLength,
}

/// Encodes a body and truncates it near byte `sent`. Returns the headers and the truncated body.
fn truncate(body: &[u8], sent: usize, framing: Framing) -> (String, Vec<u8>) {
    match framing {
        Framing::Length => (format!("Content-Length: {}", body.len()), body[..sent].to_vec()),
        Framing::CompressedLength => {
            let compressed = gzip(body);
            let length = compressed.len();
            let headers = format!("Content-Encoding: gzip\r\nContent-Length: {length}");
            let sent = sent * (length - 1) / body.len();
            (headers, compressed[..sent].to_vec())
        }
        Framing::Chunked => {
            let mut bytes: Vec<_> = body[..sent].chunks(10_000).flat_map(chunk).collect();
            // The last chunk is incomplete, too.
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

/// Truncated requests: the bodies of a fetch and of a push, truncated between and within their
/// parts, in each framing. Each request is a path, headers, and the truncated body.
fn truncated_requests(world: &World) -> Vec<(&'static str, String, Vec<u8>)> {
    let push = world.push_body("work", "cut");
    let fetch = world.fetch_body("demo.git");
    let (commands, pack) = (push[0].len(), push[2].len());
    let push = push.concat();
    let in_pack = commands + 4 + pack / 2;
    let mut requests = Vec::new();
    for framing in [Framing::Length, Framing::Chunked, Framing::CompressedLength] {
        for sent in [0, 2, commands / 2, commands, commands + 4, in_pack, push.len() - 1] {
            let (headers, bytes) = truncate(&push, sent, framing);
            requests.push(("/demo/git-receive-pack", headers, bytes));
        }
        for sent in [0, 2, fetch.len() / 2, fetch.len() - 1] {
            let (headers, bytes) = truncate(&fetch, sent, framing);
            requests.push(("/demo/git-upload-pack", headers, bytes));
        }
    }
    requests
}

#[test]
fn a_truncated_request_body_leaks_no_process_and_no_slot() {
    let world = World::new("truncated");
    let (server, issued) = serve_demo(&world, &["--processes", "1"]);
    for (path, headers, bytes) in truncated_requests(&world) {
        for ending in ["close", "shutdown", "reset"] {
            let mut stream = server.post(path, &issued, &headers);
            stream.write_all(&bytes).unwrap();
            wait_until_read(&stream);
            match ending {
                "shutdown" => {
                    stream.shutdown(Shutdown::Write).unwrap();
                    let _ = read_response(&mut stream);
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
    let refs = world.run_git(world.repository("demo.git"), &["for-each-ref"]);
    assert_eq!(refs.lines().count(), 1, "{refs}");
    world.run_git("", &["clone", "--quiet", &server.url_of(&issued, "demo"), "clone"]);
}

#[test]
fn a_stalled_request_body_times_out() {
    let world = World::new("slow");
    let (server, issued) = serve_demo(&world, &["--body-timeout", "0.2"]);
    let fetch = world.fetch_body("demo.git");
    let requests = truncated_requests(&world);
    // The requests are sent concurrently, so that their timeouts overlap.
    let mut streams: Vec<_> = requests
        .iter()
        .map(|(path, headers, bytes)| {
            let mut stream = server.post(path, &issued, headers);
            stream.write_all(bytes).unwrap();
            stream
        })
        .collect();
    // A client that sends one byte at a time is below the minimum rate.
    let mut slow = server.post("/demo/git-upload-pack", &issued, "Content-Length: 100000000");
    while slow.write_all(b"0").is_ok() {
        wait_until_read(&slow);
    }
    for (stream, (path, headers, bytes)) in streams.iter_mut().zip(&requests) {
        let (response, _) = read_response(stream);
        assert_eq!(status(&response), 408, "{path} {headers} {}: {response}", bytes.len());
    }
    server.wait_until_idle();
    // The connection of a denied request is closed, even if its body is incomplete.
    let length = fetch.len();
    let incomplete = format!(
        "POST /demo/git-upload-pack HTTP/1.1\r\nHost: git\r\n{}\r\nContent-Length: {length}\r\n\
         \r\n00",
        basic("x", "y")
    );
    assert_eq!(status(&raw(server.address, &incomplete)), 401);
    world.run_git("", &["clone", "--quiet", &server.url_of(&issued, "demo"), "clone"]);
}

#[test]
fn a_gzip_compressed_fetch_request_succeeds() {
    let world = World::new("gzip");
    let issued = world.issue_credential();
    let server = world.serve(&["--create"]);
    let url = server.url_of(&issued, "demo");
    world.create_work_tree("work");
    world.run_git("work", &["push", &url, "main"]);
    world.run_git("", &["clone", "--quiet", &url, "clone"]);
    // Git compresses a fetch request of more than 1 KiB. Each branch adds a `want` line to it.
    for number in 0..40 {
        let branch = format!("branch-{number}");
        world.run_git("work", &["checkout", "--quiet", "-b", &branch]);
        world.commit("work", &branch, b"");
    }
    world.run_git("work", &["push", "--quiet", "--all", &url]);
    let fetch = world.git("clone", &["fetch"]).env("GIT_TRACE_CURL", "1").output().unwrap();
    assert!(fetch.status.success(), "{}", err(&fetch));
    assert!(err(&fetch).contains("Send header: Content-Encoding: gzip"), "{}", err(&fetch));
    assert_eq!(world.head("clone", "origin/branch-39"), world.head("work", "HEAD"));
}

#[test]
fn an_aborted_push_does_not_block_later_pushes() {
    let world = World::new("aborted");
    let issued = world.issue_credential();
    let server = world.serve(&["--create"]);
    let url = server.url_of(&issued, "demo");
    world.create_work_tree("work");
    world.run_git("work", &["push", &url, "main"]);

    let mut push = server.post("/demo/git-receive-pack", &issued, "Transfer-Encoding: chunked");
    push.write_all(&chunk(unterminated_commands(40_000).as_bytes())).unwrap();
    let started = server.wait_for_process(|git| git.contains("receive-pack"));
    drop(push);
    wait_for_exit(&started);
    world.commit("work", "again", b"again");
    world.run_git("work", &["push", &url, "main"]);
    assert_eq!(server.stop(), Some(0));
}

#[test]
fn git_processes_end_when_the_client_disconnects() {
    let world = World::new("disconnected");
    let issued = world.issue_credential();
    let server = world.serve(&["--create"]);
    let url = server.url_of(&issued, "demo");
    world.create_work_tree("work");
    world.run_git("work", &["push", &url, "main"]);
    // The hook never ends by itself.
    let hook = world.hook("demo.git", "pre-receive", "exec tail -f /dev/null");
    world.commit("work", "again", b"again");
    let push = world.spawn_git("work", &["push", &url, "main"]);
    let started = server.wait_for_process(|git| git.contains("tail"));
    kill(push);
    wait_for_exit(&started);
    // The aborted push left no lock file.
    fs::remove_file(hook).unwrap();
    world.run_git("work", &["push", &url, "main"]);
    assert_eq!(server.stop(), Some(0));
}

/// Requests a clone of `demo` with the given version of HTTP. Returns the connection.
fn request_clone(
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
fn a_killed_git_process_breaks_the_connection() {
    let world = World::new("killed");
    let issued = world.issue_credential();
    let server = world.serve(&["--create"]);
    world.create_work_tree("work");
    world.commit_noise("work", 30 << 20);
    world.run_git("work", &["push", "--quiet", &server.url_of(&issued, "demo"), "main"]);
    for victim in [None, Some("http-backend"), Some("upload-pack"), Some("pack-objects")] {
        for version in ["HTTP/1.1", "HTTP/1.0"] {
            let mut stream = request_clone(&world, &server, &issued, version);
            // The response is larger than all buffers, so Git is still running.
            stream.read_exact(&mut vec![0; 1 << 16]).unwrap();
            if let Some(victim) = victim {
                // Matches `git NAME` and `git-NAME`, and a shell that runs one of them.
                let is_victim = |pid: &u32| {
                    command(*pid).contains(&format!("git {victim}"))
                        || command(*pid).contains(&format!("git-{victim}"))
                };
                let pids = server.wait_for_process(|line| line.contains("pack-objects"));
                for pid in pids.into_iter().filter(is_victim) {
                    let pid = Pid::from_raw(pid.try_into().unwrap()).unwrap();
                    kill_process(pid, Signal::KILL).unwrap();
                }
            }
            let (response, result) = read_response(&mut stream);
            let complete = match version {
                "HTTP/1.1" => response.ends_with("\r\n0\r\n\r\n"),
                _ => result.is_ok(),
            };
            assert_eq!(complete, victim.is_none(), "{victim:?} {version} {result:?}");
            server.wait_until_idle();
        }
    }
}

/// Without a length, an HTTP/1.0 proxy cannot tell a truncated response from a complete one, and
/// `git push` waits forever for the rest.
#[test]
fn a_short_http_1_0_response_has_a_content_length() {
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
fn a_git_failure_before_the_response_is_a_server_error() {
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
fn an_unread_response_times_out() {
    let world = World::new("unread");
    let issued = world.issue_credential();
    let server = world.serve(&["--create", "--response-timeout", "0.3"]);
    world.create_work_tree("work");
    world.commit_noise("work", 30 << 20);
    world.run_git("work", &["push", "--quiet", &server.url_of(&issued, "demo"), "main"]);
    let mut streams: Vec<_> = ["HTTP/1.1", "HTTP/1.0"]
        .map(|version| request_clone(&world, &server, &issued, version))
        .into();
    server.wait_for_process(|git| git.contains("pack-objects"));
    server.wait_until_idle();
    for stream in &mut streams {
        let (response, result) = read_response(stream);
        assert!(result.is_err() || !response.ends_with("\r\n0\r\n\r\n"));
    }
}

#[test]
fn a_hook_that_ignores_sigterm_is_killed() {
    let world = World::new("sigterm");
    let (server, issued) = serve_demo(&world, &["--processes", "1"]);
    world.hook("demo.git", "pre-receive", "trap '' TERM INT HUP; while :; do sleep 1; done");
    let body = world.push_body("work", "other").concat();
    let headers = format!("Content-Length: {}", body.len());
    let mut push = server.post("/demo/git-receive-pack", &issued, &headers);
    push.write_all(&body).unwrap();
    let started = server.wait_for_process(|git| git.contains("sleep"));
    drop(push);
    wait_for_exit(&started);
    fs::remove_file(world.repository("demo.git/hooks/pre-receive")).unwrap();
    server.wait_for_a_slot(&issued);
    world.run_git("work", &["push", &server.url_of(&issued, "demo"), "main:other"]);
}

#[test]
fn the_response_is_held_back_until_the_request_body_ends() {
    let world = World::new("held");
    let (server, issued) = serve_demo(&world, &[]);
    let [command, flush, pack] = world.push_body("work", "other");
    let mut push = server.post("/demo/git-receive-pack", &issued, "Transfer-Encoding: chunked");
    let (first, second) = pack.split_at(pack.len() / 2);
    push.write_all(&chunk(&[&command, &flush, first].concat())).unwrap();
    // Git writes the head of its response before it unpacks.
    server.wait_for_process(|git| git.contains("unpack-objects") || git.contains("index-pack"));
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
fn the_client_receives_the_error_of_a_push_rejected_early() {
    let world = World::new("rejected");
    let (server, issued) = serve_demo(&world, &[]);
    world.run_git(world.repository("demo.git"), &["config", "receive.maxInputSize", "1k"]);
    world.commit_noise("work", 20 << 20);
    for buffer in ["1048576", "100000000"] {
        let buffer = format!("http.postBuffer={buffer}");
        let url = server.url_of(&issued, "demo");
        let stderr = world.git_fails("work", &["-c", &buffer, "push", &url, "main"]);
        assert!(stderr.contains("unpacker error"), "{stderr}");
    }
    server.wait_until_idle();
}

#[test]
fn gzip_request_bodies_are_inflated_within_limits() {
    let world = World::new("encodings");
    let (server, issued) = serve_demo(&world, &[]);
    let fetch = world.fetch_body("demo.git");
    let compressed = gzip(&fetch);
    let (front, back) = fetch.split_at(fetch.len() / 2);
    let two_members = [gzip(front), gzip(back)].concat();
    let trailing_bytes = [&compressed[..], b"more"].concat();
    let bomb = gzip(&vec![0; 64 << 20]);
    let empty_members = gzip(b"").repeat(100_000);
    for (encoding, body, expected) in [
        ("", &fetch, 200),
        ("Content-Encoding: identity", &fetch, 200),
        ("Content-Encoding: gzip", &compressed, 200),
        ("Content-Encoding: x-gzip", &compressed, 200),
        ("content-encoding: GZIP", &compressed, 200),
        ("Content-Encoding: gzip", &two_members, 200),
        ("Content-Encoding: gzip", &trailing_bytes, 400),
        ("Content-Encoding: gzip", &fetch, 400),
        ("Content-Encoding: gzip", &bomb, 413),
        ("Content-Encoding: gzip", &empty_members, 200),
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
        let (response, _) = read_response(&mut stream);
        assert_eq!(status(&response), expected, "{encoding}");
        server.wait_until_idle();
    }
    assert!(peak(&server) < 64 << 10, "{}", peak(&server));
}

#[test]
fn only_authenticated_clients_receive_100_continue() {
    let world = World::new("expect");
    let (server, issued) = serve_demo(&world, &[]);
    let body = world.fetch_body("demo.git");
    let expect =
        format!("Connection: close\r\nExpect: 100-continue\r\nContent-Length: {}", body.len());
    let mut stream = server.post("/demo/git-upload-pack", &issued, &expect);
    let mut interim = [0; 25];
    stream.read_exact(&mut interim).unwrap();
    assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(&body).unwrap();
    assert_eq!(status(&read_response(&mut stream).0), 200);
    let denied = format!(
        "POST /demo/git-upload-pack HTTP/1.1\r\nHost: git\r\n{}\r\n{expect}\r\n\r\n",
        basic("x", "y")
    );
    assert_eq!(status(&raw(server.address, &denied)), 401);
}
