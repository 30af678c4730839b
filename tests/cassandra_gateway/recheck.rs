//! Connections are closed when their credential becomes invalid.

use std::time::{Duration, Instant};

use service_specific_credentials::{
    Clock as _, CreateOptions, CredentialManager, Lifetime, SystemClock, testing::FixedClock,
};
use time::Duration as Span;

use crate::{
    common::{ACCOUNT, CASSANDRA, name},
    world::{World, element},
};

/// Much longer than a recheck that is due within a second.
const LATE: Duration = Duration::from_secs(20);

#[test]
fn a_connection_is_closed_after_its_credential_was_disabled_reset_or_deleted() {
    let world = World::new("recheck");
    let iam = world.iam();
    let (anika, jane) = (name("anika"), name("jane"));
    let issue = |user| iam.create(user, &name(CASSANDRA)).unwrap();
    iam.register_user(&anika).unwrap();
    iam.register_user(&jane).unwrap();
    let (one, two, other) = (issue(&anika), issue(&anika), issue(&jane));
    drop(iam);

    // Also with an upstream, which a second gateway substitutes.
    let second = World::new("recheck-upstream");
    let known = second.anika();
    let upstream = second.serve(&[]);
    let address = upstream.address.to_string();
    let options = ["--upstream", &*address, "--upstream-user", known.service_user_name().as_str()];
    let without = ["--recheck", "1"];
    let with = [&without[..], &options].concat();
    for options in [&without[..], &with] {
        let mut command = world.command();
        command.args(options).env("UPSTREAM_PASSWORD", known.secret().expose());
        let gateway = world.start(&mut command);
        let (one_id, two_id) = (one.id().as_str(), two.id().as_str());
        let password = |xml: &str| element(xml, "ServicePassword").to_owned();
        let call = |action: &str, id: &str, more: &[(&str, &str)]| {
            let mut parameters = vec![("UserName", "anika"), ("ServiceSpecificCredentialId", id)];
            parameters.extend(more);
            gateway.admin(action, &parameters)
        };
        let mut kept = gateway.log_in_as(5, &other).unwrap();
        let xml = call("ResetServiceSpecificCredential", one_id, &[]);
        let mut current = password(&xml);
        for version in 3..=5 {
            let log_in = |password: &str| {
                gateway.log_in(version, one.service_user_name().as_str(), password)
            };

            let mut disabled = log_in(&current).unwrap();
            let mut idle = log_in(&current).unwrap();
            assert!(disabled.works());
            let start = Instant::now();
            call("UpdateServiceSpecificCredential", one_id, &[("Status", "Inactive")]);
            assert_eq!((disabled.receive(), idle.receive()), (None, None));
            assert!(start.elapsed() < LATE);
            call("UpdateServiceSpecificCredential", one_id, &[("Status", "Active")]);

            let mut reset = log_in(&current).unwrap();
            current = password(&call("ResetServiceSpecificCredential", one_id, &[]));
            let mut renewed = log_in(&current).unwrap();
            assert_eq!(reset.receive(), None);
            assert!(renewed.works() && kept.works());
        }
        let xml = call("ResetServiceSpecificCredential", two_id, &[]);
        let mut renewed = gateway.log_in(4, one.service_user_name().as_str(), &current).unwrap();
        let mut deleted =
            gateway.log_in(4, two.service_user_name().as_str(), &password(&xml)).unwrap();
        if options == with {
            call("DeleteServiceSpecificCredential", two_id, &[]);
            assert_eq!(deleted.receive(), None);
        }
        assert!(renewed.works() && kept.works());
    }
    let log = world.log();
    for reason in ["inactive", "wrong-secret", "unknown-name"] {
        assert!(log.contains(&format!("closed: {reason}\n")), "{log}");
    }
}

#[test]
fn a_connection_is_closed_after_its_credential_has_expired() {
    let world = World::new("expiry");
    let iam = world.iam();
    iam.register_user(&name("anika")).unwrap();
    // Soon, by the gateway's clock.
    let soon = SystemClock.now() - Span::DAY + Span::seconds(3);
    let past = CredentialManager::builder(name(ACCOUNT), iam.store().clone())
        .clock(FixedClock::new(soon))
        .build();
    let day = Lifetime::days(1).unwrap();
    let expiring = past
        .create_with_options(&name("anika"), &name(CASSANDRA), &CreateOptions::new().lifetime(day))
        .unwrap();
    let lasting = iam.create(&name("anika"), &name(CASSANDRA)).unwrap();
    drop((past, iam));
    let gateway = world.serve(&["--recheck", "1"]);
    let mut kept = gateway.log_in_as(4, &lasting).unwrap();
    let mut session = gateway.log_in_as(4, &expiring).unwrap();
    assert!(session.works());
    assert_eq!(session.receive(), None);
    assert!(SystemClock.now() >= expiring.credential().expires().unwrap());
    assert!(world.log().contains("closed: expired\n"), "{}", world.log());
    assert!(kept.works());
}
