-- Replaces a record, which keeps its keys. Without a row: the record is not at that revision, and
-- nothing was changed.
WITH changed AS (
    UPDATE credential_users
    SET user_name = $3, revision = $4, credentials = $5, changed = current_timestamp, record = $6
    WHERE user_id = $1 AND revision = $2
    RETURNING user_id
)
SELECT user_id FROM changed
