-- The unique index over the keys of the records, in the order of their encoded form.
CREATE TABLE IF NOT EXISTS credential_keys (
    key bytea NOT NULL,
    user_id uuid NOT NULL,
    CONSTRAINT credential_keys_primary_key PRIMARY KEY (key)
)
