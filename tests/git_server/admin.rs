//! The address of the IAM Query API.

use std::net::SocketAddr;

use crate::{
    common::CODECOMMIT,
    world::{World, element, err, raw, status},
};

#[test]
fn a_server_that_holds_a_new_store_is_set_up_through_its_admin_address() {
    let world = World::new("admin");
    let server = world.serve(&["--create", "--store", "memory"]);
    server.admin("CreateUser", &[("UserName", "anika")]);
    let at = ("ServiceName", CODECOMMIT);
    let issued = server.admin("CreateServiceSpecificCredential", &[("UserName", "anika"), at]);
    let (user, password) =
        (element(&issued, "ServiceUserName"), element(&issued, "ServicePassword"));
    world.work("work");
    world.does("work", &["push", &server.url(user, password, "demo"), "main"]);
    assert!(!world.folder.file("credentials.redb").exists());
}

#[test]
fn the_admin_address_serves_programs_on_this_machine_alone() {
    let world = World::new("guard");
    let server = world.serve(&[]);
    let (admin, own) = (server.admin, server.admin.to_string());
    let get = "/?Action=CreateUser&Version=2010-05-08&UserName=";
    let post = "Action=CreateUser&Version=2010-05-08&UserName=";
    for (number, (host, other, served)) in [
        ("localhost", "", true),
        ("LOCALHOST:1234", "", true),
        (&*own, "", true),
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
    // A request of before there were hosts.
    assert_eq!(status(&raw(admin, &format!("GET {get}old HTTP/1.0\r\n\r\n"))), 403);
    let users = server.admin("ListUsers", &[]);
    assert_eq!(users.matches("<UserName>").count(), 10, "{users}");
    // More than can be meant.
    let long = server.admin("CreateUser", &[("UserName", &"x".repeat(1 << 20))]);
    assert_eq!((status(&long), element(&long, "Code")), (413, "MalformedInput"));

    let abroad =
        world.command().args(["--store", "memory", "--admin", "0.0.0.0:0"]).output().unwrap();
    assert_eq!(abroad.status.code(), Some(1));
    assert!(err(&abroad).contains("--insecure"), "{}", err(&abroad));
    let open = world.serve(&["--store", "memory", "--admin", "0.0.0.0:0", "--insecure"]);
    let reached = SocketAddr::from(([127, 0, 0, 1], open.admin.port()));
    let list = "/?Action=ListUsers&Version=2010-05-08";
    let page = format!("GET {list} HTTP/1.1\r\nHost: x\r\nOrigin: y\r\nConnection: close\r\n\r\n");
    assert_eq!(status(&raw(reached, &page)), 200);
}

#[test]
fn the_admin_address_serves_clients_that_know_it_by_a_name_that_was_given() {
    let world = World::new("host");
    let _ = world.anika();
    let options = ["--host", "iam", "--host", "git.example.com", "--admin", "0.0.0.0:0"];
    let server = world.serve(&[&["--store", "memory"][..], &options].concat());
    let reached = SocketAddr::from(([127, 0, 0, 1], server.admin.port()));
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
        // A page is not served under a name of ours, either.
        ("iam", "Origin: http://iam\r\n", 403),
        ("iam", "Sec-Fetch-Site: same-origin\r\n", 403),
    ] {
        let request =
            format!("GET {list} HTTP/1.1\r\nHost: {host}\r\n{other}Connection: close\r\n\r\n");
        assert_eq!(status(&raw(reached, &request)), expected, "{host} {other}");
    }
    for wrong in ["", "iam:8081", "user@iam", "http://iam", "a b"] {
        let mut command = world.command();
        let output = command.args(["--admin", "127.0.0.1:0", "--host", wrong]).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{wrong}");
    }
    for of_admin in [&["--host", "iam"][..], &["--insecure"], &["--url-safe"]] {
        assert_eq!(world.command().args(of_admin).output().unwrap().status.code(), Some(2));
    }
}

#[test]
fn an_insecure_admin_address_serves_web_pages() {
    let world = World::new("pages");
    let _ = world.anika();
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
