-- The tables that a role other than the session's own owns, and that role.
SELECT relation.relname, owner.rolname
FROM unnest($1::text[]) AS named (name)
JOIN pg_catalog.pg_class AS relation ON relation.oid = pg_catalog.to_regclass(named.name)
JOIN pg_catalog.pg_roles AS owner ON owner.oid = relation.relowner
WHERE owner.rolname <> current_user
ORDER BY relation.relname
