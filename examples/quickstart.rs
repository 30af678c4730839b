//! The life cycle of a service-specific credential, step by step.
//!
//! Run it with `cargo run --example quickstart`. Everything is in memory and ends with the
//! program, which is why the passwords are printed here.

use std::error::Error;

use service_specific_credentials::{
    AccountId, AuthenticationError, CredentialManager, IssuedCredential, MemoryStore, ServiceName,
    Status, UserName,
};

fn main() -> Result<(), Box<dyn Error>> {
    let account: AccountId = "123456789012".parse()?;
    let codecommit: ServiceName = "codecommit.amazonaws.com".parse()?;
    let iam = CredentialManager::new(account, MemoryStore::new());

    step("Register a user in account 123456789012");
    let user = iam.register_user(&"anika".parse()?)?;
    println!("registered       {}", user.name());

    step(
        "Create two credentials for CodeCommit (names compare without case: requested as `Anika`)",
    );
    let anika: UserName = "Anika".parse()?;
    let first = iam.create(&anika, &codecommit)?;
    show(&first);
    let second = iam.create(&anika, &codecommit)?;
    show(&second);

    step("A third exceeds the limit");
    if let Err(error) = iam.create(&anika, &codecommit) {
        println!("{} {}: {error}", error.code().http_status(), error.code());
    }

    step("List them: the store keeps digests only, so no password is shown");
    list(&iam, &anika)?;

    let authenticate = |password: &str| match iam.authenticate(
        &codecommit,
        first.service_user_name().as_str(),
        password,
    ) {
        Ok(identity) => {
            println!("accepted         {} is {}", first.service_user_name(), identity.user_name());
        }
        Err(AuthenticationError::Denied(denial)) => {
            println!("denied           {denial} (for the log: {})", denial.reason());
        }
        Err(AuthenticationError::Unavailable(error)) => println!("try again later  {error}"),
    };

    step("Authenticate with the first");
    authenticate(first.secret().expose());

    step("Disable it, try again, and enable it");
    iam.set_status(&anika, first.id(), Status::Inactive)?;
    authenticate(first.secret().expose());
    iam.set_status(&anika, first.id(), Status::Active)?;

    step("Reset its password: the new one authenticates, the old one never again");
    let renewed = iam.reset(&anika, first.id())?;
    show(&renewed);
    authenticate(first.secret().expose());
    authenticate(renewed.secret().expose());

    step("Delete both");
    iam.delete(&anika, first.id())?;
    iam.delete(&anika, second.id())?;
    authenticate(renewed.secret().expose());
    list(&iam, &anika)
}

fn step(what: &str) {
    println!("\n# {what}");
}

fn show(issued: &IssuedCredential) {
    println!("user name        {}", issued.service_user_name());
    println!("password         {}", issued.secret().expose());
    println!("id               {}", issued.id());
}

fn list(iam: &CredentialManager<MemoryStore>, user: &UserName) -> Result<(), Box<dyn Error>> {
    let credentials = iam.list(user)?;
    println!("{} credentials", credentials.len());
    for credential in credentials {
        println!(
            "{}  {}  {:8}  of {} at {}",
            credential.id(),
            credential.service_user_name(),
            credential.status(),
            credential.user_name(),
            credential.service(),
        );
    }
    Ok(())
}
