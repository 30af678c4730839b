//! Records concurrent calls with their results and times, and searches for an order of them in
//! which the model returns the same results.

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use service_specific_credentials::{
    AuthenticationError, CredentialKind, CredentialManager, DenialReason, IssuedCredential,
    ListRequest, ListUsersRequest, MaxItems, Status, UserId, UserName, store::Store,
};

use crate::reference::{Drawn, Model, ModelError, Query, Seen, SeenUser, kind};

/// A command. A credential is identified by its index among the secrets that the caller has
/// received, and a user by a name, or, for `None`, by the user that the secret was issued to.
#[derive(Clone, Debug)]
pub(crate) enum Command {
    Register(&'static str),
    Rename(&'static str, &'static str),
    Remove(&'static str),
    RemoveWithCredentials(&'static str),
    Create(&'static str, &'static str),
    Reset(Option<&'static str>, usize),
    SetStatus(Option<&'static str>, usize, Status),
    Delete(Option<&'static str>, usize),
    List(&'static str),
    /// Lists all credentials.
    All,
    /// Lists all users.
    Users,
    Authenticate(usize),
}

/// The result of a command.
#[derive(Debug, PartialEq)]
pub(crate) enum CallResult {
    Done,
    User(SeenUser),
    Users(Vec<SeenUser>),
    /// A credential and its secret.
    Issued(Seen, String),
    Credentials(Vec<Seen>),
    Authenticated(UserId, String, Seen),
    Failed(ModelError),
    Denied(DenialReason),
}

/// A secret that was issued.
#[derive(Clone, Debug)]
pub(crate) struct Issued {
    user: String,
    id: String,
    service: String,
    name: String,
    secret: String,
}

/// One command, from its call to its return.
#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) command: Command,
    /// The credential that the command names.
    of: Issued,
    called: u64,
    returned: u64,
    pub(crate) outcome: CallResult,
}

/// A caller, with its known secrets and its history.
pub(crate) struct Caller<'a, S> {
    iam: &'a CredentialManager<S>,
    clock: &'a AtomicU64,
    pub(crate) known: Vec<Issued>,
    pub(crate) events: Vec<Event>,
}

impl<'a, S: Store> Caller<'a, S> {
    pub(crate) fn new(iam: &'a CredentialManager<S>, clock: &'a AtomicU64) -> Self {
        Self { iam, clock, known: Vec::new(), events: Vec::new() }
    }

    /// Another caller with the same known secrets.
    pub(crate) fn fork(&self) -> Self {
        Self { known: self.known.clone(), ..Self::new(self.iam, self.clock) }
    }

    pub(crate) fn call(&mut self, command: &Command) {
        let of = self.credential(command);
        let called = self.clock.fetch_add(1, SeqCst);
        let outcome = execute(self.iam, command, &of);
        let returned = self.clock.fetch_add(1, SeqCst);
        if let CallResult::Issued(seen, secret) = &outcome {
            self.known.push(Issued {
                user: seen.user_name.clone(),
                id: seen.id.clone(),
                service: seen.service.clone(),
                name: seen.name.clone(),
                secret: secret.clone(),
            });
        }
        self.events.push(Event { command: command.clone(), of, called, returned, outcome });
    }

    fn credential(&self, command: &Command) -> Issued {
        let known = match *command {
            Command::Reset(_, index)
            | Command::SetStatus(_, index, _)
            | Command::Delete(_, index)
            | Command::Authenticate(index) => index.checked_rem(self.known.len()),
            _ => None,
        };
        known.map_or_else(Issued::unknown, |index| self.known[index].clone())
    }
}

impl Issued {
    fn unknown() -> Self {
        Self {
            user: "nobody".to_owned(),
            id: "ACCA2345672345672345A".to_owned(),
            service: "codecommit.amazonaws.com".to_owned(),
            name: "nobody-at-123456789012".to_owned(),
            secret: String::new(),
        }
    }
}

fn to_call_result<T, E: Into<ModelError>>(
    result: Result<T, E>,
    convert: impl FnOnce(T) -> CallResult,
) -> CallResult {
    result.map_or_else(|error| CallResult::Failed(error.into()), convert)
}

fn seen<T: Into<Seen>>(credentials: Vec<T>) -> CallResult {
    CallResult::Credentials(credentials.into_iter().map(Into::into).collect())
}

fn issued(issued: IssuedCredential) -> CallResult {
    let secret = issued.secret().expose().to_owned();
    CallResult::Issued(issued.into_parts().0.into(), secret)
}

fn execute<S: Store>(iam: &CredentialManager<S>, command: &Command, of: &Issued) -> CallResult {
    let name = |text: &str| text.parse::<UserName>().unwrap();
    let user_name = |user: Option<&str>| name(user.unwrap_or(&of.user));
    let id = of.id.parse().unwrap();
    let max = MaxItems::new(1000).unwrap();
    match *command {
        Command::Register(user) => {
            to_call_result(iam.register_user(&name(user)), |user| CallResult::User(user.into()))
        }
        Command::Rename(user, new) => {
            to_call_result(iam.rename_user(&name(user), &name(new)), |user| {
                CallResult::User(user.into())
            })
        }
        Command::Remove(user) => {
            to_call_result(iam.remove_user(&name(user)), |()| CallResult::Done)
        }
        Command::RemoveWithCredentials(user) => {
            to_call_result(iam.remove_user_with_credentials(&name(user)), seen)
        }
        Command::Create(user, service) => {
            to_call_result(iam.create(&name(user), &service.parse().unwrap()), issued)
        }
        Command::Reset(user, _) => to_call_result(iam.reset(&user_name(user), &id), issued),
        Command::SetStatus(user, _, status) => {
            to_call_result(iam.set_status(&user_name(user), &id, status), |()| CallResult::Done)
        }
        Command::Delete(user, _) => {
            to_call_result(iam.delete(&user_name(user), &id), |()| CallResult::Done)
        }
        Command::List(user) => to_call_result(iam.list(&name(user)), seen),
        Command::All => {
            let request = ListRequest::all_users().max_items(max);
            to_call_result(iam.list_page(&request), |page| seen(page.items))
        }
        Command::Users => {
            to_call_result(iam.list_users_page(&ListUsersRequest::new().max_items(max)), |page| {
                CallResult::Users(page.items.into_iter().map(Into::into).collect())
            })
        }
        Command::Authenticate(_) => {
            let service = of.service.parse().unwrap();
            let result = match kind(&of.service).unwrap() {
                CredentialKind::Password => iam.authenticate(&service, &of.name, &of.secret),
                CredentialKind::ApiKey => iam.authenticate_api_key(&service, &of.secret),
            };
            match result {
                Ok(identity) => CallResult::Authenticated(
                    identity.user_id(),
                    identity.user_name().to_string(),
                    identity.credential().into(),
                ),
                Err(AuthenticationError::Denied(denial)) => CallResult::Denied(denial.reason()),
                Err(AuthenticationError::Unavailable(error)) => panic!("{error}"),
            }
        }
    }
}

impl Event {
    /// What the command drew. If the result does not contain it, a value that nothing else draws,
    /// so that a model that draws returns another result.
    fn drawn(&self) -> Drawn {
        match &self.outcome {
            CallResult::Issued(seen, secret) => {
                Drawn { id: seen.id.clone(), secret: secret.clone() }
            }
            _ => Drawn { id: String::new(), secret: String::new() },
        }
    }

    /// The user whose credential the command names.
    fn user_name(&self) -> Option<&str> {
        match self.command {
            Command::Reset(user, _) | Command::SetStatus(user, _, _) | Command::Delete(user, _) => {
                Some(user.unwrap_or(&self.of.user))
            }
            _ => None,
        }
    }

    /// Runs the command on the model.
    fn execute(&self, model: &mut Model) -> CallResult {
        let Issued { id, service, name, secret, .. } = &self.of;
        let user_name = self.user_name().unwrap_or_default();
        let issue = |seen| CallResult::Issued(seen, self.drawn().secret);
        match self.command {
            Command::Register(user) => match self.outcome {
                CallResult::User(SeenUser { id, .. }) => {
                    to_call_result(model.register(0, user, "/", Some(id)), CallResult::User)
                }
                // The model would register a user, but no user was registered: any other result
                // rejects this order.
                _ if model.user(0, user).is_err() => CallResult::Done,
                _ => to_call_result(model.register(0, user, "/", None), CallResult::User),
            },
            Command::Rename(user, new) => {
                to_call_result(model.rename(0, user, new), CallResult::User)
            }
            Command::Remove(user) => {
                to_call_result(model.remove(0, user, false), |_| CallResult::Done)
            }
            Command::RemoveWithCredentials(user) => {
                to_call_result(model.remove(0, user, true), seen)
            }
            Command::Create(user, service) => {
                to_call_result(model.create(0, user, service, None, Some(self.drawn())), issue)
            }
            Command::Reset(..) => {
                to_call_result(model.reset(0, user_name, id, Some(self.drawn())), issue)
            }
            Command::SetStatus(_, _, status) => {
                to_call_result(model.set_status(0, user_name, id, status), |()| CallResult::Done)
            }
            Command::Delete(..) => {
                to_call_result(model.delete(0, user_name, id), |()| CallResult::Done)
            }
            Command::List(user) => to_call_result(model.listing(&query(Some(user))), seen),
            Command::All => to_call_result(model.listing(&query(None)), seen),
            Command::Users => CallResult::Users(model.users(0, "/")),
            Command::Authenticate(_) => {
                let result = match kind(service).unwrap() {
                    CredentialKind::Password => model.authenticate(0, service, name, secret),
                    CredentialKind::ApiKey => model.authenticate_api_key(0, service, secret),
                };
                result.map_or_else(CallResult::Denied, |(user, seen)| {
                    CallResult::Authenticated(user.id, user.name, seen)
                })
            }
        }
    }

    /// The model after the command, if its result is the same.
    fn follow(&self, model: &Model) -> Option<Model> {
        let mut next = model.clone();
        (self.execute(&mut next) == self.outcome).then_some(next)
    }

    /// The model after a command whose result combines several reads, and was true at no single
    /// moment. `during` contains every state during the call so far.
    fn follow_loosely(&self, during: &[Model]) -> Option<Model> {
        let now = during.last()?;
        match (&self.command, &self.outcome) {
            // The name is free. Each lower name was taken at some moment of the call.
            (Command::Create(user, service), CallResult::Issued(seen, _)) => {
                let has = |model: &Model, name: &str| model.has_name(0, service, name);
                let free = |model: &Model, name: &str| {
                    let given = name == seen.name && !has(model, name);
                    given || during.iter().all(|model| !has(model, name))
                };
                let mut next = now.clone();
                let created = next.create_where(0, user, service, None, Some(self.drawn()), free);
                (created.as_ref() == Ok(seen)).then_some(next)
            }
            // The credential does not exist now, and the user existed at some moment of the call.
            (_, CallResult::Failed(ModelError::NoSuchCredential(id))) => {
                let all = now.listing(&query(None)).unwrap();
                let gone = all.iter().all(|held| held.id != *id);
                let was = |user: &str| during.iter().any(|model| model.user(0, user).is_ok());
                (gone && self.user_name().is_some_and(was)).then(|| now.clone())
            }
            _ => None,
        }
    }
}

fn query(user: Option<&'static str>) -> Query {
    Query { user, ..Query::default() }
}

/// How results are compared with those of the model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Rule {
    /// Every result is the model's at one moment of the call.
    Strict,
    /// Some results may combine several moments.
    Loose,
}

/// Whether some order of the events, which respects the order of returns and later calls, makes the
/// model return the same results.
pub(crate) fn explains(start: &Model, events: &[Event], rule: Rule) -> bool {
    Search { events, rule, order: Vec::new(), states: vec![start.clone()] }.finishes()
}

struct Search<'a> {
    events: &'a [Event],
    rule: Rule,
    order: Vec<usize>,
    /// The states before all events and after each event of the order.
    states: Vec<Model>,
}

impl Search<'_> {
    fn finishes(&mut self) -> bool {
        let left: Vec<_> =
            (0..self.events.len()).filter(|index| !self.order.contains(index)).collect();
        let Some(horizon) = left.iter().map(|&index| self.events[index].returned).min() else {
            return true;
        };
        left.into_iter().filter(|&index| self.events[index].called < horizon).any(|index| {
            let Some(next) = self.next(&self.events[index]) else { return false };
            self.order.push(index);
            self.states.push(next);
            let finishes = self.finishes();
            self.order.pop();
            self.states.pop();
            finishes
        })
    }

    fn next(&self, event: &Event) -> Option<Model> {
        let strict = event.follow(self.states.last()?);
        if strict.is_some() || self.rule == Rule::Strict {
            return strict;
        }
        let returned = |&index: &usize| self.events[index].returned < event.called;
        let before = self.order.iter().rposition(returned).map_or(0, |last| last + 1);
        event.follow_loosely(&self.states[before..])
    }
}
