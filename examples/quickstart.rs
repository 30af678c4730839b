//! The life of a service-specific credential, step by step.
//!
//! Run it with `cargo run --example quickstart`. Everything is kept in memory and gone afterwards,
//! which is why the passwords are printed here.

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
        "Create two credentials for CodeCommit (names compare without case: asked for as `Anika`)",
    );
    let anika: UserName = "Anika".parse()?;
    let first = iam.create(&anika, &codecommit)?;
    show(&first);
    let second = iam.create(&anika, &codecommit)?;
    show(&second);

    step("A third is refused");
    if let Err(refusal) = iam.create(&anika, &codecommit) {
        println!("{} {}: {refusal}", refusal.code().http_status(), refusal.code());
    }

    step("List them: everything but the passwords, of which only digests are kept");
    list(&iam, &anika)?;

    let sign_in = |password: &str| match iam.authenticate(
        &codecommit,
        first.service_user_name().as_str(),
        password,
    ) {
        Ok(who) => {
            println!("accepted         {} is {}", first.service_user_name(), who.user_name())
        }
        Err(AuthenticationError::Denied(refusal)) => {
            println!("refused          {refusal} (for the log: {})", refusal.reason());
        }
        Err(AuthenticationError::Unavailable(error)) => println!("try again later  {error}"),
    };

    step("Sign in with the first");
    sign_in(first.secret().expose());

    step("Make it inactive, try again, and make it active");
    iam.set_status(&anika, first.id(), Status::Inactive)?;
    sign_in(first.secret().expose());
    iam.set_status(&anika, first.id(), Status::Active)?;

    step("Reset its password: the old one never works again, the new one does");
    let renewed = iam.reset(&anika, first.id())?;
    show(&renewed);
    sign_in(first.secret().expose());
    sign_in(renewed.secret().expose());

    step("Delete both");
    iam.delete(&anika, first.id())?;
    iam.delete(&anika, second.id())?;
    sign_in(renewed.secret().expose());
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
