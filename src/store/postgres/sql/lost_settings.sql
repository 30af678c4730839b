-- Which of the settings do not come from the session or its start. Those with a prefix may be of the
-- client's own making, and are in no table.
SELECT wanted.name
FROM unnest($1::text[]) AS wanted (name)
LEFT JOIN pg_catalog.pg_settings AS known ON lower(known.name) = wanted.name
WHERE CASE
    WHEN known.name IS NOT NULL THEN known.source NOT IN ('client', 'session')
    ELSE wanted.name LIKE '%.%' AND pg_catalog.current_setting(wanted.name, true) IS NULL
END
