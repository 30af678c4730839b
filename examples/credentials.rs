//! Service-specific credentials at a terminal, in a store that no other process holds.
//!
//! ```console
//! $ cargo run --example credentials -- --store redb:credentials.redb user add anika
//! $ cargo run --example credentials -- --store redb:credentials.redb create anika
//! $ cargo run --example credentials -- --store redb:credentials.redb list
//! ```
//!
//! `--help` says the rest.

use std::{
    fmt,
    fs::File,
    io::{self, BufRead as _, IsTerminal as _, Read as _, Write as _},
    os::fd::AsFd,
    process::ExitCode,
};

use clap::{Args, Parser, Subcommand};
use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr,
};
use serde_json::{Value, json};
use service_specific_credentials::{
    AccountId, Alphabet, AsyncCredentialManager, AuthenticationError, Clock as _, CreateOptions,
    Credential, CredentialId, CredentialKind, Error, InvalidPolicy, IssuedCredential, Lifetime,
    ListRequest, ListUsersRequest, Policy, Resolution, ServiceName, Status, SystemClock, User,
    UserName,
    store::{DynAsyncStore, RedbStore},
};
use time::OffsetDateTime;
use zeroize::Zeroizing;

#[path = "support/copy.rs"]
mod copy;
#[path = "support/explain.rs"]
mod explain;
#[path = "support/password.rs"]
mod password;
#[path = "support/store.rs"]
mod store;
#[path = "support/words.rs"]
mod words;

use copy::Copied;
use explain::explain;
use store::{NotOpened, StoreUrl};
use words::relative;

/// Issues, lists, disables, resets, deletes and verifies service-specific credentials
#[derive(Debug, Parser)]
#[command(after_help = "\
Exit codes:
  0  it is done, or the password is right
  1  it was rejected: not found, a limit reached, a wrong password, not confirmed
  2  the command line is wrong
  3  the store cannot be opened, or failed; or it is done, and its password could not be printed

A password is printed once, alone on standard output, when it is made; everything that is said about
it goes to standard error. With --json it is the field `password` of one object.")]
struct Options {
    /// Where the credentials are: `redb:PATH`, of which only `user add` makes a file that is not
    /// there, or `postgres:URL`; `postgres` alone takes the URL from `DATABASE_URL`. Built with the
    /// feature `dynamodb`: also `dynamodb:TABLE`
    #[arg(long, value_name = "STORE", global = true)]
    store: Option<StoreUrl>,
    /// The account
    #[arg(long, value_name = "ID", default_value = "123456789012", global = true)]
    account: AccountId,
    /// Print JSON
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Users: add, rename, remove, list
    #[command(subcommand)]
    User(UserCommand),
    /// Make a credential, and print its password
    Create {
        user: UserName,
        #[command(flatten)]
        at: Service,
        /// It expires after so many days
        #[arg(long, value_name = "DAYS", value_parser = days)]
        days: Option<Lifetime>,
        #[command(flatten)]
        password: Password,
    },
    /// Show the credentials of one user, or of all
    List {
        user: Option<UserName>,
        /// Only those for this service
        #[arg(long, value_name = "NAME")]
        service: Option<ServiceName>,
    },
    /// Show the credentials of all users whose secrets are older than so many days
    Audit {
        #[arg(long, value_name = "DAYS", value_parser = days)]
        older_than: Lifetime,
        /// Only those for this service
        #[arg(long, value_name = "NAME")]
        service: Option<ServiceName>,
    },
    /// Make a credential inactive
    Disable(One),
    /// Make a credential active again
    Enable(One),
    /// Give a credential a new password, and print it
    Reset {
        #[command(flatten)]
        one: One,
        #[command(flatten)]
        password: Password,
        #[command(flatten)]
        sure: Sure,
    },
    /// Delete a credential
    Delete {
        #[command(flatten)]
        one: One,
        #[command(flatten)]
        sure: Sure,
    },
    /// Copy the users of one store to another, with all credentials, before moving there. Stop what
    /// writes to either store first. Repeat a copy that was interrupted; it goes on
    Copy {
        /// The store to copy from
        #[arg(long, value_name = "STORE")]
        from: StoreUrl,
        /// The store to copy to. A file that does not exist is created
        #[arg(long, value_name = "STORE")]
        to: StoreUrl,
        /// Copy this account only. Default: all, for which DynamoDB reads the table one more time.
        /// May be repeated
        #[arg(long, value_name = "ID")]
        only: Vec<AccountId>,
    },
    /// Read a password from standard input, and say whether it authenticates at the service
    Verify {
        /// The service user name, such as anika+1-at-123456789012, or the alias of an API key
        name: String,
        #[command(flatten)]
        at: Service,
    },
}

#[derive(Debug, Subcommand)]
enum UserCommand {
    /// Register a user
    Add { user: UserName },
    /// Give a user another name; the credentials stay as they are
    Rename { user: UserName, name: UserName },
    /// Remove a user
    Remove {
        user: UserName,
        /// Delete the user's credentials too
        #[arg(long)]
        with_credentials: bool,
        #[command(flatten)]
        sure: Sure,
    },
    /// Show all users
    List,
}

#[derive(Debug, Args)]
struct One {
    user: UserName,
    /// The id of the credential, as `list` shows it
    id: CredentialId,
}

#[derive(Debug, Args)]
struct Service {
    /// The service; one that is not known takes passwords
    #[arg(long, value_name = "NAME", default_value = "codecommit.amazonaws.com")]
    service: ServiceName,
}

#[derive(Debug, Args)]
struct Password {
    /// Make a password that can stand in a URL as it is
    #[arg(long)]
    url_safe: bool,
}

#[derive(Debug, Args)]
struct Sure {
    /// Do not ask first. Nothing is asked where standard input is not a terminal
    #[arg(long)]
    yes: bool,
}

fn days(text: &str) -> Result<Lifetime, String> {
    let days = text.parse().map_err(|_| "not a number of days".to_owned())?;
    Lifetime::days(days).map_err(|error| error.to_string())
}

/// Why a command did not do what it was asked to.
#[derive(Debug)]
enum Failure {
    Rejected(String),
    Usage(String),
    Store(String),
}

impl Failure {
    const fn code(&self) -> u8 {
        match self {
            Self::Rejected(_) => 1,
            Self::Usage(_) => 2,
            Self::Store(_) => 3,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Rejected(message) | Self::Usage(message) | Self::Store(message)) = self;
        f.write_str(message)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match &error {
            Error::Store(_) | Error::OutcomeUnknown { .. } | Error::Entropy(_) => {
                Self::Store(explain(&error))
            }
            Error::UserHasCredentials { .. } => Self::Rejected(
                "the user has credentials: delete them first, or use --with-credentials".to_owned(),
            ),
            _ => Self::Rejected(explain(&error)),
        }
    }
}

impl From<InvalidPolicy> for Failure {
    fn from(error: InvalidPolicy) -> Self {
        Self::Usage(error.to_string())
    }
}

/// The reader of the output is gone, as when it is piped into `head`.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Rejected(error.to_string())
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run(Options::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let _ = writeln!(io::stderr(), "credentials: {failure}");
            ExitCode::from(failure.code())
        }
    }
}

async fn run(options: Options) -> Result<(), Failure> {
    if let Command::Copy { from, to, only } = options.command {
        return copy_users(&from, &to, only, options.json).await;
    }
    let makes = matches!(options.command, Command::User(UserCommand::Add { .. }));
    let store = open(options.store, makes).await?;
    let tool = Tool { store, account: options.account, json: options.json };
    match options.command {
        Command::User(command) => tool.user(command).await,
        Command::Create { user, at, days, password } => {
            let iam = tool.manager(Some(&at.service), &password)?;
            let created = match days {
                Some(age) => {
                    iam.create_with_options(&user, &at.service, &CreateOptions::new().lifetime(age))
                        .await
                }
                None => iam.create(&user, &at.service).await,
            };
            tool.show_secret("created", &resolved(&iam, created).await?)
        }
        Command::List { user, service } => {
            let request = user.map_or_else(ListRequest::all_users, ListRequest::of);
            tool.list(request, service).await
        }
        Command::Audit { older_than, service } => {
            let request = ListRequest::all_users().secret_older_than(older_than);
            tool.list(request, service).await
        }
        Command::Disable(one) => tool.set_status(&one, Status::Inactive).await,
        Command::Enable(one) => tool.set_status(&one, Status::Active).await,
        Command::Reset { one, password, sure } => tool.reset(&one, &password, &sure).await,
        Command::Delete { one, sure } => tool.delete(&one, &sure).await,
        Command::Verify { name, at } => tool.verify(&name, &at.service).await,
        Command::Copy { .. } => Ok(()), // done above, without `--store`
    }
}

async fn copy_users(
    from: &StoreUrl,
    to: &StoreUrl,
    only: Vec<AccountId>,
    json: bool,
) -> Result<(), Failure> {
    if from == to || [from, to].contains(&&StoreUrl::Memory) {
        return Err(Failure::Usage("--from and --to are two stores that last".to_owned()));
    }
    let opened = from.open_listed(RedbStore::open, only.is_empty()).await;
    let (source, all) = opened.map_err(|error| not_opened(from, &error))?;
    let accounts = if only.is_empty() { all } else { only };
    let target = to.open(RedbStore::create).await.map_err(|error| not_opened(to, &error))?;
    let Copied { copied, present } =
        copy::copy(&source, &target, &accounts).await.map_err(Failure::Store)?;
    say(
        json,
        || json!({ "copied": copied, "present": present, "accounts": accounts.len() }),
        || {
            let again = if present == 0 { String::new() } else { format!(", {present} before") };
            format!("copied users: {copied}{again}; accounts: {}", accounts.len())
        },
    )
}

/// Opens the store. A mistyped path is told from an empty store, unless a file is wanted.
async fn open(choice: Option<StoreUrl>, makes: bool) -> Result<DynAsyncStore, Failure> {
    let choice = match choice {
        // A global option cannot be a required one.
        None => {
            return Err(Failure::Usage("--store is missing: redb:PATH or postgres:URL".to_owned()));
        }
        Some(StoreUrl::Memory) => {
            return Err(Failure::Usage("`memory` would be gone when this ends".to_owned()));
        }
        Some(choice) => choice,
    };
    let open_file = if makes { RedbStore::create } else { RedbStore::open };
    choice.open(open_file).await.map_err(|error| not_opened(&choice, &error))
}

fn not_opened(choice: &StoreUrl, error: &NotOpened) -> Failure {
    match error {
        NotOpened::Held => Failure::Store(format!(
            "{choice} is held by another process: stop it, or, if it is a server with an admin \
             address, make the change there"
        )),
        NotOpened::Unknown(why) => Failure::Usage(format!("{choice}: {why}")),
        NotOpened::Missing => {
            Failure::Store(format!("{choice} does not exist: `user add` makes it"))
        }
        NotOpened::Other(_) => Failure::Store(format!("{choice}: {}", explain(error))),
    }
}

struct Tool {
    store: DynAsyncStore,
    account: AccountId,
    json: bool,
}

impl Tool {
    /// A manager whose policy knows `service`, and makes passwords as they are wanted.
    fn manager(
        &self,
        service: Option<&ServiceName>,
        password: &Password,
    ) -> Result<AsyncCredentialManager<DynAsyncStore>, Failure> {
        let mut policy = Policy::builder();
        if let Some(service) = service
            && Policy::default().kind(service).is_none()
        {
            policy = policy.password_service(service.clone());
        }
        if password.url_safe {
            policy = policy.alphabet(Alphabet::UrlSafe);
        }
        let builder = AsyncCredentialManager::builder(self.account, self.store.clone());
        Ok(builder.policy(policy.build()?).build_async())
    }

    /// A manager for what needs neither a service nor a password.
    fn plain(&self) -> AsyncCredentialManager<DynAsyncStore> {
        AsyncCredentialManager::new(self.account, self.store.clone())
    }

    async fn user(&self, command: UserCommand) -> Result<(), Failure> {
        let iam = self.plain();
        match command {
            UserCommand::Add { user } => {
                let user = iam.register_user(&user).await?;
                self.say(|| user_json(&user), || format!("registered {}", user.name()))
            }
            UserCommand::Rename { user, name } => {
                let renamed = iam.rename_user(&user, &name).await?;
                self.say(|| user_json(&renamed), || format!("{user} is now {}", renamed.name()))
            }
            UserCommand::Remove { user, with_credentials, sure } => {
                let deleted = if with_credentials {
                    confirm(
                        &sure,
                        &format!("Remove {user}, and delete all credentials of theirs?"),
                    )?;
                    iam.remove_user_with_credentials(&user).await?
                } else {
                    iam.remove_user(&user).await?;
                    Vec::new()
                };
                let ids: Vec<_> = deleted.iter().map(|one| one.id().as_str()).collect();
                self.say(
                    || json!({ "removed": user.as_str(), "deleted": ids }),
                    || match ids.len() {
                        0 => format!("removed {user}"),
                        number => format!("removed {user}, and deleted credentials: {number}"),
                    },
                )
            }
            UserCommand::List => {
                let (mut users, mut pager) = (Vec::new(), iam.users(ListUsersRequest::new()));
                while let Some(page) = pager.next_page().await? {
                    users.extend(page);
                }
                let now = SystemClock.now();
                let row = |user: &User| {
                    [user.name().to_string(), relative(user.created(), now), user.id().to_string()]
                };
                self.say(
                    || users.iter().map(user_json).collect(),
                    || table(["USER", "REGISTERED", "ID"], users.iter().map(row)),
                )
            }
        }
    }

    async fn list(
        &self,
        mut request: ListRequest,
        service: Option<ServiceName>,
    ) -> Result<(), Failure> {
        let iam = self.manager(service.as_ref(), &Password { url_safe: false })?;
        if let Some(service) = service {
            request = request.service(service);
        }
        let (mut credentials, mut pager) = (Vec::new(), iam.credentials(request));
        while let Some(page) = pager.next_page().await? {
            credentials.extend(page);
        }
        let now = SystemClock.now();
        let heads = ["USER", "NAME", "SERVICE", "STATUS", "CREATED", "EXPIRES", "ID"];
        self.say(
            || json!(credentials),
            || table(heads, credentials.iter().map(|one| row(one, now))),
        )
    }

    async fn set_status(&self, One { user, id }: &One, status: Status) -> Result<(), Failure> {
        self.plain().set_status(user, id, status).await?;
        self.say(
            || json!({ "id": id.as_str(), "status": status.as_str() }),
            || format!("{id} is {status} now"),
        )
    }

    async fn reset(&self, one: &One, password: &Password, sure: &Sure) -> Result<(), Failure> {
        let One { user, id } = one;
        // Whatever the service is that it was made for: a reset needs a policy that knows it.
        let credentials = self.plain().list(user).await?;
        let found = credentials.iter().find(|credential| credential.id() == id);
        let iam = self.manager(found.map(Credential::service), password)?;
        if let Some(found) = found {
            let name = found.service_user_name();
            confirm(sure, &format!("Reset {name}? Its present password stops working at once."))?;
        }
        let issued = iam.reset(user, id).await;
        self.show_secret("reset", &resolved(&iam, issued).await?)
    }

    async fn delete(&self, One { user, id }: &One, sure: &Sure) -> Result<(), Failure> {
        confirm(sure, &format!("Delete {id} of {user}? It cannot be had back."))?;
        self.plain().delete(user, id).await?;
        self.say(|| json!({ "deleted": id.as_str() }), || format!("deleted {id}"))
    }

    async fn verify(&self, name: &str, service: &ServiceName) -> Result<(), Failure> {
        let iam = self.manager(Some(service), &Password { url_safe: false })?;
        let line = read_password()?;
        // Bytes that are not UTF-8 are not a password.
        let password = str::from_utf8(&line).unwrap_or_default();
        let who = match iam.policy().kind(service) {
            Some(CredentialKind::ApiKey) => iam.authenticate_api_key(service, password).await,
            _ => iam.authenticate(service, name, password).await,
        };
        match who {
            // Names compare without case.
            Ok(who) if who.credential().service_user_name().as_str().eq_ignore_ascii_case(name) => {
                let (user, id) = (who.user_name(), who.credential_id());
                self.say(
                    || json!({ "user": user.as_str(), "id": id.as_str() }),
                    || format!("accepted: {name} is {user}"),
                )
            }
            Ok(_) => Err(Failure::Rejected(format!("denied: the key is not that of {name}"))),
            // The person at the terminal can read the store, so the reason reveals nothing.
            Err(AuthenticationError::Denied(denial)) => {
                Err(Failure::Rejected(format!("denied: {denial} ({})", denial.reason())))
            }
            Err(AuthenticationError::Unavailable(error)) => Err(Failure::Store(explain(&error))),
        }
    }

    /// Prints a new password, which is available this once.
    fn show_secret(&self, what: &str, issued: &IssuedCredential) -> Result<(), Failure> {
        let id = issued.id();
        self.print(what, issued).map_err(|error| {
            let lost = "its password could not be printed, and is lost: reset it";
            Failure::Store(format!("{what} {id}, but {lost}: {error}"))
        })
    }

    fn print(&self, what: &str, issued: &IssuedCredential) -> io::Result<()> {
        let (credential, secret) = (issued.credential(), issued.secret().expose());
        let mut text = password::buffer(credential, secret)?;
        password::write(&mut text, credential, secret, self.json)?;
        if !self.json {
            // A closed standard error does not withhold the password.
            let mut aside = io::stderr();
            let (name, id) = (credential.service_user_name(), credential.id());
            let _ = writeln!(aside, "{what} {name} ({id}), for {}", credential.service());
            let _ = writeln!(aside, "This is the only time that its password is shown:");
        }
        unbuffered(&io::stdout())?.write_all(&text)
    }

    fn say(
        &self,
        json: impl FnOnce() -> Value,
        text: impl FnOnce() -> String,
    ) -> Result<(), Failure> {
        say(self.json, json, text)
    }
}

fn say(
    is_json: bool,
    json: impl FnOnce() -> Value,
    text: impl FnOnce() -> String,
) -> Result<(), Failure> {
    let mut out = io::stdout();
    if is_json {
        writeln!(out, "{:#}", json())?;
    } else {
        writeln!(out, "{}", text())?;
    }
    out.flush()?;
    Ok(())
}

/// Resolves an unknown outcome of a create or a reset at once, while its error is at hand.
async fn resolved(
    iam: &AsyncCredentialManager<DynAsyncStore>,
    result: Result<IssuedCredential, Error>,
) -> Result<IssuedCredential, Failure> {
    let Err(Error::OutcomeUnknown { credential: Some(unknown), source, .. }) = result else {
        return Ok(result?);
    };
    let id = unknown.id();
    let outcome = match iam.resolve(&unknown).await {
        Ok(Resolution::Absent) => "nothing was created".to_owned(),
        Ok(Resolution::Exists(_)) => format!("{id} was not reset, and its password is valid"),
        Ok(Resolution::Deleted(_)) => format!("the password of {id} was lost: it was deleted"),
        Err(error) => format!(
            "it is unknown whether {id} has a password that was lost ({}): delete it if `list` \
             shows it",
            explain(&error)
        ),
    };
    Err(Failure::Store(format!("{}; {outcome}", explain(&source))))
}

fn user_json(user: &User) -> Value {
    // The same form as the dates of credentials have.
    let created = user.created().format(&time::format_description::well_known::Rfc3339).ok();
    json!({ "user_name": user.name().as_str(), "id": user.id().to_string(), "created": created })
}

fn row(credential: &Credential, now: OffsetDateTime) -> [String; 7] {
    let expires = match credential.expires() {
        None => "never".to_owned(),
        Some(date) => relative(date, now),
    };
    [
        credential.user_name().to_string(),
        credential.service_user_name().to_string(),
        credential.service().to_string(),
        credential.status().to_string(),
        relative(credential.created(), now),
        expires,
        credential.id().to_string(),
    ]
}

/// Columns as wide as what is in them. Everything in them is ASCII.
fn table<const N: usize>(heads: [&str; N], rows: impl Iterator<Item = [String; N]>) -> String {
    let rows: Vec<_> = std::iter::once(heads.map(str::to_owned)).chain(rows).collect();
    let mut widths = [0; N];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.len().max(*width);
        }
    }
    let line = |row: &[String; N]| {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// Asks the person at the terminal, if there is one.
fn confirm(sure: &Sure, question: &str) -> Result<(), Failure> {
    if sure.yes || !io::stdin().is_terminal() {
        return Ok(());
    }
    eprint!("{question} [y/N] ");
    let mut response = String::new();
    io::stdin().lock().read_line(&mut response)?;
    match response.trim() {
        "y" | "Y" | "yes" => Ok(()),
        _ => Err(Failure::Rejected("nothing was changed".to_owned())),
    }
}

/// Reads one line from standard input: never from an argument, which every process can see.
///
/// Reads into a buffer of its full size, which is zeroized, and not through [`io::Stdin`], whose
/// buffer keeps what it has read. A password has at most 512 bytes: the rest of a line longer than
/// the buffer is not read.
fn read_password() -> Result<Zeroizing<Vec<u8>>, Failure> {
    let stdin = io::stdin();
    let quiet = stdin.is_terminal().then(Quiet::begin).flatten();
    if quiet.is_some() {
        eprint!("Password: ");
    }
    let mut input = unbuffered(&stdin)?;
    let mut line = Zeroizing::new(vec![0; 1024]);
    let mut length = 0;
    let end = loop {
        match input.read(line.get_mut(length..).unwrap_or_default()) {
            Ok(0) => break length,
            Ok(read) => {
                let ends =
                    |&byte: &u8| byte == b'\n' || quiet.is_some() && byte == Quiet::INTERRUPT;
                if let Some(end) = line.iter().skip(length).take(read).position(ends) {
                    break length + end;
                }
                length += read;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    };
    if quiet.is_some() {
        if line.get(end) == Some(&Quiet::INTERRUPT) {
            return Err(Failure::Rejected("interrupted".to_owned()));
        }
        eprintln!();
    }
    line.truncate(end);
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    Ok(line)
}

/// A standard stream without its buffer, which would keep a copy of a password.
fn unbuffered(stream: &impl AsFd) -> io::Result<File> {
    stream.as_fd().try_clone_to_owned().map(File::from)
}

/// While this lives, the terminal does not show what is typed. Ctrl-C does not end the program,
/// which would leave the terminal so, but the line.
struct Quiet(Termios);

impl Quiet {
    const INTERRUPT: u8 = 3;

    fn begin() -> Option<Self> {
        let before = tcgetattr(io::stdin()).ok()?;
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ECHO | LocalModes::ISIG);
        quiet.special_codes[SpecialCodeIndex::VEOL] = Self::INTERRUPT;
        tcsetattr(io::stdin(), OptionalActions::Flush, &quiet).ok()?;
        Some(Self(before))
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin(), OptionalActions::Flush, &self.0);
    }
}
