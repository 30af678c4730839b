//! A credential that survives the end of the program.
//!
//! Run it twice with `cargo run --example durable`. The file is in the current folder, or at the
//! path given after `--`.

use std::{
    error::Error,
    fs::{self, OpenOptions},
    io::Write as _,
    path::{Path, PathBuf},
};

use service_specific_credentials::{
    AccountId, AuthenticationError, CredentialManager, ServiceName, UserName, store::RedbStore,
};

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args_os().nth(1).map_or_else(|| "credentials.redb".into(), PathBuf::from);
    let notes = path.with_extension("password");
    let account: AccountId = "123456789012".parse()?;
    let anika: UserName = "anika".parse()?;
    let codecommit: ServiceName = "codecommit.amazonaws.com".parse()?;

    let known = path.exists();
    let iam = CredentialManager::new(account, RedbStore::create(&path)?);
    if known {
        println!("found        {}", path.display());
    } else {
        println!("created      {}", path.display());
    }

    let user = iam.ensure_user(&anika)?;
    let credentials = iam.list(&anika)?;
    println!("credentials  {} of {}", credentials.len(), user.name());
    for credential in &credentials {
        println!(
            "  {}  {}  {}",
            credential.id(),
            credential.service_user_name(),
            credential.status()
        );
    }

    if credentials.is_empty() {
        let issued = iam.create(&anika, &codecommit)?;
        note(&notes, issued.service_user_name().as_str(), issued.secret().expose())?;
        println!("created      {}, durably", issued.service_user_name());
        println!("password     is in {}, for the next run only:", notes.display());
        println!("             a real program returns it to its owner and does not keep it");
        println!("Run this again: everything is still there.");
        return Ok(());
    }

    let Ok(kept) = fs::read_to_string(&notes) else {
        println!("password     is not in {}: only its owner has it", notes.display());
        return Ok(());
    };
    let mut lines = kept.lines().filter(|line| !line.starts_with('#'));
    let (name, password) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    match iam.authenticate(&codecommit, name, password) {
        Ok(identity) => {
            println!(
                "accepted     the password of an earlier run: {name} is {}",
                identity.user_name()
            );
        }
        Err(AuthenticationError::Denied(_)) => {
            println!("denied       the password of an earlier run");
        }
        Err(AuthenticationError::Unavailable(error)) => println!("try again    {error}"),
    }
    println!("To start over, delete {} and {}.", path.display(), notes.display());
    Ok(())
}

/// Writes a password to a new file that only the owner can read. A real program must not do this.
fn note(notes: &Path, name: &str, password: &str) -> Result<(), Box<dyn Error>> {
    let _ = fs::remove_file(notes);
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(notes)?;
    writeln!(file, "# Written by an example, so that its next run can sign in. A real program")?;
    writeln!(
        file,
        "# returns the password to its owner and does not keep it. Delete this file at any time."
    )?;
    writeln!(file, "{name}\n{password}")?;
    Ok(())
}
