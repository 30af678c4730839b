-- The record that holds a key. A key whose record is missing returns a row with a null.
SELECT holder.record
FROM credential_keys AS held
LEFT JOIN credential_users AS holder ON holder.user_id = held.user_id
WHERE held.key = $1
