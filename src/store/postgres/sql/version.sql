-- The version of the tables: the number of the last migration that was finished.
SELECT max(version) FROM credential_schema
