-- One row per user. The record holds everything. Of the other columns, the id and the revision are
-- what a change compares; the rest are for operators.
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
