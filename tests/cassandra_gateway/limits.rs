//! Limits on connections and failed logins.

use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};

use crate::{
    common::{CASSANDRA, name},
    world::{BAD_CREDENTIALS, DENIED, OVERLOADED, World},
};

#[test]
fn connections_above_the_limit_are_rejected_until_others_end() {
    let world = World::new("connections");
    let issued = world.anika();
    let gateway = world.serve(&["--connections", "3"]);
    let mut sessions: Vec<_> =
        (3..=5).map(|version| gateway.log_in_as(version, &issued).unwrap()).collect();
    for version in 3..=5 {
        let error = gateway.log_in_as(version, &issued).map(drop).unwrap_err();
        assert_eq!(error, (OVERLOADED, "too many connections, try again later".to_owned()));
        // The password is verified first.
        let error = gateway
            .log_in(version, issued.service_user_name().as_str(), "wrong")
            .map(drop)
            .unwrap_err();
        assert_eq!(error.0, BAD_CREDENTIALS);
    }
    assert!(sessions.iter_mut().all(crate::world::Client::works));
    drop(sessions.pop());
    // The gateway notices a closed connection asynchronously.
    let mut next = loop {
        match gateway.log_in_as(4, &issued) {
            Ok(session) => break session,
            Err((code, _)) => assert_eq!(code, OVERLOADED),
        }
    };
    assert!(next.works());
}

#[test]
fn failed_logins_are_limited_by_address_and_user_name() {
    let world = World::new("throttle");
    let iam = world.iam();
    let users = ["anika", "jane"].map(|user| {
        iam.register_user(&name(user)).unwrap();
        iam.create(&name(user), &name(CASSANDRA)).unwrap()
    });
    drop(iam);
    // One per minute for a user name, and ten for the address: one more every six seconds.
    let gateway = world.serve(&["--failed-logins", "1"]);
    let [anika, jane] = &users;
    let denied = (BAD_CREDENTIALS, DENIED.to_owned());
    let throttled = (OVERLOADED, "too many failed logins, try again later".to_owned());
    let fail = |user: &str| gateway.log_in(4, user, "wrong").map(drop).unwrap_err();

    // A successful login does not count.
    for _ in 0..20 {
        gateway.log_in_as(4, anika).map(drop).unwrap();
    }
    let user = anika.service_user_name().as_str();
    assert_eq!(fail(user), denied);
    for user in [user, &user.to_uppercase()] {
        assert_eq!(fail(user), throttled);
    }
    // The correct password is not verified either, because that would reveal that it is correct.
    assert_eq!(gateway.log_in_as(4, anika).map(drop), Err(throttled.clone()));
    // Another user at the same address is not affected until the address has failed too often.
    gateway.log_in_as(4, jane).map(drop).unwrap();
    let names = (2..1000).map(|number| format!("nobody-{number}"));
    let failures = names.map(|name| fail(&name)).take_while(|error| *error == denied).count();
    assert!((9..998).contains(&failures), "{failures}");
    assert_eq!(gateway.log_in_as(4, jane).map(drop), Err(throttled));
    assert!(world.log().contains("too many failed logins"), "{}", world.log());
}

#[test]
fn a_signal_stops_the_gateway_and_closes_its_connections() {
    for signal in [Signal::TERM, Signal::INT] {
        let world = World::new(&format!("signal-{}", signal.as_raw()));
        let issued = world.anika();
        let mut gateway = world.serve(&[]);
        let mut session = gateway.log_in_as(5, &issued).unwrap();
        assert!(session.works());
        kill_process(Pid::from_child(gateway.process()), signal).unwrap();
        assert!(gateway.process().wait().unwrap().success());
        assert_eq!(session.receive(), None);
    }
}

#[test]
fn a_failure_to_start_is_reported() {
    let world = World::new("start");
    drop(world.anika());
    for (options, expected) in [
        (&["--store", "nothing"][..], "a store is `memory`"),
        (&["--recheck", "0"], "--recheck"),
        (&["--connections", "0"], "--connections"),
        (&["--failed-logins", "0"], "--failed-logins"),
        (&["--login-timeout", "0"], "--login-timeout"),
        (&["--upstream-user", "cassandra"], "--upstream"),
        (&["--upstream", "no port"], "no port: no connection"),
        (&["--admin", "0.0.0.0:0"], "0.0.0.0:0"),
        (&["--listen", "203.0.113.1:1"], "203.0.113.1:1"),
    ] {
        let complaint = world.fails(options);
        assert!(complaint.contains(expected), "{complaint}");
    }
    let help = world.command().arg("--help").stderr(Stdio::null()).output().unwrap();
    assert!(help.status.success());
}
