//! The order of checks: a request with two faults reports the one that is checked first.

use crate::world::{CREATE, Call, DELETE, LIST, RESET, UPDATE, World};

type Parameters = &'static [(&'static str, &'static str)];

/// A fault of a request.
struct Wrong {
    /// The position in the order of checks: the step and, in steps 0, 2 and 7, the position within
    /// it.
    step: (u8, u8),
    /// The parameters that make the fault. `-` removes a parameter.
    set: Parameters,
    /// Text appended to the form.
    tail: &'static str,
    status: u16,
    code: &'static str,
    message: &'static str,
}

impl Wrong {
    const fn with(self, tail: &'static str) -> Self {
        Self { tail, ..self }
    }
}

const fn wrong(
    step: (u8, u8),
    set: Parameters,
    status: u16,
    code: &'static str,
    message: &'static str,
) -> Wrong {
    Wrong { step, set, tail: "", status, code, message }
}

/// The faults that every request can have.
fn form() -> Vec<Wrong> {
    vec![
        wrong((0, 0), &[], 400, "MalformedInput", "A parameter is given more than once")
            .with("&x=&x="),
        wrong((0, 1), &[("Action", "-")], 400, "MissingAction", "Missing Action"),
        wrong(
            (0, 2),
            &[("Version", "2012-10-17"), ("Action", "Sign")],
            400,
            "InvalidAction",
            "Could not find operation Sign for version 2012-10-17",
        ),
    ]
}

fn user() -> Vec<Wrong> {
    vec![
        wrong(
            (1, 0),
            &[("UserName", "a b")],
            400,
            "ValidationError",
            "The specified value for userName is invalid. It must contain only alphanumeric \
             characters and/or the following: +=,.@_-",
        ),
        wrong(
            (2, 1),
            // If all users were requested, this would be valid.
            &[("UserName", "-"), ("AllUsers", "false")],
            400,
            "ValidationError",
            "Must specify userName when calling with non-User credentials",
        ),
        wrong(
            (3, 0),
            &[("UserName", "Nobody")],
            404,
            "NoSuchEntity",
            "The user with name Nobody cannot be found.",
        ),
    ]
}

fn service() -> Vec<Wrong> {
    vec![
        wrong(
            (1, 0),
            &[("ServiceName", "a b")],
            400,
            "ValidationError",
            "ServiceName must match [a-zA-Z0-9.-]*",
        ),
        wrong(
            (4, 0),
            &[("ServiceName", "EC2")],
            404,
            "NotSupportedService",
            "No such service EC2 is supported for Service Specific Credentials",
        ),
    ]
}

fn id() -> Vec<Wrong> {
    vec![
        wrong(
            (1, 0),
            &[("ServiceSpecificCredentialId", "short")],
            400,
            "ValidationError",
            "1 validation error detected: Value at 'serviceSpecificCredentialId' failed to satisfy \
             constraint: Member must have length greater than or equal to 20",
        ),
        wrong(
            (6, 0),
            &[("ServiceSpecificCredentialId", "{missing}")],
            404,
            "NoSuchEntity",
            "No such credential {missing} exists",
        ),
        wrong(
            (6, 0),
            &[("UserName", "Carl")],
            404,
            "NoSuchEntity",
            "User Carl does not have a service specific credential with id {asked}",
        ),
    ]
}

fn expired() -> Wrong {
    wrong(
        (7, 1),
        &[("ServiceSpecificCredentialId", "{expired}")],
        400,
        "InvalidInput",
        "service specific credential {expired} has expired",
    )
}

/// A valid request of each operation, and the faults that it can have.
fn operations() -> Vec<(&'static str, Parameters, Vec<Wrong>)> {
    let user_and_id: Parameters =
        &[("UserName", "anika"), ("ServiceSpecificCredentialId", "{active}")];
    let user_id_and_status: Parameters = &[
        ("UserName", "anika"),
        ("ServiceSpecificCredentialId", "{active}"),
        ("Status", "Inactive"),
    ];
    let mut create = vec![
        wrong(
            (0, 3),
            &[("CredentialAgeDays", "1.0")],
            400,
            "MalformedInput",
            "CredentialAgeDays must be an integer",
        ),
        wrong(
            (1, 0),
            &[("CredentialAgeDays", "0")],
            400,
            "ValidationError",
            "1 validation error detected: Value at 'credentialAgeDays' failed to satisfy \
             constraint: Member must have value greater than or equal to 1",
        ),
        wrong(
            (7, 2),
            &[("UserName", "anika"), ("ServiceName", "codecommit.amazonaws.com")],
            409,
            "LimitExceeded",
            "Cannot exceed quota for ContextSpecificCredentialsPerUserPerContext: 2",
        ),
    ];
    create.extend(form().into_iter().chain(user()).chain(service()));
    let mut list = vec![
        wrong((0, 3), &[("MaxItems", "x")], 400, "MalformedInput", "MaxItems must be an integer"),
        wrong((0, 4), &[("AllUsers", "x")], 400, "MalformedInput", "AllUsers must be a boolean"),
        wrong(
            (1, 0),
            &[("MaxItems", "1001")],
            400,
            "ValidationError",
            "1 validation error detected: Value at 'maxItems' failed to satisfy constraint: \
             Member must have value less than or equal to 1000",
        ),
        wrong(
            (1, 0),
            &[("Marker", "")],
            400,
            "ValidationError",
            "1 validation error detected: Value at 'marker' failed to satisfy constraint: Member \
             must have length greater than or equal to 1",
        ),
        wrong(
            (2, 0),
            &[("AllUsers", "true")],
            400,
            "InvalidInput",
            "Cannot list credentials for all users if a username is given",
        ),
        wrong((5, 0), &[("Marker", "garbage")], 400, "ValidationError", "Invalid Marker."),
    ];
    list.extend(form().into_iter().chain(user()).chain(service()));
    let mut update = vec![
        wrong(
            (1, 0),
            &[("Status", "active")],
            400,
            "ValidationError",
            "1 validation error detected: Value at 'status' failed to satisfy constraint: Member \
             must satisfy enum value set",
        ),
        wrong(
            (7, 0),
            &[("Status", "Expired")],
            400,
            "InvalidInput",
            "Operation does not support status Expired",
        ),
        expired(),
    ];
    update.extend(form().into_iter().chain(user()).chain(id()));
    let mut reset = vec![expired()];
    reset.extend(form().into_iter().chain(user()).chain(id()));
    let delete: Vec<_> = form().into_iter().chain(user()).chain(id()).collect();
    vec![
        (CREATE, &[("UserName", "bo"), ("ServiceName", "logs.amazonaws.com")], create),
        (LIST, &[("UserName", "anika")], list),
        (UPDATE, user_id_and_status, update),
        (RESET, user_and_id, reset),
        (DELETE, user_and_id, delete),
    ]
}

/// The form with these faults, or `None` if two faults need different values of one parameter.
fn with_faults(action: &'static str, base: Parameters, wrongs: &[&Wrong]) -> Option<String> {
    let mut parameters = vec![("Action", action), ("Version", "2010-05-08")];
    parameters.extend(base);
    let mut tail = String::new();
    for (place, wrong) in wrongs.iter().enumerate() {
        tail += wrong.tail;
        for (name, value) in wrong.set {
            let others = wrongs[..place].iter().flat_map(|other| other.set);
            if others.into_iter().any(|other| other.0 == *name && other.1 != *value) {
                return None;
            }
            parameters.retain(|(known, _)| known != name);
            if *value != "-" {
                parameters.push((name, value));
            }
        }
    }
    let parameters: Vec<_> =
        parameters.iter().map(|(name, value)| format!("{name}={value}")).collect();
    Some(parameters.join("&") + &tail)
}

#[test]
fn of_two_faults_the_earlier_is_reported() {
    let world = World::new();
    let mut pairs = 0;
    for (action, base, wrongs) in operations() {
        for first in &wrongs {
            for second in wrongs.iter().filter(|second| first.step <= second.step) {
                if first.step == second.step && !std::ptr::eq(first, second) {
                    continue;
                }
                let Some(form) = with_faults(action, base, &[first, second]) else { continue };
                let rejection = world.rejection(&Call::form(form.clone()));
                let asked = form.split("CredentialId=").nth(1).unwrap_or_default();
                let asked = asked.split('&').next().unwrap();
                let message = world.fill(&first.message.replace("{asked}", asked));
                let expected = (first.status, first.code.to_owned(), message);
                assert_eq!(rejection, expected, "{:?} {:?}: {form}", first.step, second.step);
                pairs += 1;
            }
        }
    }
    assert!(pairs > 250, "{pairs} pairs");
}

#[test]
fn a_request_without_a_fault_succeeds() {
    for (action, base, _) in operations() {
        let reply = World::new().send(&Call::form(with_faults(action, base, &[]).unwrap()));
        assert_eq!(reply.status, 200, "{action}: {}", reply.body);
    }
}

/// Steps that no pair above can distinguish, because one parameter has only one fault.
#[test]
fn a_form_is_parsed_before_its_parameters_are_checked() {
    let world = World::new();
    let rejection = |form: &str| world.rejection(&Call::form(form));
    let repeated = "A parameter is given more than once";
    assert_eq!(rejection("Action=Sign&Action=Sign").2, repeated);
    assert_eq!(rejection("Version=&Version=").2, repeated);
    assert_eq!(rejection("MaxItems=x&MaxItems=x").2, repeated);
    assert_eq!(rejection("Version=1&MaxItems=x").2, "Missing Action");
    assert_eq!(
        rejection("Action=ListUsers&MaxItems=x&Version=").2,
        "Could not find operation ListUsers for version "
    );
    let form = format!("Action={CREATE}&Version=2010-05-08&CredentialAgeDays=x");
    assert_eq!(rejection(&form).2, "CredentialAgeDays must be an integer", "and no service");
}
