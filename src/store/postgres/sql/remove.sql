-- Deletes a record and its keys. Without a row: the record is not at that revision, and nothing was
-- deleted.
WITH changed AS (
    DELETE FROM credential_users
    WHERE user_id = $1 AND revision = $2
    RETURNING user_id
), released AS (
    DELETE FROM credential_keys
    WHERE key = ANY ($3::bytea[]) AND user_id IN (SELECT user_id FROM changed)
    RETURNING user_id
)
SELECT user_id FROM changed
