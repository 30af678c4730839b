-- The record that holds a key. A key whose record is missing gives a row without one.
SELECT holder.record
FROM credential_keys AS held
LEFT JOIN credential_users AS holder ON holder.user_id = held.user_id
WHERE held.key = $1
