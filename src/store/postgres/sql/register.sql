-- Enters a record and its keys. Without a row: the id is held already, and nothing was entered.
-- The keys are entered by what entering the record returns, never without it.
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
