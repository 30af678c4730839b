-- Replaces a record, deletes keys and inserts others, more or fewer. Without a row: the record is
-- not at that revision, and nothing was changed.
--
-- No key is both deleted and inserted. The insertion reads the result of the deletion, since their
-- order would be undefined otherwise.
WITH changed AS (
    UPDATE credential_users
    SET user_name = $3, revision = $4, credentials = $5, changed = current_timestamp, record = $6
    WHERE user_id = $1 AND revision = $2
    RETURNING user_id
), released AS (
    DELETE FROM credential_keys
    WHERE key = ANY ($7::bytea[]) AND user_id IN (SELECT user_id FROM changed)
    RETURNING user_id
), claimed AS (
    INSERT INTO credential_keys (key, user_id)
    SELECT wanted.key, changed.user_id
    FROM changed CROSS JOIN unnest($8::bytea[]) AS wanted (key)
    WHERE (SELECT count(*) FROM released) >= 0
    RETURNING user_id
)
SELECT user_id FROM changed
