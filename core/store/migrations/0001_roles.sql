-- Roles, and the row security that every table with a user_id has.
--
--   owner           runs migrations and owns every table. No serving process logs in as the owner.
--   takeone_app     the role of a user's request. It sees the rows of takeone.user_id, a setting
--                   that each transaction sets.
--   takeone_system  authentication, callbacks, reconciliation and administration. It sees the rows
--                   of all users, through policies of its own.
--
-- Roles belong to the whole cluster, so another database may already have created them.

DO $$
BEGIN
    CREATE ROLE takeone_app NOLOGIN NOSUPERUSER NOBYPASSRLS;
EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
END $$;
DO $$
BEGIN
    CREATE ROLE takeone_system NOLOGIN NOSUPERUSER NOBYPASSRLS;
EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
END $$;

-- Used by the migrations only. FORCE applies the policies to the owner of the table, too.
CREATE PROCEDURE enable_row_security(table_ regclass) LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', table_);
    EXECUTE format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', table_);
    EXECUTE format('CREATE POLICY own_rows ON %s TO takeone_app'
                   ' USING (user_id = current_setting(''takeone.user_id'', true))', table_);
    EXECUTE format('CREATE POLICY all_rows ON %s TO takeone_system USING (true)', table_);
END $$;
REVOKE EXECUTE ON PROCEDURE enable_row_security FROM PUBLIC;
