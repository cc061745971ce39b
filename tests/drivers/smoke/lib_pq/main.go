// Go's lib/pq; see items.py for what a line of output means.
package main

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/lib/pq"
)

type work func() (interface{}, error)

var names []string
var items = map[string]work{}

func item(name string, w work) { names = append(names, name); items[name] = w }

func open(more string) *sql.DB {
	db, err := sql.Open("postgres", "sslmode=disable "+more)
	if err != nil {
		panic(err)
	}
	return db
}

func must(_ sql.Result, err error) {
	if err != nil {
		panic(err)
	}
}

func main() {
	item("reads", func() (interface{}, error) {
		db := open("")
		defer db.Close()
		var n int
		var t string
		err := db.QueryRow("SELECT $1::int + 1, $2::text", 1, "é").Scan(&n, &t)
		return fmt.Sprint(n, t), err
	})
	item("prepared_statements_over_a_pool", func() (interface{}, error) {
		db := open("")
		defer db.Close()
		db.SetMaxOpenConns(10)
		s, err := db.Prepare("SELECT $1::int * 2")
		if err != nil {
			return nil, err
		}
		var wait sync.WaitGroup
		var lock sync.Mutex
		total := 0
		for n := 0; n < 200; n++ {
			wait.Add(1)
			go func(n int) {
				defer wait.Done()
				var v int
				if e := s.QueryRow(n).Scan(&v); e != nil {
					err = e
				}
				lock.Lock()
				total += v
				lock.Unlock()
			}(n)
		}
		wait.Wait()
		return total, err
	})
	item("transactions", func() (interface{}, error) {
		db := open("")
		defer db.Close()
		must(db.Exec("DROP TABLE IF EXISTS go_tx; CREATE TABLE go_tx (n int)"))
		tx, err := db.Begin()
		if err != nil {
			return nil, err
		}
		must(tx.Exec("INSERT INTO go_tx VALUES ($1)", 1))
		tx.Rollback()
		tx, _ = db.BeginTx(context.Background(), &sql.TxOptions{Isolation: sql.LevelSerializable})
		must(tx.Exec("INSERT INTO go_tx VALUES ($1)", 2))
		err = tx.Commit()
		var n int
		db.QueryRow("SELECT sum(n) FROM go_tx").Scan(&n)
		return n, err
	})
	item("read_only_transactions", func() (interface{}, error) {
		db := open("")
		defer db.Close()
		tx, err := db.BeginTx(context.Background(), &sql.TxOptions{ReadOnly: true, Isolation: sql.LevelRepeatableRead})
		if err != nil {
			return nil, err
		}
		defer tx.Rollback()
		var a, b string
		err = tx.QueryRow("SELECT current_setting('transaction_read_only'), current_setting('transaction_isolation')").Scan(&a, &b)
		return a + b, err
	})
	item("errors", func() (interface{}, error) {
		db := open("")
		defer db.Close()
		_, err := db.Exec("SELECT * FROM nowhere")
		e := err.(*pq.Error)
		_, err = db.Exec("INSERT INTO nowhere VALUES ($1)", 1)
		return fmt.Sprint(e.Code, e.Message, e.Position, err), nil
	})
	item("copy_in", func() (interface{}, error) {
		db := open("")
		defer db.Close()
		must(db.Exec("DROP TABLE IF EXISTS go_copy; CREATE TABLE go_copy (n int, t text)"))
		tx, err := db.Begin()
		if err != nil {
			return nil, err
		}
		s, err := tx.Prepare(pq.CopyIn("go_copy", "n", "t"))
		if err != nil {
			return nil, err
		}
		for n := 0; n < 3000; n++ {
			must(s.Exec(n, "x"))
		}
		must(s.Exec())
		s.Close()
		if err := tx.Commit(); err != nil {
			return nil, err
		}
		var n int
		err = db.QueryRow("SELECT sum(n) FROM go_copy").Scan(&n)
		return n, err
	})
	item("listener", func() (interface{}, error) {
		l := pq.NewListener("sslmode=disable", time.Second, time.Second, nil)
		defer l.Close()
		if err := l.Listen("go_channel"); err != nil {
			return nil, err
		}
		db := open("")
		defer db.Close()
		must(db.Exec("NOTIFY go_channel, 'hello'"))
		select {
		case n := <-l.Notify:
			return n.Channel + n.Extra, l.Ping()
		case <-time.After(10 * time.Second):
			return nil, fmt.Errorf("nothing heard")
		}
	})
	item("a_context_cancels", func() (interface{}, error) {
		db := open("")
		defer db.Close()
		db.SetMaxOpenConns(1)
		ctx, stop := context.WithTimeout(context.Background(), 500*time.Millisecond)
		defer stop()
		_, err := db.ExecContext(ctx, "SELECT pg_sleep(20)")
		var n int
		again := db.QueryRow("SELECT 7").Scan(&n)
		return fmt.Sprint(err, n), again
	})
	item("binary_parameters", func() (interface{}, error) {
		db := open("binary_parameters=yes")
		defer db.Close()
		var n int
		err := db.QueryRow("SELECT length($1::bytea)", []byte{0, 1, 2}).Scan(&n)
		return n, err
	})
	item("arrays", func() (interface{}, error) {
		db := open("")
		defer db.Close()
		var a pq.Int64Array
		err := db.QueryRow("SELECT $1::bigint[]", pq.Array([]int64{1, 2, 3})).Scan(&a)
		return fmt.Sprint(a), err
	})
	item("run_time_parameters", func() (interface{}, error) {
		db := open("search_path=pg_catalog application_name=go statement_timeout=12345")
		defer db.Close()
		var a, b, c string
		err := db.QueryRow("SELECT current_setting('search_path'), current_setting('application_name'), current_setting('statement_timeout')").Scan(&a, &b, &c)
		return a + b + c, err
	})
	item("many_results_of_one_string", func() (interface{}, error) {
		db := open("")
		defer db.Close()
		rows, err := db.Query("SELECT 1; SELECT 2; SELECT 3")
		if err != nil {
			return nil, err
		}
		defer rows.Close()
		found := ""
		for {
			for rows.Next() {
				var n int
				rows.Scan(&n)
				found += fmt.Sprint(n)
			}
			if !rows.NextResultSet() {
				return found, rows.Err()
			}
		}
	})
	item("notices", func() (interface{}, error) {
		base, err := pq.NewConnector("sslmode=disable")
		if err != nil {
			return nil, err
		}
		heard := ""
		db := sql.OpenDB(pq.ConnectorWithNoticeHandler(base, func(e *pq.Error) { heard += e.Severity + e.Message }))
		defer db.Close()
		must(db.Exec("DO $$ BEGIN RAISE NOTICE 'one'; END $$"))
		return heard, nil
	})
	item("reads_follow_writes_over_a_pool", func() (interface{}, error) {
		db := open("")
		defer db.Close()
		must(db.Exec("DROP TABLE IF EXISTS go_seen; CREATE TABLE go_seen (n int)"))
		for n := 0; n < 30; n++ {
			must(db.Exec("INSERT INTO go_seen VALUES ($1)", n))
			var seen int
			if err := db.QueryRow("SELECT max(n) FROM go_seen").Scan(&seen); err != nil || seen != n {
				return nil, fmt.Errorf("wrote %d, saw %d (%v)", n, seen, err)
			}
		}
		return "fresh", nil
	})
	item("a_connection_keeps_its_session", func() (interface{}, error) {
		db := open("")
		defer db.Close()
		c, err := db.Conn(context.Background())
		if err != nil {
			return nil, err
		}
		defer c.Close()
		ctx := context.Background()
		must(c.ExecContext(ctx, "CREATE TEMP TABLE go_temp (n int)"))
		must(c.ExecContext(ctx, "INSERT INTO go_temp VALUES ($1)", 5))
		must(c.ExecContext(ctx, "SET work_mem = '7MB'"))
		var n int
		var s string
		err = c.QueryRowContext(ctx, "SELECT n, current_setting('work_mem') FROM go_temp").Scan(&n, &s)
		return fmt.Sprint(n, s), err
	})

	wanted := map[string]bool{}
	for _, name := range os.Args[1:] {
		wanted[name] = true
	}
	for _, name := range names {
		if wanted["--list"] {
			fmt.Println(name)
		} else if len(wanted) == 0 || wanted[name] {
			run(name)
		}
	}
}

func line(fields ...interface{}) {
	text := make([]string, len(fields))
	for i, field := range fields {
		text[i] = strings.NewReplacer("\t", " ", "\n", " ").Replace(fmt.Sprint(field))
	}
	fmt.Println(strings.Join(text, "\t"))
}

func run(name string) {
	line("run", name)
	defer func() {
		if p := recover(); p != nil {
			line("fail", name, p)
		}
	}()
	if seen, err := items[name](); err != nil {
		line("fail", name, err)
	} else {
		line("ok", name, seen)
	}
}
