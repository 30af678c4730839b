-- Inserts a record and its keys. Without a row: a record with the id exists, and nothing was
-- inserted. The keys are inserted from what inserting the record returns, never without it.
WITH changed AS (
    INSERT INTO credential_users
        (user_id, account, user_name, revision, credentials, changed, record)
    VALUES ($1, $2, $3, $4, $5, current_timestamp, $6)
    ON CONFLICT (user_id) DO NOTHING
    RETURNING user_id
), claimed AS (
    INSERT INTO credential_keys (key, user_id)
    SELECT wanted.key, changed.user_id
    FROM changed CROSS JOIN unnest($7::bytea[]) AS wanted (key)
    RETURNING user_id
)
SELECT user_id FROM changed
