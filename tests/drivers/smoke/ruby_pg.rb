# Ruby's pg; see items.py for what a line of output means.
require 'pg'
require 'timeout'

ITEMS = {}
def item(name, &work) = ITEMS[name] = work

def connected(**more)
  conn = PG.connect(host: ENV['PGHOST'], port: ENV['PGPORT'], user: ENV['PGUSER'], password: ENV['PGPASSWORD'], dbname: ENV['PGDATABASE'], **more)
  conn.set_notice_receiver { |_| }
  yield conn
ensure
  conn&.close
end

item('reads') { connected { |c| c.exec('SELECT 1 + 1 AS n').to_a } }
item('parameters') { connected { |c| c.exec_params('SELECT $1::int AS n, $2::text AS t', [7, 'é']).to_a } }
item('prepared') do
  connected do |c|
    c.prepare('twice', 'SELECT $1::int * 2 AS n')
    d = c.describe_prepared('twice')
    [(0...30).sum { |n| c.exec_prepared('twice', [n])[0]['n'].to_i }, d.nparams, d.fname(0)]
  end
end
item('transaction') do
  connected do |c|
    c.exec('DROP TABLE IF EXISTS rb_tx; CREATE TABLE rb_tx (n int)')
    c.transaction { |t| t.exec('INSERT INTO rb_tx VALUES (1)') }
    begin
      c.transaction { |t| t.exec('INSERT INTO rb_tx VALUES (2)'); raise 'back' }
    rescue RuntimeError
    end
    [c.exec('SELECT array_agg(n) AS a FROM rb_tx').to_a, c.transaction_status]
  end
end
item('errors') do
  connected do |c|
    c.exec('SELECT * FROM nowhere')
  rescue PG::Error => e
    [e.class, e.result.error_field(PG::Result::PG_DIAG_SQLSTATE), e.message]
  end
end
item('single_row_mode') do
  connected do |c|
    c.send_query('SELECT * FROM generate_series(1, 5000) AS n')
    c.set_single_row_mode
    c.get_result.stream_each.sum { |r| r['n'].to_i }
  end
end
item('copy') do
  connected do |c|
    c.exec('DROP TABLE IF EXISTS rb_copy; CREATE TABLE rb_copy (n int, t text)')
    c.copy_data('COPY rb_copy FROM STDIN') { 3000.times { |n| c.put_copy_data("#{n}\tx#{n}\n") } }
    bytes = 0
    c.copy_data('COPY rb_copy TO STDOUT') { while (row = c.get_copy_data) do bytes += row.bytesize end }
    bytes
  end
end
item('copy_aborted') do
  connected do |c|
    c.exec('DROP TABLE IF EXISTS rb_abort; CREATE TABLE rb_abort (n int)')
    begin
      c.copy_data('COPY rb_abort FROM STDIN') { c.put_copy_data("1\n"); raise 'no' }
    rescue RuntimeError
    end
    c.exec('SELECT count(*) AS n FROM rb_abort').to_a
  end
end
item('notify') do
  connected do |one|
    connected do |two|
      one.exec('LISTEN rb_channel')
      two.exec("NOTIFY rb_channel, 'hi'")
      heard = nil
      one.wait_for_notify(10) { |channel, _, payload| heard = [channel, payload] }
      heard
    end
  end
end
item('pipeline') do
  connected do |c|
    c.enter_pipeline_mode
    100.times { |n| c.send_query_params('SELECT $1::int AS n', [n]) }
    c.pipeline_sync
    total = 0
    until (r = c.get_result).nil? && (r = c.get_result)&.result_status == PG::PGRES_PIPELINE_SYNC
      total += r[0]['n'].to_i if r&.ntuples.to_i > 0
    end
    c.exit_pipeline_mode
    [total, c.exec('SELECT 1 AS n').to_a]
  end
end
item('large_object') do
  connected do |c|
    c.transaction do
      oid = c.lo_creat
      lo = c.lo_open(oid, PG::INV_WRITE | PG::INV_READ)
      c.lo_write(lo, 'hello world')
      c.lo_lseek(lo, 6, PG::SEEK_SET)
      text = c.lo_read(lo, 5)
      c.lo_close(lo)
      c.lo_unlink(oid)
      text
    end
  end
end
item('cancel') do
  connected do |c|
    c.send_query('SELECT pg_sleep(20)')
    sleep 0.5
    c.cancel
    begin
      c.get_last_result
    rescue PG::QueryCanceled
      c.exec('SELECT 1 AS n').to_a
    end
  end
end
item('options') { connected(options: '-c search_path=pg_catalog', application_name: 'rb') { |c| [c.exec('SHOW search_path').values, c.exec('SHOW application_name').values, c.parameter_status('application_name')] } }
item('session_settings') { connected { |c| c.exec("SET work_mem = '7MB'; SET TimeZone = 'Asia/Tokyo'"); [c.exec('SHOW work_mem').values, c.parameter_status('TimeZone')] } }
item('encodings') { connected { |c| c.internal_encoding = 'iso-8859-1'; [c.get_client_encoding, c.exec("SELECT 'x'").values] } }
item('reset') { connected { |c| c.exec("SET work_mem = '9MB'"); c.reset; c.exec('SHOW work_mem').values } }
item('temporary_tables') { connected { |c| c.exec('CREATE TEMP TABLE rb_temp (n int)'); 5.times { |n| c.exec_params('INSERT INTO rb_temp VALUES ($1)', [n]) }; c.exec('SELECT sum(n) FROM rb_temp').values } }
item('cursors') do
  connected do |c|
    c.transaction do
      c.exec('DECLARE rb_cursor SCROLL CURSOR FOR SELECT * FROM generate_series(1, 100)')
      [c.exec('FETCH 5 FROM rb_cursor').values.flatten, c.exec('FETCH LAST FROM rb_cursor').values, c.exec('MOVE BACKWARD 10 FROM rb_cursor').cmd_status]
    end
  end
end
item('binary') { connected { |c| c.exec_params('SELECT $1::int4', [{ value: [7].pack('N'), format: 1, type: 23 }], 1).getvalue(0, 0).unpack('N') } }
item('close_portal_and_statement') do
  connected do |c|
    c.prepare('gone', 'SELECT 1')
    c.exec('DEALLOCATE gone')
    begin
      c.exec_prepared('gone')
    rescue PG::Error => e
      e.message
    end
  end
end

def line(*fields) = (puts fields.map { |f| f.to_s.gsub(/[\t\n]/, ' ') }.join("\t"); $stdout.flush)
if ARGV == ['--list']
  puts ITEMS.keys
else
  ITEMS.each do |name, work|
    next unless ARGV.empty? || ARGV.include?(name)
    line('run', name)
    begin
      line('ok', name, Timeout.timeout(30) { work.call }.inspect)
    rescue Exception => e # an item may fail in any way it likes
      line('fail', name, "#{e.class}: #{e.message}")
    end
  end
end
