import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.Properties;

/** JDBC: a prepared read, a write in a transaction, a cancel. Connection from PG* variables. */
public class Smoke {
    public static void main(String[] arguments) throws Exception {
        String mark = System.getenv("MARK");
        String url = "jdbc:postgresql://" + System.getenv("PGHOST") + ":" + System.getenv("PGPORT")
            + "/" + System.getenv("PGDATABASE");
        Properties properties = new Properties();
        properties.setProperty("user", System.getenv("PGUSER"));
        properties.setProperty("password", System.getenv("PGPASSWORD"));
        // A named statement on the server from the second execution on.
        properties.setProperty("prepareThreshold", "2");
        try (Connection connection = DriverManager.getConnection(url, properties)) {
            read(connection, mark);
            int note = write(connection, mark);
            cancel(connection);
            check(one(connection, "SELECT 1") == 1, "the session lives");
            connection.createStatement().execute("DELETE FROM note WHERE id = " + note);
        }
        System.out.println("ok");
    }

    static void read(Connection connection, String mark) throws SQLException {
        String sql = "/* read " + mark + " */ SELECT name FROM product WHERE id = ?";
        try (PreparedStatement statement = connection.prepareStatement(sql)) {
            for (int n = 1; n <= 20; n++) {
                statement.setInt(1, n);
                try (ResultSet rows = statement.executeQuery()) {
                    check(rows.next() && rows.getString(1).equals("product " + n), "row " + n);
                }
            }
        }
    }

    static int write(Connection connection, String mark) throws SQLException {
        connection.setAutoCommit(false);
        String sql = "/* write " + mark + " */ INSERT INTO note (body) VALUES (?) RETURNING id";
        int note;
        try (PreparedStatement statement = connection.prepareStatement(sql)) {
            statement.setString(1, mark);
            try (ResultSet rows = statement.executeQuery()) {
                check(rows.next(), "a row is returned");
                note = rows.getInt(1);
            }
        }
        connection.commit();
        connection.setAutoCommit(true);
        check(one(connection, "SELECT count(*) FROM note WHERE id = " + note) == 1, "it is there");
        return note;
    }

    static void cancel(Connection connection) throws Exception {
        long start = System.nanoTime();
        try (Statement statement = connection.createStatement()) {
            Thread canceller = new Thread(() -> {
                try {
                    Thread.sleep(500);
                    statement.cancel();
                } catch (InterruptedException | SQLException problem) {
                    problem.printStackTrace();
                }
            });
            canceller.start();
            statement.execute("SELECT pg_sleep(60)");
            check(false, "the cancel got through");
        } catch (SQLException problem) {
            check("57014".equals(problem.getSQLState()), "57014, not " + problem);
        }
        check(System.nanoTime() - start < 20_000_000_000L, "the cancel was quick");
    }

    static long one(Connection connection, String sql) throws SQLException {
        try (Statement statement = connection.createStatement();
            ResultSet rows = statement.executeQuery(sql)) {
            rows.next();
            return rows.getLong(1);
        }
    }

    static void check(boolean condition, String what) {
        if (!condition) {
            throw new AssertionError(what);
        }
    }
}
