-- Puts a record in place of the revision that it was made from, with other keys, as many as before:
-- a renamed user. Without a row: that revision is not there, and nothing was moved.
--
-- Each key becomes another, in one pass over the index. Some databases refuse a statement that
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
