-- Notes that a migration was finished. Others may have noted it already.
INSERT INTO credential_schema (version, applied)
VALUES ($1, current_timestamp)
ON CONFLICT (version) DO NOTHING
