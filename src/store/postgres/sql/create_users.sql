-- One row a user. The record says everything; the columns beside it are for operators, except for
-- the id and the revision, by which records are replaced.
CREATE TABLE IF NOT EXISTS credential_users (
    user_id uuid NOT NULL,
    account text NOT NULL,
    user_name text NOT NULL,
    revision bigint NOT NULL,
    credentials integer NOT NULL,
    changed timestamp with time zone NOT NULL,
    record bytea NOT NULL,
    CONSTRAINT credential_users_primary_key PRIMARY KEY (user_id)
)
