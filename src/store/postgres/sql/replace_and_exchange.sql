-- Puts a record in place of the revision that it was made from, with other keys, more or fewer than
-- before. Without a row: that revision is not there, and nothing was exchanged.
--
-- What is released and what is claimed have no key in common. The claims read the result of the
-- releases, or which of the two comes first would not be defined.
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
