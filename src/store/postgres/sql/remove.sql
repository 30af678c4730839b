-- Takes a record and its keys away. Without a row: that revision is not there, and nothing was
-- taken.
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
