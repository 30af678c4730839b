//! Records concurrent calls with their results and times, and searches for an order of them in
//! which the model returns the same results.

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicU64, Ordering::SeqCst},
};

use futures_util::FutureExt as _;
use service_specific_credentials::{
    AsyncCredentialManager, AuthenticationError, CredentialKind, DenialReason, IssuedCredential,
    ListRequest, ListUsersRequest, MaxItems, Status, UserId, UserName,
    store::{AsyncStore, Store, SyncAdapter},
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
    /// The future was dropped: the command was executed or not.
    Cancelled,
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

/// A command that was called.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    command: Command,
    /// The credential that the command names.
    of: Issued,
    called: u64,
}

/// One command, from its call to its return.
#[derive(Debug)]
pub(crate) struct Event {
    call: Call,
    returned: u64,
    pub(crate) outcome: CallResult,
}

/// A caller, with its known secrets and its history.
pub(crate) struct Caller<'a, S> {
    iam: &'a AsyncCredentialManager<S>,
    clock: &'a AtomicU64,
    pub(crate) known: Vec<Issued>,
    pub(crate) events: Vec<Event>,
}

impl<'a, S: AsyncStore> Caller<'a, S> {
    pub(crate) fn new(iam: &'a AsyncCredentialManager<S>, clock: &'a AtomicU64) -> Self {
        Self { iam, clock, known: Vec::new(), events: Vec::new() }
    }

    /// Another caller with the same known secrets.
    pub(crate) fn fork(&self) -> Self {
        Self { known: self.known.clone(), ..Self::new(self.iam, self.clock) }
    }

    pub(crate) fn begin(&self, command: &Command) -> Call {
        let of = self.credential(command);
        Call { command: command.clone(), of, called: self.clock.fetch_add(1, SeqCst) }
    }

    pub(crate) fn end(&mut self, call: Call, outcome: CallResult) {
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
        self.events.push(Event { call, returned, outcome });
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

impl<S: Store> Caller<'_, SyncAdapter<S>> {
    pub(crate) fn call(&mut self, command: &Command) {
        let call = self.begin(command);
        let outcome = call.run(self.iam).now_or_never().expect("the store never waits");
        self.end(call, outcome);
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

impl Call {
    pub(crate) async fn run<S: AsyncStore>(&self, iam: &AsyncCredentialManager<S>) -> CallResult {
        let of = &self.of;
        let name = |text: &str| text.parse::<UserName>().unwrap();
        let user_name = |user: Option<&str>| name(user.unwrap_or(&of.user));
        let id = of.id.parse().unwrap();
        let max = MaxItems::new(1000).unwrap();
        match self.command {
            Command::Register(user) => {
                to_call_result(iam.register_user(&name(user)).await, |user| {
                    CallResult::User(user.into())
                })
            }
            Command::Rename(user, new) => {
                to_call_result(iam.rename_user(&name(user), &name(new)).await, |user| {
                    CallResult::User(user.into())
                })
            }
            Command::Remove(user) => {
                to_call_result(iam.remove_user(&name(user)).await, |()| CallResult::Done)
            }
            Command::RemoveWithCredentials(user) => {
                to_call_result(iam.remove_user_with_credentials(&name(user)).await, seen)
            }
            Command::Create(user, service) => {
                to_call_result(iam.create(&name(user), &service.parse().unwrap()).await, issued)
            }
            Command::Reset(user, _) => {
                to_call_result(iam.reset(&user_name(user), &id).await, issued)
            }
            Command::SetStatus(user, _, status) => {
                to_call_result(iam.set_status(&user_name(user), &id, status).await, |()| {
                    CallResult::Done
                })
            }
            Command::Delete(user, _) => {
                to_call_result(iam.delete(&user_name(user), &id).await, |()| CallResult::Done)
            }
            Command::List(user) => to_call_result(iam.list(&name(user)).await, seen),
            Command::All => {
                let request = ListRequest::all_users().max_items(max);
                to_call_result(iam.list_page(&request).await, |page| seen(page.items))
            }
            Command::Users => to_call_result(
                iam.list_users_page(&ListUsersRequest::new().max_items(max)).await,
                |page| CallResult::Users(page.items.into_iter().map(Into::into).collect()),
            ),
            Command::Authenticate(_) => {
                let service = of.service.parse().unwrap();
                let result = match kind(&of.service).unwrap() {
                    CredentialKind::Password => {
                        iam.authenticate(&service, &of.name, &of.secret).await
                    }
                    CredentialKind::ApiKey => iam.authenticate_api_key(&service, &of.secret).await,
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
}

impl Event {
    /// What the command drew. If the result does not contain it, a value that nothing else draws,
    /// so that a model that draws returns another result.
    fn drawn(&self) -> Random {
        match &self.outcome {
            CallResult::Issued(seen, secret) => Random {
                user: None,
                credential: Drawn { id: seen.id.clone(), secret: secret.clone() },
            },
            CallResult::User(SeenUser { id, .. }) => Random { user: Some(*id), ..Random::none() },
            _ => Random::none(),
        }
    }

    /// The user whose credential the command names.
    fn user_name(&self) -> Option<&str> {
        match self.call.command {
            Command::Reset(user, _) | Command::SetStatus(user, _, _) | Command::Delete(user, _) => {
                Some(user.unwrap_or(&self.call.of.user))
            }
            _ => None,
        }
    }

    /// Runs the command on the model.
    fn execute(&self, model: &mut Model, random: &Random) -> CallResult {
        let Issued { id, service, name, secret, .. } = &self.call.of;
        let user_name = self.user_name().unwrap_or_default();
        let drawn = || Some(random.credential.clone());
        let issue = |seen| CallResult::Issued(seen, random.credential.secret.clone());
        match self.call.command {
            Command::Register(user) => match random.user {
                Some(id) => {
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
                to_call_result(model.create(0, user, service, None, drawn()), issue)
            }
            Command::Reset(..) => to_call_result(model.reset(0, user_name, id, drawn()), issue),
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
        (self.execute(&mut next, &self.drawn()) == self.outcome).then_some(next)
    }

    /// The models after a command that was cancelled: without an effect, and with each result that
    /// it may have had.
    fn follow_cancelled(&self, model: &Model, unseen: &[Random]) -> Vec<Model> {
        let executed = unseen.iter().map(|random| {
            let mut next = model.clone();
            self.execute(&mut next, random);
            next
        });
        [model.clone()].into_iter().chain(executed).collect()
    }

    /// The model after a command whose result combines several reads, and was true at no single
    /// moment. `during` contains every state during the call so far.
    fn follow_loosely(&self, during: &[Model]) -> Option<Model> {
        let now = during.last()?;
        match (&self.call.command, &self.outcome) {
            // The name is free. Each lower name was taken at some moment of the call.
            (Command::Create(user, service), CallResult::Issued(seen, _)) => {
                let has = |model: &Model, name: &str| model.has_name(0, service, name);
                let free = |model: &Model, name: &str| {
                    let given = name == seen.name && !has(model, name);
                    given || during.iter().all(|model| !has(model, name))
                };
                let mut next = now.clone();
                let created =
                    next.create_where(0, user, service, None, Some(self.drawn().credential), free);
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

/// What a command draws.
#[derive(Clone)]
struct Random {
    user: Option<UserId>,
    credential: Drawn,
}

impl Random {
    fn none() -> Self {
        Self { user: None, credential: Drawn { id: String::new(), secret: String::new() } }
    }

    /// What cancelled commands may have drawn: the ids that other results contain and that no
    /// command has returned as new, and values that no result contains.
    fn unseen(events: &[Event]) -> Vec<Self> {
        let (mut ids, mut users) = (BTreeSet::new(), BTreeSet::new());
        ids.insert("an id that was never listed".to_owned());
        users.insert("67e55044-10b1-426f-9247-bb680e5fe0c8".parse().unwrap());
        for event in events {
            match &event.outcome {
                CallResult::Credentials(all) => ids.extend(all.iter().map(|seen| seen.id.clone())),
                CallResult::Users(all) => users.extend(all.iter().map(|user| user.id)),
                _ => {}
            }
        }
        for event in events {
            match (&event.call.command, &event.outcome) {
                (Command::Create(..), CallResult::Issued(seen, _)) => drop(ids.take(&seen.id)),
                (Command::Register(_), CallResult::User(user)) => drop(users.take(&user.id)),
                _ => {}
            }
        }
        let secret = || "a secret that was never returned".to_owned();
        let of_user = |user| {
            let credential = |id: &String| Drawn { id: id.clone(), secret: secret() };
            ids.iter().map(move |id| Self { user: Some(user), credential: credential(id) })
        };
        users.iter().copied().flat_map(of_user).collect()
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
    let is_cancelled = |event: &Event| event.outcome == CallResult::Cancelled;
    let unseen = if events.iter().any(is_cancelled) { Random::unseen(events) } else { Vec::new() };
    let states = vec![start.clone()];
    Search { events, rule, unseen, order: Vec::new(), states }.finishes()
}

struct Search<'a> {
    events: &'a [Event],
    rule: Rule,
    unseen: Vec<Random>,
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
        left.into_iter().filter(|&index| self.events[index].call.called < horizon).any(|index| {
            self.next(&self.events[index]).into_iter().any(|next| {
                self.order.push(index);
                self.states.push(next);
                let finishes = self.finishes();
                self.order.pop();
                self.states.pop();
                finishes
            })
        })
    }

    fn next(&self, event: &Event) -> Vec<Model> {
        let now = &self.states[self.states.len() - 1];
        if event.outcome == CallResult::Cancelled {
            return event.follow_cancelled(now, &self.unseen);
        }
        let strict = event.follow(now);
        if strict.is_some() || self.rule == Rule::Strict {
            return strict.into_iter().collect();
        }
        let returned = |&index: &usize| self.events[index].returned < event.call.called;
        let before = self.order.iter().rposition(returned).map_or(0, |last| last + 1);
        event.follow_loosely(&self.states[before..]).into_iter().collect()
    }
}
