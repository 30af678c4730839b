//! Failures of storage, and how the store recovers from them.

use service_specific_credentials::{
    CredentialManager, Error,
    store::{RedbError, RedbHealth},
};

use super::{ACCOUNT, asynchronous, executor, name, tasks::Gate};

fn cause(error: &Error) -> &RedbError {
    match error {
        Error::OutcomeUnknown { source, .. } | Error::Store(source) => {
            source.get_ref().downcast_ref().unwrap()
        }
        error => panic!("{error:?}"),
    }
}

#[test]
fn a_panic_while_a_batch_is_written_reaches_no_caller_and_the_store_recovers() {
    let gate = Gate::default();
    let store = gate.open_store();
    let iam = CredentialManager::new(name(ACCOUNT), store.clone());
    iam.register_user(&name("anika")).unwrap();
    for asynchronously in [true, false] {
        // The next flush panics.
        drop(gate.close());
        let ben = name("ben");
        let error = if asynchronously {
            executor().block_on(asynchronous(&store).register_user(&ben)).unwrap_err()
        } else {
            iam.register_user(&ben).unwrap_err()
        };
        assert!(matches!(error, Error::OutcomeUnknown { id: None, .. }), "{error:?}");
        let RedbError::Unknown(first) = cause(&error) else { panic!("{error:?}") };
        assert!(matches!(**first, RedbError::Panicked), "{error:?}");
        assert!(matches!(store.health(), RedbHealth::Closed(_)));
        iam.user(&name("anika")).unwrap();
        assert!(matches!(store.health(), RedbHealth::WriteFailed(_)));
        iam.ensure_user(&name("carla")).unwrap();
        iam.rename_user(&name("carla"), &name("clara")).unwrap();
        iam.rename_user(&name("clara"), &name("carla")).unwrap();
        assert!(matches!(store.health(), RedbHealth::Ready));
    }
}
