-- Puts a record in place of the revision that it was made from, with the same keys. Without a row:
-- that revision is not there.
WITH changed AS (
    UPDATE credential_users
    SET user_name = $3, revision = $4, credentials = $5, changed = current_timestamp, record = $6
    WHERE user_id = $1 AND revision = $2
    RETURNING user_id
)
SELECT user_id FROM changed
