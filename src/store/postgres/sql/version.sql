-- The version of the schema: that of the last migration which was finished.
SELECT max(version) FROM credential_schema
