-- The migrations that were finished.
CREATE TABLE IF NOT EXISTS credential_schema (
    version bigint NOT NULL,
    applied timestamp with time zone NOT NULL,
    CONSTRAINT credential_schema_primary_key PRIMARY KEY (version)
)
