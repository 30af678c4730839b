//! What a policy of IAM decides by: the action, the resource and the condition keys of a request.

use super::{Request, action::Action};
use crate::names::{account_id::AccountId, user_name::UserName};

/// The five actions on credentials. The other actions that [`Request`] knows are on users.
pub const CREDENTIAL_ACTIONS: [&str; 5] = [
    Action::Create.name(),
    Action::List.name(),
    Action::Update.name(),
    Action::Reset.name(),
    Action::Delete.name(),
];

/// The condition key of the service of a credential, in lower case: a string.
///
/// IAM has it for creating, updating, resetting and deleting a credential (*reported*).
pub const SERVICE_NAME_KEY: &str = "iam:ServiceSpecificCredentialServiceName";

/// The condition key of the lifetime of a new credential in days: a number, absent if it never
/// expires.
pub const AGE_DAYS_KEY: &str = "iam:ServiceSpecificCredentialAgeDays";

/// Authorization.
impl Request {
    /// The action in the policies of IAM: `iam:CreateServiceSpecificCredential`.
    #[must_use]
    pub const fn iam_action(&self) -> &'static str {
        self.action.iam()
    }

    /// The ARN of the resource in the policies of IAM: the user, or `user/*` for
    /// [all users](Self::is_about_all_users).
    ///
    /// `caller` is the IAM user that a request without a user name stands for, if the caller is
    /// one. `None` means that neither is there; such a request fails with
    /// [`UserNameMissing`](crate::Error::UserNameMissing).
    ///
    /// The ARN has the name as the request spells it, and the path `/`. A request contains neither
    /// the registered spelling nor the path of its user, while names compare without case and
    /// policies compare ARNs with it. Where a policy denies by name, or users have paths, find the
    /// user by [`user_name`](Self::user_name) or `caller`, and compare the ARN of what was found.
    ///
    /// A change of a user's name also has a [new name](Self::new_user_name), which a policy may
    /// have to permit.
    #[must_use]
    pub fn resource_arn(&self, account: AccountId, caller: Option<&UserName>) -> Option<String> {
        let user =
            if self.is_about_all_users() { "*" } else { self.user_name().or(caller)?.as_str() };
        Some(format!("arn:aws:iam::{account}:user/{user}"))
    }

    /// The condition keys of the service, each with its value: what IAM compares with the
    /// conditions of a policy.
    ///
    /// A request to create a credential has [`SERVICE_NAME_KEY`], and [`AGE_DAYS_KEY`] if it names
    /// a lifetime. Other requests have none. To update, reset or delete a credential, IAM has
    /// [`SERVICE_NAME_KEY`] too (*reported*), but the request names only the credential: find its
    /// service by [`credential_id`](Self::credential_id), and add the key.
    pub fn condition_keys(&self) -> impl Iterator<Item = (&'static str, String)> {
        let service = self.service_name().filter(|_| self.action == Action::Create);
        let service = service.map(|service| (SERVICE_NAME_KEY, service.to_string()));
        let days = self.lifetime().map(|lifetime| (AGE_DAYS_KEY, lifetime.as_days().to_string()));
        service.into_iter().chain(days)
    }
}
