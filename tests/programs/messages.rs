//! The messages of the compiler where a store of the other kind, or a boxed one, is passed.

use std::{fs, path::PathBuf, process::Command};

use crate::common::{Folder, library};

/// What `rustc` prints for a program with this statement.
fn compile(test: &str, statement: &str) -> String {
    let folder = Folder::new(&format!("messages-{test}"));
    let source = folder.file("program.rs");
    let program = format!(
        "use service_specific_credentials::{{*, store::*}};\n\
         pub fn program(account: AccountId, postgres: PostgresStore, redb: RedbStore) {{\n\
         let _ = {statement};\n}}\n"
    );
    fs::write(&source, program).unwrap();
    let library = library();
    let compiler = PathBuf::from(env!("CARGO")).with_file_name("rustc");
    let output = Command::new(compiler)
        .args(["--edition=2024", "--crate-type=lib", "--emit=metadata", "--cap-lints=allow"])
        .arg("--extern")
        .arg(format!("service_specific_credentials={}", library.display()))
        .arg("-L")
        .arg(format!("dependency={}", library.parent().unwrap().display()))
        .args(["--out-dir".as_ref(), folder.0.as_os_str(), source.as_os_str()])
        .output()
        .unwrap();
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn a_store_of_the_right_kind_is_accepted() {
    for (test, statement) in [
        ("sync", "CredentialManager::new(account, redb)"),
        ("async", "AsyncCredentialManager::new(account, postgres)"),
        ("boxed", "CredentialManager::new(account, Box::new(redb) as Box<dyn Store>)"),
        ("adapted", "AsyncCredentialManager::new(account, SyncAdapter::new(MemoryStore::new()))"),
        ("file", "AsyncCredentialManager::new(account, redb.into_async())"),
        ("any", "AsyncCredentialManager::new(account, DynAsyncStore::new(postgres))"),
    ] {
        assert_eq!(compile(test, statement), "", "{statement}");
    }
}

#[test]
fn a_store_of_the_other_kind_is_rejected_with_a_hint() {
    const BELONGS: &str =
        "an `AsyncStore` belongs in an `AsyncCredentialManager` or an `AsyncAuthenticator`";
    const ADAPTER: &str = "`SyncAdapter::new(store)` makes a `Store` in memory an `AsyncStore`, \
        and `RedbStore::into_async` a `RedbStore`";
    const CHOSEN: &str =
        "a store that is chosen at run time is a `DynAsyncStore`: `DynAsyncStore::new(store)`";
    const BOXED: &str =
        "a store that is chosen at run time is a `Box<dyn Store>` or an `Arc<dyn Store>`";
    for (number, (statement, expected)) in [
        (
            "CredentialManager::new(account, postgres)",
            ["PostgresStore` is not a `Store`", BELONGS, BOXED],
        ),
        ("Authenticator::new(postgres)", ["PostgresStore` is not a `Store`", BELONGS, BOXED]),
        (
            "AsyncCredentialManager::new(account, MemoryStore::new())",
            ["MemoryStore` is not an `AsyncStore`", ADAPTER, CHOSEN],
        ),
        (
            "AsyncCredentialManager::new(account, redb)",
            ["RedbStore` is not an `AsyncStore`", ADAPTER, CHOSEN],
        ),
        (
            "AsyncAuthenticator::new(Box::new(redb) as Box<dyn Store>)",
            ["Store` is not an `AsyncStore`", ADAPTER, CHOSEN],
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let printed = compile(&number.to_string(), statement);
        for text in expected {
            assert!(printed.contains(text), "{statement}: {printed}");
        }
    }
}
