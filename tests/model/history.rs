//! What was asked and answered when, and whether the model, asked the same in some order, gives
//! the same answers.

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use service_specific_credentials::{
    AuthenticationError, CredentialKind, CredentialManager, DenialReason, IssuedCredential,
    ListRequest, ListUsersRequest, MaxItems, Status, UserId, UserName, store::Store,
};

use crate::reference::{Drawn, Model, Query, Refused, Seen, SeenUser, kind};

/// What is asked. A credential is named by its place among the secrets that the caller has been
/// handed, and a user by a name, or, for `None`, by that which the secret was issued to.
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
    /// Every credential.
    All,
    /// Every user.
    Users,
    Authenticate(usize),
}

/// What is answered.
#[derive(Debug, PartialEq)]
pub(crate) enum Answer {
    Done,
    User(SeenUser),
    Users(Vec<SeenUser>),
    /// A credential and its secret.
    Issued(Seen, String),
    Credentials(Vec<Seen>),
    Who(UserId, String, Seen),
    Refused(Refused),
    Stranger(DenialReason),
}

/// A secret that was handed out.
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
    pub(crate) answer: Answer,
}

/// A caller, with what it knows and what it did.
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

    /// Another caller, who knows the same.
    pub(crate) fn fork(&self) -> Self {
        Self { known: self.known.clone(), ..Self::new(self.iam, self.clock) }
    }

    pub(crate) fn call(&mut self, command: &Command) {
        let of = self.credential(command);
        let called = self.clock.fetch_add(1, SeqCst);
        let answer = ask(self.iam, command, &of);
        let returned = self.clock.fetch_add(1, SeqCst);
        if let Answer::Issued(seen, secret) = &answer {
            self.known.push(Issued {
                user: seen.user_name.clone(),
                id: seen.id.clone(),
                service: seen.service.clone(),
                name: seen.name.clone(),
                secret: secret.clone(),
            });
        }
        self.events.push(Event { command: command.clone(), of, called, returned, answer });
    }

    fn credential(&self, command: &Command) -> Issued {
        let known = match *command {
            Command::Reset(_, place)
            | Command::SetStatus(_, place, _)
            | Command::Delete(_, place)
            | Command::Authenticate(place) => place.checked_rem(self.known.len()),
            _ => None,
        };
        known.map_or_else(Issued::by_nobody, |place| self.known[place].clone())
    }
}

impl Issued {
    fn by_nobody() -> Self {
        Self {
            user: "nobody".to_owned(),
            id: "ACCA2345672345672345A".to_owned(),
            service: "codecommit.amazonaws.com".to_owned(),
            name: "nobody-at-123456789012".to_owned(),
            secret: String::new(),
        }
    }
}

fn told<T, E: Into<Refused>>(result: Result<T, E>, tell: impl FnOnce(T) -> Answer) -> Answer {
    result.map_or_else(|refused| Answer::Refused(refused.into()), tell)
}

fn seen<T: Into<Seen>>(credentials: Vec<T>) -> Answer {
    Answer::Credentials(credentials.into_iter().map(Into::into).collect())
}

fn issued(issued: IssuedCredential) -> Answer {
    let secret = issued.secret().expose().to_owned();
    Answer::Issued(issued.into_parts().0.into(), secret)
}

fn ask<S: Store>(iam: &CredentialManager<S>, command: &Command, of: &Issued) -> Answer {
    let name = |text: &str| text.parse::<UserName>().unwrap();
    let whose = |user: Option<&str>| name(user.unwrap_or(&of.user));
    let id = of.id.parse().unwrap();
    let max = MaxItems::new(1000).unwrap();
    match *command {
        Command::Register(user) => {
            told(iam.register_user(&name(user)), |user| Answer::User(user.into()))
        }
        Command::Rename(user, new) => {
            told(iam.rename_user(&name(user), &name(new)), |user| Answer::User(user.into()))
        }
        Command::Remove(user) => told(iam.remove_user(&name(user)), |()| Answer::Done),
        Command::RemoveWithCredentials(user) => {
            told(iam.remove_user_with_credentials(&name(user)), seen)
        }
        Command::Create(user, service) => {
            told(iam.create(&name(user), &service.parse().unwrap()), issued)
        }
        Command::Reset(user, _) => told(iam.reset(&whose(user), &id), issued),
        Command::SetStatus(user, _, status) => {
            told(iam.set_status(&whose(user), &id, status), |()| Answer::Done)
        }
        Command::Delete(user, _) => told(iam.delete(&whose(user), &id), |()| Answer::Done),
        Command::List(user) => told(iam.list(&name(user)), seen),
        Command::All => {
            let request = ListRequest::all_users().max_items(max);
            told(iam.list_page(&request), |page| seen(page.items))
        }
        Command::Users => {
            told(iam.list_users_page(&ListUsersRequest::new().max_items(max)), |page| {
                Answer::Users(page.items.into_iter().map(Into::into).collect())
            })
        }
        Command::Authenticate(_) => {
            let service = of.service.parse().unwrap();
            let result = match kind(&of.service).unwrap() {
                CredentialKind::Password => iam.authenticate(&service, &of.name, &of.secret),
                CredentialKind::ApiKey => iam.authenticate_api_key(&service, &of.secret),
            };
            match result {
                Ok(who) => {
                    Answer::Who(who.user_id(), who.user_name().to_string(), who.credential().into())
                }
                Err(AuthenticationError::Denied(refusal)) => Answer::Stranger(refusal.reason()),
                Err(AuthenticationError::Unavailable(error)) => panic!("{error}"),
            }
        }
    }
}

impl Event {
    /// What the command drew, or, if it says nothing of that, what nothing else draws: where the
    /// model draws, its answer is then another one.
    fn drawn(&self) -> Drawn {
        match &self.answer {
            Answer::Issued(seen, secret) => Drawn { id: seen.id.clone(), secret: secret.clone() },
            _ => Drawn { id: String::new(), secret: String::new() },
        }
    }

    /// The user whose credential the command names.
    fn whose(&self) -> Option<&str> {
        match self.command {
            Command::Reset(user, _) | Command::SetStatus(user, _, _) | Command::Delete(user, _) => {
                Some(user.unwrap_or(&self.of.user))
            }
            _ => None,
        }
    }

    /// Asks the model the same.
    fn ask(&self, model: &mut Model) -> Answer {
        let Issued { id, service, name, secret, .. } = &self.of;
        let whose = self.whose().unwrap_or_default();
        let issue = |seen| Answer::Issued(seen, self.drawn().secret);
        match self.command {
            Command::Register(user) => match self.answer {
                Answer::User(SeenUser { id, .. }) => {
                    told(model.register(0, user, "/", Some(id)), Answer::User)
                }
                // The model would register a user, and nobody did: any other answer will do.
                _ if model.user(0, user).is_err() => Answer::Done,
                _ => told(model.register(0, user, "/", None), Answer::User),
            },
            Command::Rename(user, new) => told(model.rename(0, user, new), Answer::User),
            Command::Remove(user) => told(model.remove(0, user, false), |_| Answer::Done),
            Command::RemoveWithCredentials(user) => told(model.remove(0, user, true), seen),
            Command::Create(user, service) => {
                told(model.create(0, user, service, None, Some(self.drawn())), issue)
            }
            Command::Reset(..) => told(model.reset(0, whose, id, Some(self.drawn())), issue),
            Command::SetStatus(_, _, status) => {
                told(model.set_status(0, whose, id, status), |()| Answer::Done)
            }
            Command::Delete(..) => told(model.delete(0, whose, id), |()| Answer::Done),
            Command::List(user) => told(model.listing(&query(Some(user))), seen),
            Command::All => told(model.listing(&query(None)), seen),
            Command::Users => Answer::Users(model.users(0, "/")),
            Command::Authenticate(_) => {
                let result = match kind(service).unwrap() {
                    CredentialKind::Password => model.authenticate(0, service, name, secret),
                    CredentialKind::ApiKey => model.authenticate_api_key(0, service, secret),
                };
                result.map_or_else(Answer::Stranger, |(user, seen)| {
                    Answer::Who(user.id, user.name, seen)
                })
            }
        }
    }

    /// The model after the command, if its answer is the same.
    fn follow(&self, model: &Model) -> Option<Model> {
        let mut next = model.clone();
        (self.ask(&mut next) == self.answer).then_some(next)
    }

    /// The model after a command whose answer took more than one look, and was true of no moment.
    /// `during` is every state there was during the call, up to now.
    fn follow_loosely(&self, during: &[Model]) -> Option<Model> {
        let now = during.last()?;
        match (&self.command, &self.answer) {
            // The name is free. Each lower one was somebody's at some moment of the call.
            (Command::Create(user, service), Answer::Issued(seen, _)) => {
                let has = |model: &Model, name: &str| model.has_name(0, service, name);
                let free = |model: &Model, name: &str| {
                    let given = name == seen.name && !has(model, name);
                    given || during.iter().all(|model| !has(model, name))
                };
                let mut next = now.clone();
                let created = next.create_where(0, user, service, None, Some(self.drawn()), free);
                (created.as_ref() == Ok(seen)).then_some(next)
            }
            // There is no such credential now, and there was the user at some moment of the call.
            (_, Answer::Refused(Refused::NoSuchCredential(id))) => {
                let all = now.listing(&query(None)).unwrap();
                let gone = all.iter().all(|held| held.id != *id);
                let was = |user: &str| during.iter().any(|model| model.user(0, user).is_ok());
                (gone && self.whose().is_some_and(was)).then(|| now.clone())
            }
            _ => None,
        }
    }
}

fn query(user: Option<&'static str>) -> Query {
    Query { user, ..Query::default() }
}

/// How answers are compared with those of the model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Rule {
    /// Each is the model's at one moment of the call.
    Strict,
    /// Some may be put together from several moments.
    Loose,
}

/// Whether some order of the events, in which none comes before one that had returned when it was
/// called, has the model give the same answers.
pub(crate) fn explains(start: &Model, events: &[Event], rule: Rule) -> bool {
    Search { events, rule, order: Vec::new(), states: vec![start.clone()] }.finishes()
}

struct Search<'a> {
    events: &'a [Event],
    rule: Rule,
    order: Vec<usize>,
    /// Before all events, and after each of the order.
    states: Vec<Model>,
}

impl Search<'_> {
    fn finishes(&mut self) -> bool {
        let left: Vec<_> =
            (0..self.events.len()).filter(|place| !self.order.contains(place)).collect();
        let Some(horizon) = left.iter().map(|&place| self.events[place].returned).min() else {
            return true;
        };
        left.into_iter().filter(|&place| self.events[place].called < horizon).any(|place| {
            let Some(next) = self.next(&self.events[place]) else { return false };
            self.order.push(place);
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
        let returned = |&place: &usize| self.events[place].returned < event.called;
        let before = self.order.iter().rposition(returned).map_or(0, |last| last + 1);
        event.follow_loosely(&self.states[before..])
    }
}
