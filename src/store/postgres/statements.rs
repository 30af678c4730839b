//! The text of every statement that the store sends, apart from `BEGIN`, `SET LOCAL` and `COMMIT`.
//!
//! The statements use the subset of SQL that databases with PostgreSQL's protocol share: no
//! sequence, trigger, foreign key or explicit lock, one definition per statement, and no statement
//! that changes a table twice, except one that no manager needs.

use std::sync::Arc;

use super::PostgresError;

/// Declares a field for each statement. Its text is in the file of the same name.
macro_rules! statements {
    ($($name:ident),+ $(,)?) => {
        /// The statements, for the tables of one schema.
        #[derive(Debug)]
        pub(super) struct Statements {
            $(pub(super) $name: String),+
        }

        impl Statements {
            /// Without a schema, the server finds the tables by its `search_path`.
            pub(super) fn new(schema: Option<&Schema>) -> Self {
                Self {
                    $($name: qualify(
                        include_str!(concat!("sql/", stringify!($name), ".sql")),
                        schema,
                    )),+
                }
            }
        }
    };
}

statements! {
    find,
    scan,
    register,
    replace,
    replace_and_claim,
    replace_and_release,
    replace_and_move,
    replace_and_exchange,
    remove,
    version,
    owners,
    lost_settings,
    create_schema,
    create_users,
    create_keys,
    finish_migration,
}

/// The names of the tables, as the files use them.
pub(super) const TABLES: [&str; 3] = ["credential_keys", "credential_schema", "credential_users"];

/// The name of a schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Schema(Arc<str>);

impl Schema {
    pub(super) fn new(name: &str) -> Result<Self, PostgresError> {
        // The server truncates a longer name, which may then name another schema.
        let is_valid = (1..=63).contains(&name.len()) && !name.contains('\0');
        if is_valid { Ok(Self(name.into())) } else { Err(PostgresError::SchemaName) }
    }
}

/// Prefixes the name of each table in `text` (a statement, or the name of a table) with the schema.
pub(super) fn qualify(text: &str, schema: Option<&Schema>) -> String {
    let Some(Schema(schema)) = schema else { return text.to_owned() };
    let prefix = format!("\"{}\".", schema.replace('"', "\"\""));
    let ends_word = |c: char| !(c.is_ascii_alphanumeric() || c == '_');
    text.split_inclusive(ends_word).fold(String::new(), |qualified, piece| {
        let is_table = TABLES.contains(&piece.trim_end_matches(ends_word));
        qualified + if is_table { &prefix } else { "" } + piece
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn a_name_that_the_server_would_cut_off_is_no_name_of_a_schema() {
        for name in ["", "a\0b", &"x".repeat(64), &"é".repeat(32)] {
            assert!(matches!(Schema::new(name), Err(PostgresError::SchemaName)), "{name:?}");
        }
        for name in ["x", "é", " ", "\"", &"x".repeat(63)] {
            assert!(Schema::new(name).is_ok(), "{name:?}");
        }
    }

    #[test]
    fn tables_are_qualified_and_constraints_are_not() {
        let sql = "UPDATE credential_keys SET key = 1 \
            WHERE (credential_keys.key=credential_users)\n\
                   CONSTRAINT credential_keys_primary_key";
        assert_eq!(qualify(sql, None), sql);
        assert_eq!(
            qualify(sql, Some(&Schema::new("a\"b").unwrap())),
            "UPDATE \"a\"\"b\".credential_keys SET key = 1 \
             WHERE (\"a\"\"b\".credential_keys.key=\"a\"\"b\".credential_users)\n\
             CONSTRAINT credential_keys_primary_key"
        );
    }

    #[test]
    fn every_statement_names_its_tables_in_full() {
        let statements = format!("{:?}", Statements::new(Some(&Schema::new("own").unwrap())));
        let bare = Statements::new(None);
        assert_eq!(statements.replace("\\\"own\\\".", ""), format!("{bare:?}"));
        for table in TABLES {
            let constraint = format!("{table}_primary_key");
            let rest = statements.replace(&constraint, "").replace(&format!("own\\\".{table}"), "");
            assert!(!rest.contains(table), "{rest}");
        }
    }
}
