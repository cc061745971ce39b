SELECT 1
SELECT id, a FROM t WHERE id = 1 AND a = 'x' ORDER BY id LIMIT 10
SELECT t.id, u.a FROM t JOIN u ON t.id = u.id LEFT JOIN good_view v USING (id) WHERE t.n > 1.5
SELECT count(*), max(n) FROM t GROUP BY a HAVING count(*) > 1
WITH q AS (SELECT id FROM t), r(x) AS (SELECT 1) SELECT * FROM q, r
WITH RECURSIVE q(n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM q WHERE n < 5) SELECT sum(n) FROM q
SELECT lower(a), good(id), coalesce(n, 0)::int, CAST(a AS text), a || b FROM t
SELECT row_number() OVER (PARTITION BY a ORDER BY id ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) FROM t WINDOW w AS (ORDER BY id)
SELECT CASE WHEN a LIKE 'x%' THEN 1 ELSE 2 END, ARRAY[1, 2], ROW(1, 'a'), (t.*)::text FROM t
SELECT * FROM ONLY t, LATERAL (SELECT * FROM u WHERE u.id = t.id) l, generate_series(1, 3) g(x)
SELECT * FROM ROWS FROM (generate_series(1, 2), unnest(ARRAY[1])) WITH ORDINALITY AS f(a, b, c)
SELECT extract(year FROM now()), substring(a FROM 1 FOR 2), trim(both 'x' FROM a), position('x' IN a), overlay(a PLACING 'y' FROM 1) FROM t
SELECT (SELECT max(id) FROM u), EXISTS (SELECT FROM t), a IN ('x', 'y'), id = ANY (ARRAY[1]) FROM t
TABLE t
VALUES (1, 'a'), (2, 'b')
(SELECT 1) UNION ALL (SELECT id FROM t) INTERSECT SELECT 2 EXCEPT TABLE u
SELECT DISTINCT ON (a) a, n FROM t ORDER BY a, n DESC NULLS LAST FETCH FIRST 3 ROWS WITH TIES
SELECT json_build_object('a', 1) -> 'a', '{"a":1}'::jsonb @> '{}', date '2020-01-01' + interval '1 day'
SELECT xmlelement(name a, xmlattributes('x' AS b), 'y'), xmlforest(a, b) FROM t
SELECT * FROM t TABLESAMPLE system (10) REPEATABLE (1) WHERE id BETWEEN SYMMETRIC 3 AND 1
SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY n) FILTER (WHERE n > 0) FROM t
SELECT "id" AS "ID", t."a", E'x\ny', U&'\0041', $$dollar$$, $tag$ ' $tag$, B'101', X'1F', N'n' FROM public.t AS "t"
EXPLAIN SELECT * FROM t
EXPLAIN (ANALYZE false, COSTS off) UPDATE t SET a = 'x'
EXPLAIN (ANALYZE) SELECT * FROM t
COPY (SELECT * FROM t) TO STDOUT WITH CSV HEADER
COPY t (id, a) TO STDOUT
DECLARE c CURSOR FOR SELECT * FROM t
SELECT * FROM t FOR UPDATE
SELECT * INTO x FROM t
WITH d AS (DELETE FROM t RETURNING *) SELECT * FROM d
INSERT INTO t (id, a) VALUES (1, 'x') ON CONFLICT (id) DO UPDATE SET a = excluded.a RETURNING id
SELECT a.b.c FROM t a WHERE (a).b = (SELECT (x).y FROM u x)
SELECT * FROM json_to_recordset('[]') AS x(a int, b text), unnest(ARRAY[1,2]) WITH ORDINALITY u(n, o)
SELECT * FROM (t JOIN u USING (id)) AS j(a, b) NATURAL JOIN (u CROSS JOIN t t2) WHERE j.a IS NOT DISTINCT FROM 1
SELECT grouping(a), a FROM t GROUP BY GROUPING SETS ((a), ()), CUBE (b), ROLLUP (n)
WITH RECURSIVE q AS (SELECT 1 AS n UNION SELECT n FROM q) SEARCH DEPTH FIRST BY n SET o CYCLE n SET c USING p SELECT * FROM q
SELECT a COLLATE "C", a AT TIME ZONE 'UTC', a IS JSON, NOT a ISNULL, - n, n[1:2], (ARRAY[1])[1] FROM t
SELECT * FROM xmltable('/a' PASSING '<a/>' COLUMNS x int PATH 'b', o FOR ORDINALITY)
SELECT * FROM json_table('{}', '$' COLUMNS (a int PATH '$.a', NESTED PATH '$.b' COLUMNS (c text)))
SELECT current_date, current_user, localtime, current_setting('timezone'), user
SELECT a OPERATOR(pg_catalog.=) b, a ~ 'x', n % 2, n ^ 2, |/ n, a !~~ 'x' FROM t
SELECT array_agg(a ORDER BY id), string_agg(DISTINCT a, ',' ORDER BY a) FROM t
SELECT DISTINCT ON ('') over('functest_S_2'::regproc)
SELECT interval '1 2:03:04.5678' minute tointerval OFFSET second(2)
SELECT set('t') UPDATE
SELECT OPERATOR(publict.@@@@) count(*) FROM t WHERE false
SELECT a, count(*) FROM t GROUP BY(rollup(a, b), a)
