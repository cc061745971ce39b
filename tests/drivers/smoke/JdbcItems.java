import java.io.StringReader;
import java.io.StringWriter;
import java.sql.*;
import java.util.*;
import org.postgresql.PGConnection;
import org.postgresql.PGNotification;
import org.postgresql.copy.CopyManager;

/** JDBC; see items.py for what a line of output means. */
public class JdbcItems {
    interface Work { Object run() throws Exception; }

    static final Map<String, Work> ITEMS = new LinkedHashMap<>();

    static Connection connect(String... more) throws SQLException {
        Properties properties = new Properties();
        properties.setProperty("user", System.getenv("PGUSER"));
        properties.setProperty("password", System.getenv("PGPASSWORD"));
        for (int i = 0; i < more.length; i += 2) properties.setProperty(more[i], more[i + 1]);
        return DriverManager.getConnection("jdbc:postgresql://" + System.getenv("PGHOST") + ":"
            + System.getenv("PGPORT") + "/" + System.getenv("PGDATABASE"), properties);
    }

    static void run(Connection c, String sql) throws SQLException {
        try (Statement s = c.createStatement()) { s.execute(sql); }
    }

    static String one(Connection c, String sql) throws SQLException {
        try (Statement s = c.createStatement(); ResultSet r = s.executeQuery(sql)) { r.next(); return r.getString(1); }
    }

    static {
        ITEMS.put("reads", () -> { try (Connection c = connect()) { return one(c, "SELECT 1 + 1"); } });
        ITEMS.put("prepared_beyond_the_threshold", () -> {
            try (Connection c = connect("prepareThreshold", "3"); PreparedStatement s = c.prepareStatement("SELECT ?::int * 2")) {
                int total = 0;
                for (int n = 0; n < 40; n++) { s.setInt(1, n); try (ResultSet r = s.executeQuery()) { r.next(); total += r.getInt(1); } }
                return total;
            }
        });
        ITEMS.put("fetch_size", () -> {
            try (Connection c = connect()) {
                c.setAutoCommit(false);
                try (PreparedStatement s = c.prepareStatement("SELECT * FROM generate_series(1, 1000)")) {
                    s.setFetchSize(37);
                    int total = 0;
                    try (ResultSet r = s.executeQuery()) { while (r.next()) total += r.getInt(1); }
                    c.commit();
                    return total;
                }
            }
        });
        ITEMS.put("fetch_size_in_a_read_only_transaction", () -> {
            try (Connection c = connect()) {
                c.setReadOnly(true);
                c.setAutoCommit(false);
                try (Statement s = c.createStatement()) {
                    s.setFetchSize(10);
                    int total = 0;
                    try (ResultSet r = s.executeQuery("SELECT * FROM generate_series(1, 95)")) { while (r.next()) total += r.getInt(1); }
                    c.commit();
                    return total + one(c, "SHOW transaction_read_only");
                }
            }
        });
        ITEMS.put("batches", () -> {
            try (Connection c = connect()) {
                run(c, "DROP TABLE IF EXISTS jd_batch; CREATE TABLE jd_batch (n int)");
                try (PreparedStatement s = c.prepareStatement("INSERT INTO jd_batch VALUES (?)")) {
                    for (int n = 0; n < 1000; n++) { s.setInt(1, n); s.addBatch(); }
                    return s.executeBatch().length + " " + one(c, "SELECT sum(n) FROM jd_batch");
                }
            }
        });
        ITEMS.put("batches_rewritten_to_one_insert", () -> {
            try (Connection c = connect("reWriteBatchedInserts", "true")) {
                run(c, "DROP TABLE IF EXISTS jd_rewrite; CREATE TABLE jd_rewrite (n int)");
                try (PreparedStatement s = c.prepareStatement("INSERT INTO jd_rewrite VALUES (?)")) {
                    for (int n = 0; n < 500; n++) { s.setInt(1, n); s.addBatch(); }
                    s.executeBatch();
                    return one(c, "SELECT count(*) FROM jd_rewrite");
                }
            }
        });
        ITEMS.put("generated_keys", () -> {
            try (Connection c = connect()) {
                run(c, "DROP TABLE IF EXISTS jd_keys; CREATE TABLE jd_keys (id serial, t text)");
                try (PreparedStatement s = c.prepareStatement("INSERT INTO jd_keys (t) VALUES ('x')", Statement.RETURN_GENERATED_KEYS)) {
                    s.executeUpdate();
                    try (ResultSet r = s.getGeneratedKeys()) { r.next(); return r.getInt(1); }
                }
            }
        });
        ITEMS.put("transactions_and_savepoints", () -> {
            try (Connection c = connect()) {
                run(c, "DROP TABLE IF EXISTS jd_tx; CREATE TABLE jd_tx (n int PRIMARY KEY)");
                c.setAutoCommit(false);
                run(c, "INSERT INTO jd_tx VALUES (1)");
                Savepoint p = c.setSavepoint();
                String state = "";
                try { run(c, "INSERT INTO jd_tx VALUES (1)"); } catch (SQLException e) { state = e.getSQLState(); c.rollback(p); }
                run(c, "INSERT INTO jd_tx VALUES (2)");
                c.commit();
                c.setAutoCommit(true);
                return state + one(c, "SELECT array_agg(n) FROM jd_tx");
            }
        });
        ITEMS.put("isolation_levels", () -> {
            StringBuilder found = new StringBuilder();
            for (int level : new int[] {1, 2, 4, 8}) {
                try (Connection c = connect()) {
                    c.setTransactionIsolation(level);
                    c.setAutoCommit(false);
                    found.append(one(c, "SHOW transaction_isolation")).append(c.getTransactionIsolation());
                    c.rollback();
                }
            }
            return found;
        });
        ITEMS.put("copy_both_ways", () -> {
            try (Connection c = connect()) {
                run(c, "DROP TABLE IF EXISTS jd_copy; CREATE TABLE jd_copy (n int)");
                CopyManager copy = c.unwrap(PGConnection.class).getCopyAPI();
                StringBuilder text = new StringBuilder();
                for (int n = 0; n < 3000; n++) text.append(n).append('\n');
                long in = copy.copyIn("COPY jd_copy FROM STDIN", new StringReader(text.toString()));
                StringWriter out = new StringWriter();
                copy.copyOut("COPY jd_copy TO STDOUT", out);
                return in + " " + out.toString().length();
            }
        });
        ITEMS.put("notifications", () -> {
            try (Connection one = connect(); Connection two = connect()) {
                run(one, "LISTEN jd_channel");
                run(two, "NOTIFY jd_channel, 'hello'");
                PGNotification[] heard = one.unwrap(PGConnection.class).getNotifications(10000);
                return heard[0].getName() + heard[0].getParameter();
            }
        });
        ITEMS.put("query_time_out", () -> {
            try (Connection c = connect(); Statement s = c.createStatement()) {
                s.setQueryTimeout(1);
                try { s.execute("SELECT pg_sleep(20)"); } catch (SQLException e) { return e.getSQLState() + one(c, "SELECT 1"); }
                return "not cancelled";
            }
        });
        ITEMS.put("simple_query_mode", () -> {
            try (Connection c = connect("preferQueryMode", "simple"); PreparedStatement s = c.prepareStatement("SELECT ?, ?")) {
                s.setInt(1, 7);
                s.setString(2, "it's");
                try (ResultSet r = s.executeQuery()) { r.next(); return r.getString(1) + r.getString(2); }
            }
        });
        ITEMS.put("cached_plan_must_not_change", () -> {
            try (Connection c = connect("prepareThreshold", "1")) {
                run(c, "DROP TABLE IF EXISTS jd_change; CREATE TABLE jd_change (a int); INSERT INTO jd_change VALUES (1)");
                try (PreparedStatement s = c.prepareStatement("SELECT * FROM jd_change")) {
                    for (int n = 0; n < 5; n++) s.executeQuery().close();
                    try (Connection other = connect()) { run(other, "ALTER TABLE jd_change ADD b int"); }
                    // Directly this is an error that the driver heals outside a transaction.
                    try (ResultSet r = s.executeQuery()) { r.next(); return r.getInt(1); }
                }
            }
        });
        ITEMS.put("meta_data", () -> {
            try (Connection c = connect()) {
                run(c, "DROP TABLE IF EXISTS jd_meta; CREATE TABLE jd_meta (a int PRIMARY KEY, b text)");
                StringBuilder found = new StringBuilder();
                try (ResultSet r = c.getMetaData().getColumns(null, null, "jd_meta", null)) {
                    while (r.next()) found.append(r.getString("COLUMN_NAME")).append(r.getString("TYPE_NAME"));
                }
                try (ResultSet r = c.getMetaData().getPrimaryKeys(null, null, "jd_meta")) { r.next(); found.append(r.getString("COLUMN_NAME")); }
                return found + c.getMetaData().getDatabaseProductVersion();
            }
        });
        ITEMS.put("target_server_type_primary", () -> {
            try (Connection c = connect("targetServerType", "primary")) { return one(c, "SELECT pg_is_in_recovery()"); }
        });
        ITEMS.put("current_schema_and_application_name", () -> {
            try (Connection c = connect("currentSchema", "pg_catalog,public", "ApplicationName", "jd app")) {
                return one(c, "SHOW search_path") + one(c, "SHOW application_name") + c.getSchema();
            }
        });
        ITEMS.put("client_info_and_schema_can_change", () -> {
            try (Connection c = connect()) {
                c.setClientInfo("ApplicationName", "later");
                c.setSchema("pg_catalog");
                return one(c, "SHOW application_name") + one(c, "SHOW search_path");
            }
        });
        ITEMS.put("a_procedure_with_an_out_parameter", () -> {
            try (Connection c = connect()) {
                run(c, "CREATE OR REPLACE FUNCTION jd_double(n int) RETURNS int LANGUAGE plpgsql AS $$ BEGIN RETURN n * 2; END $$");
                try (CallableStatement s = c.prepareCall("{ ? = call jd_double(?) }")) {
                    s.registerOutParameter(1, Types.INTEGER);
                    s.setInt(2, 21);
                    s.execute();
                    return s.getInt(1);
                }
            }
        });
        ITEMS.put("large_objects_by_fast_path", () -> {
            try (Connection c = connect()) {
                c.setAutoCommit(false);
                var api = c.unwrap(PGConnection.class).getLargeObjectAPI();
                long oid = api.createLO();
                var object = api.open(oid);
                object.write("hello".getBytes());
                object.seek(0);
                String text = new String(object.read(5));
                object.close();
                api.delete(oid);
                c.commit();
                return text;
            }
        });
        ITEMS.put("warnings", () -> {
            try (Connection c = connect(); Statement s = c.createStatement()) {
                s.execute("DO $$ BEGIN RAISE WARNING 'careful'; END $$");
                return s.getWarnings().getMessage() + s.getWarnings().getSQLState();
            }
        });
        ITEMS.put("reads_follow_writes", () -> {
            try (Connection one = connect(); Connection two = connect()) {
                run(one, "DROP TABLE IF EXISTS jd_seen; CREATE TABLE jd_seen (n int)");
                for (int n = 0; n < 30; n++) {
                    run(one, "INSERT INTO jd_seen VALUES (" + n + ")");
                    if (!one(two, "SELECT max(n) FROM jd_seen").equals("" + n)) throw new Exception("stale at " + n);
                }
                return "fresh";
            }
        });
        ITEMS.put("error_fields", () -> {
            try (Connection c = connect()) {
                run(c, "DROP TABLE IF EXISTS jd_error; CREATE TABLE jd_error (n int CONSTRAINT positive CHECK (n > 0))");
                try { run(c, "INSERT INTO jd_error VALUES (-1)"); } catch (SQLException e) { return e.getSQLState() + e.getMessage(); }
                return "no error";
            }
        });
    }

    static void line(Object... fields) {
        StringJoiner text = new StringJoiner("\t");
        for (Object field : fields) text.add(String.valueOf(field).replaceAll("[\t\n]", " "));
        System.out.println(text);
        System.out.flush();
    }

    public static void main(String[] wanted) {
        List<String> names = Arrays.asList(wanted);
        if (names.contains("--list")) { ITEMS.keySet().forEach(System.out::println); return; }
        ITEMS.forEach((name, work) -> {
            if (!names.isEmpty() && !names.contains(name)) return;
            line("run", name);
            try { line("ok", name, work.run()); } catch (Throwable error) { line("fail", name, error); }
        });
    }
}
