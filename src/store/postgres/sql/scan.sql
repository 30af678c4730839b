-- The records that hold the keys of a range, in its order. The limit is in the subquery, so that no
-- plan reads more of either table than the page needs.
SELECT holder.record
FROM (
    SELECT key, user_id
    FROM credential_keys
    WHERE key >= $1 AND key < $2
    ORDER BY key
    LIMIT $3
) AS held
LEFT JOIN credential_users AS holder ON holder.user_id = held.user_id
ORDER BY held.key
