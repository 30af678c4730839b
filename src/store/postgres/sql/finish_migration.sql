-- Records that a migration was finished. A concurrent one may have recorded it before.
INSERT INTO credential_schema (version, applied)
VALUES ($1, current_timestamp)
ON CONFLICT (version) DO NOTHING
