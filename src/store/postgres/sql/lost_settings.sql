-- Of the settings named, those that were not set by this session or when it started. A setting with
-- a prefix may be unknown to the server, and is then not in the catalogue.
SELECT wanted.name
FROM unnest($1::text[]) AS wanted (name)
LEFT JOIN pg_catalog.pg_settings AS known ON lower(known.name) = wanted.name
WHERE CASE
    WHEN known.name IS NOT NULL THEN known.source NOT IN ('client', 'session')
    ELSE wanted.name LIKE '%.%' AND pg_catalog.current_setting(wanted.name, true) IS NULL
END
