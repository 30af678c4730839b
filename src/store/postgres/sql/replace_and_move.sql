-- Replaces a record, and as many keys by others: a renamed user. Without a row: the record is not
-- at that revision, and nothing was changed.
--
-- Each key is updated, in one pass over the index. Some databases reject a statement that
-- changes a table twice.
WITH changed AS (
    UPDATE credential_users
    SET user_name = $3, revision = $4, credentials = $5, changed = current_timestamp, record = $6
    WHERE user_id = $1 AND revision = $2
    RETURNING user_id
), moved AS (
    UPDATE credential_keys
    SET key = pair.claimed
    FROM changed CROSS JOIN unnest($7::bytea[], $8::bytea[]) AS pair (released, claimed)
    WHERE credential_keys.key = pair.released AND credential_keys.user_id = changed.user_id
    RETURNING credential_keys.user_id
)
SELECT user_id FROM changed
