use std::sync::Arc;

use super::{Decision, Operation, Target};
use crate::{
    entropy::{Entropy, EntropyError, RepeatedEntropy},
    error::Error,
    manager::user_options::RegisterOptions,
    names::{account_id::AccountId, user_name::UserName},
    record::UserRecord,
    store::change::Change,
    timestamp::Timestamp,
    user::{User, UserId},
};

/// Registers a user.
pub(crate) struct Register<'a> {
    user: &'a UserName,
    account: AccountId,
    entropy: &'a dyn Entropy,
    now: Timestamp,
    if_exists: IfExists,
    options: &'a RegisterOptions,
    /// The ids of all attempts.
    drawn: Vec<UserId>,
}

/// What to do if a user of that name exists.
#[derive(Clone, Copy)]
pub(crate) enum IfExists {
    Fail,
    Return,
}

impl<'a> Register<'a> {
    pub(crate) const fn new(
        user: &'a UserName,
        account: AccountId,
        entropy: &'a dyn Entropy,
        now: Timestamp,
        if_exists: IfExists,
        options: &'a RegisterOptions,
    ) -> Self {
        Self { user, account, entropy, now, if_exists, options, drawn: Vec::new() }
    }
}

impl Operation for Register<'_> {
    type Output = User;

    fn target(&self) -> Target<'_> {
        Target::User(self.user)
    }

    fn decide(&mut self, found: Option<Arc<UserRecord>>) -> Result<Decision<User>, Error> {
        match (found, self.if_exists) {
            (Some(record), IfExists::Return) => Ok(Decision::Done(record.user())),
            (Some(_), IfExists::Fail) => Err(Error::UserExists { user: self.user.clone() }),
            (None, _) => {
                // After a key conflict either the name was taken and is free again, or the id is
                // taken. No lookup tells which, but a repeated id does.
                let id = UserId::generate(self.entropy)?;
                if self.drawn.contains(&id) {
                    return Err(EntropyError::from(RepeatedEntropy).into());
                }
                self.drawn.push(id);
                let RegisterOptions { path, tags } = self.options.clone();
                let name = self.user.clone();
                let record = UserRecord::register(self.account, id, name, self.now, path, tags);
                let user = record.user();
                Ok(Decision::Commit(Change::Register { record: Arc::new(record) }, user))
            }
        }
    }
}
