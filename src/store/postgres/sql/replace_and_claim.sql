-- Puts a record in place of the revision that it was made from, with more keys. Without a row: that
-- revision is not there, and nothing was entered.
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
