-- Replaces a record, and inserts more keys. Without a row: the record is not at that revision, and
-- nothing was changed.
WITH changed AS (
    UPDATE credential_users
    SET user_name = $3, revision = $4, credentials = $5, changed = current_timestamp, record = $6
    WHERE user_id = $1 AND revision = $2
    RETURNING user_id
), claimed AS (
    INSERT INTO credential_keys (key, user_id)
    SELECT wanted.key, changed.user_id
    FROM changed CROSS JOIN unnest($7::bytea[]) AS wanted (key)
    RETURNING user_id
)
SELECT user_id FROM changed
