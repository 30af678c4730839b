//! The admin address, which serves the IAM Query API.

use std::net::SocketAddr;

use crate::{
    common::CODECOMMIT,
    world::{World, element, err, raw, status},
};

#[test]
fn the_admin_address_creates_credentials_in_a_memory_store() {
    let world = World::new("admin");
    let server = world.serve(&["--create", "--store", "memory"]);
    server.admin("CreateUser", &[("UserName", "anika")]);
    let service = ("ServiceName", CODECOMMIT);
    let issued = server.admin("CreateServiceSpecificCredential", &[("UserName", "anika"), service]);
    let (user, password) =
        (element(&issued, "ServiceUserName"), element(&issued, "ServicePassword"));
    world.create_work_tree("work");
    world.run_git("work", &["push", &server.url(user, password, "demo"), "main"]);
    assert!(!world.folder.file("credentials.redb").exists());
}

#[test]
fn the_admin_address_rejects_web_pages_and_unknown_hosts() {
    let world = World::new("guard");
    let server = world.serve(&[]);
    let (admin, admin_host) = (server.admin, server.admin.to_string());
    let get = "/?Action=CreateUser&Version=2010-05-08&UserName=";
    let post = "Action=CreateUser&Version=2010-05-08&UserName=";
    for (number, (host, other, served)) in [
        ("localhost", "", true),
        ("LOCALHOST:1234", "", true),
        (&*admin_host, "", true),
        ("127.0.0.1", "", true),
        ("127.0.0.1", "Sec-Fetch-Site: none", false),
        ("127.0.0.1", "Sec-Fetch-Site: cross-site", false),
        ("127.0.0.1", "Sec-Fetch-Site: same-site", false),
        ("127.0.0.1", "Referer: https://example.com/", false),
        ("localhost", "Origin: http://localhost", false),
        ("localhost", "Origin: null", false),
        ("localhost", "Host: evil.example", false),
        ("evil.example", "", false),
        ("evil.example:80", "", false),
        ("localhost.evil.example", "", false),
        ("localhost:80@evil.example", "", false),
        ("127.0.0.2", "", false),
        ("[::1]:80", "", true),
        ("[::2]", "", false),
        ("", "", false),
    ]
    .into_iter()
    .enumerate()
    {
        let other = if other.is_empty() { String::new() } else { format!("\r\n{other}") };
        let headers = format!("Host: {host}{other}");
        let expected: &[u16] = if served { &[200] } else { &[400, 403] };
        for response in [
            server.admin_raw("GET", &format!("{get}got-{number}"), &headers, ""),
            server.admin_raw("POST", "/", &headers, &format!("{post}posted-{number}")),
        ] {
            assert!(expected.contains(&status(&response)), "{headers}: {response}");
            assert!(status(&response) != 403 || element(&response, "Code") == "AccessDenied");
        }
    }
    // An HTTP/1.0 request without a `Host` header is denied.
    assert_eq!(status(&raw(admin, &format!("GET {get}old HTTP/1.0\r\n\r\n"))), 403);
    let users = server.admin("ListUsers", &[]);
    assert_eq!(users.matches("<UserName>").count(), 10, "{users}");
    // A request above the size limit is rejected.
    let too_large = server.admin("CreateUser", &[("UserName", &"x".repeat(1 << 20))]);
    assert_eq!((status(&too_large), element(&too_large, "Code")), (413, "MalformedInput"));

    // A non-loopback admin address requires `--host` or `--insecure`.
    let output =
        world.command().args(["--store", "memory", "--admin", "0.0.0.0:0"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(err(&output).contains("--insecure"), "{}", err(&output));
    let insecure = world.serve(&["--store", "memory", "--admin", "0.0.0.0:0", "--insecure"]);
    let address = SocketAddr::from(([127, 0, 0, 1], insecure.admin.port()));
    let list = "/?Action=ListUsers&Version=2010-05-08";
    let page = format!("GET {list} HTTP/1.1\r\nHost: x\r\nOrigin: y\r\nConnection: close\r\n\r\n");
    assert_eq!(status(&raw(address, &page)), 200);
}

#[test]
fn the_host_option_allows_further_host_names() {
    let world = World::new("host");
    let _ = world.issue_credential();
    let options = ["--host", "iam", "--host", "git.example.com", "--admin", "0.0.0.0:0"];
    let server = world.serve(&[&["--store", "memory"][..], &options].concat());
    let address = SocketAddr::from(([127, 0, 0, 1], server.admin.port()));
    let list = "/?Action=ListUsers&Version=2010-05-08";
    for (host, other, expected) in [
        ("iam", "", 200),
        ("IAM:8081", "", 200),
        ("git.example.com", "", 200),
        ("localhost:1", "", 200),
        ("127.0.0.1", "", 200),
        ("evil.iam", "", 403),
        ("iam.evil", "", 403),
        ("example.com", "", 403),
        ("iam@evil", "", 403),
        // Web pages are rejected under a configured host name, too.
        ("iam", "Origin: http://iam\r\n", 403),
        ("iam", "Sec-Fetch-Site: same-origin\r\n", 403),
    ] {
        let request =
            format!("GET {list} HTTP/1.1\r\nHost: {host}\r\n{other}Connection: close\r\n\r\n");
        assert_eq!(status(&raw(address, &request)), expected, "{host} {other}");
    }
    for invalid in ["", "iam:8081", "user@iam", "http://iam", "a b"] {
        let mut command = world.command();
        let output = command.args(["--admin", "127.0.0.1:0", "--host", invalid]).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{invalid}");
    }
    // These options require `--admin`.
    for options in [&["--host", "iam"][..], &["--insecure"], &["--url-safe"]] {
        assert_eq!(world.command().args(options).output().unwrap().status.code(), Some(2));
    }
}

#[test]
fn an_insecure_admin_address_serves_web_pages() {
    let world = World::new("pages");
    let _ = world.issue_credential();
    let page = "Origin: https://example.com\r\nSec-Fetch-Site: cross-site\r\nConnection: close\r\n";
    let preflight = format!(
        "OPTIONS / HTTP/1.1\r\nHost: localhost\r\n{page}Access-Control-Request-Method: POST\r\n\
         Access-Control-Request-Headers: authorization,x-amz-date\r\n\
         Access-Control-Request-Private-Network: true\r\n\r\n"
    );
    let list = format!(
        "GET /?Action=ListUsers&Version=2010-05-08 HTTP/1.1\r\nHost: localhost\r\n{page}\r\n"
    );
    let allowed = "\r\naccess-control-allow-origin: *\r\n";
    let server = world.serve(&["--store", "memory", "--insecure"]);
    let response = raw(server.admin, &preflight);
    assert_eq!(status(&response), 200, "{response}");
    for line in [
        allowed,
        "\r\naccess-control-allow-methods: *\r\n",
        "\r\naccess-control-allow-headers: authorization,x-amz-date\r\n",
        "\r\naccess-control-allow-private-network: true\r\n",
    ] {
        assert!(response.contains(line), "{line} {response}");
    }
    let response = raw(server.admin, &list);
    assert_eq!(status(&response), 200);
    assert!(response.contains(allowed), "{response}");

    let server = world.serve(&["--store", "memory", "--host", "iam"]);
    for request in [&preflight, &list] {
        let response = raw(server.admin, request);
        assert_eq!(status(&response), 403);
        assert!(!response.contains("access-control"), "{response}");
    }
}
