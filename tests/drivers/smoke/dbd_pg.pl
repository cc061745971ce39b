# Perl's DBD::Pg; see items.py for what a line of output means.
use strict;
use warnings;
use DBI;

my (@names, %items);
sub item { my ($name, $work) = @_; push @names, $name; $items{$name} = $work }

sub connected {
    my %more = @_;
    my $d = DBI->connect("dbi:Pg:host=$ENV{PGHOST};port=$ENV{PGPORT};dbname=$ENV{PGDATABASE}", $ENV{PGUSER},
        $ENV{PGPASSWORD}, { AutoCommit => 1, RaiseError => 1, PrintError => 0, PrintWarn => 0, %more });
    return $d;
}

item reads => sub { my $d = connected; join ',', $d->selectrow_array('SELECT 1 + 1, current_user') };
item placeholders_prepare_on_the_server => sub {
    my $d = connected(pg_server_prepare => 1);
    my $s = $d->prepare('SELECT ?::int * 2');
    my $total = 0;
    for my $n (0 .. 30) { $s->execute($n); $total += ($s->fetchrow_array)[0] }
    $total;
};
item client_side_placeholders => sub { my $d = connected(pg_server_prepare => 0); ($d->selectrow_array('SELECT ?::text', undef, "it's"))[0] };
item transactions => sub {
    my $d = connected;
    $d->do('DROP TABLE IF EXISTS pl_tx');
    $d->do('CREATE TABLE pl_tx (n int)');
    $d->begin_work;
    $d->do('INSERT INTO pl_tx VALUES (1)');
    $d->rollback;
    $d->begin_work;
    $d->do('INSERT INTO pl_tx VALUES (2)');
    $d->pg_savepoint('s');
    $d->do('INSERT INTO pl_tx VALUES (3)');
    $d->pg_rollback_to('s');
    $d->commit;
    join ',', map { @$_ } @{ $d->selectall_arrayref('SELECT n FROM pl_tx') };
};
item errors => sub { my $d = connected; eval { $d->do('SELECT * FROM nowhere') }; $d->state . $d->errstr };
item copy => sub {
    my $d = connected;
    $d->do('DROP TABLE IF EXISTS pl_copy');
    $d->do('CREATE TABLE pl_copy (n int)');
    $d->do('COPY pl_copy FROM STDIN');
    $d->pg_putcopydata("$_\n") for 1 .. 2000;
    $d->pg_putcopyend;
    $d->do('COPY pl_copy TO STDOUT');
    my ($line, $total) = ('', 0);
    $total += $line while $d->pg_getcopydata($line) >= 0;
    $total;
};
item notifications => sub {
    my ($one, $two) = (connected, connected);
    $one->do('LISTEN pl_channel');
    $two->do("NOTIFY pl_channel, 'hi'");
    for (1 .. 100) { my $n = $one->pg_notifies; return "$n->[0] $n->[2]" if $n; select undef, undef, undef, 0.1 }
    'nothing heard';
};
item last_insert_id => sub {
    my $d = connected;
    $d->do('DROP TABLE IF EXISTS pl_id');
    $d->do('CREATE TABLE pl_id (id serial, t text)');
    $d->do("INSERT INTO pl_id (t) VALUES ('x')");
    $d->last_insert_id(undef, undef, undef, undef, { sequence => "pl_id_id_seq" });
};
item asynchronous_queries => sub {
    my $d = connected;
    my $s = $d->prepare('SELECT pg_sleep(0.2), 7', { pg_async => DBD::Pg::PG_ASYNC() });
    $s->execute;
    $d->pg_result;
    ($s->fetchrow_array)[1];
};
item cancel => sub {
    my $d = connected;
    my $s = $d->prepare('SELECT pg_sleep(20)', { pg_async => DBD::Pg::PG_ASYNC() });
    $s->execute;
    select undef, undef, undef, 0.5;
    my $done = $d->pg_cancel ? 'cancelled' : 'too late';
    $done . ($d->selectrow_array('SELECT 1'))[0];
};
item large_objects => sub {
    my $d = connected;
    $d->begin_work;
    my $oid = $d->pg_lo_creat(DBD::Pg::PG_ASYNC() * 0 + $d->{pg_INV_WRITE} | $d->{pg_INV_READ});
    my $lo = $d->pg_lo_open($oid, $d->{pg_INV_WRITE} | $d->{pg_INV_READ});
    $d->pg_lo_write($lo, 'hello world', 11);
    $d->pg_lo_lseek($lo, 6, 0);
    my $text = '';
    $d->pg_lo_read($lo, $text, 5);
    $d->pg_lo_close($lo);
    $d->pg_lo_unlink($oid);
    $d->commit;
    $text;
};
item ping_and_status => sub { my $d = connected; join ',', $d->ping > 0, $d->state, $d->{pg_server_version} > 120000 };
item meta_data => sub {
    my $d = connected;
    $d->do('DROP TABLE IF EXISTS pl_meta');
    $d->do('CREATE TABLE pl_meta (a int PRIMARY KEY, b text)');
    my $columns = $d->column_info(undef, undef, 'pl_meta', undef)->fetchall_arrayref({});
    join ',', (map { $_->{COLUMN_NAME} } @$columns), $d->primary_key(undef, undef, 'pl_meta');
};
item bytes_and_arrays => sub {
    my $d = connected;
    my $s = $d->prepare('SELECT ?::bytea, ?::int[]');
    $s->bind_param(1, "\0\1\2", { pg_type => DBD::Pg::PG_BYTEA() });
    $s->bind_param(2, [1, 2, 3]);
    $s->execute;
    my ($bytes, $array) = $s->fetchrow_array;
    length($bytes) . join ',', @$array;
};
item temporary_tables => sub {
    my $d = connected;
    $d->do('CREATE TEMP TABLE pl_temp (n int)');
    $d->do('INSERT INTO pl_temp VALUES (?)', undef, $_) for 1 .. 5;
    ($d->selectrow_array('SELECT sum(n) FROM pl_temp'))[0];
};
item reads_follow_writes => sub {
    my ($one, $two) = (connected, connected);
    $one->do('DROP TABLE IF EXISTS pl_seen');
    $one->do('CREATE TABLE pl_seen (n int)');
    for my $n (1 .. 30) {
        $one->do('INSERT INTO pl_seen VALUES (?)', undef, $n);
        my ($seen) = $two->selectrow_array('SELECT max(n) FROM pl_seen');
        die "wrote $n, saw $seen" if $seen != $n;
    }
    'fresh';
};

sub line { print join("\t", map { my $f = $_ // ''; $f =~ s/[\t\n]/ /g; $f } @_), "\n" }
$| = 1;
if (@ARGV && $ARGV[0] eq '--list') { print "$_\n" for @names; exit }
my %wanted = map { $_ => 1 } @ARGV;
for my $name (@names) {
    next if %wanted && !$wanted{$name};
    line('run', $name);
    my $seen = eval { local $SIG{ALRM} = sub { die "no answer in time\n" }; alarm 30; my $v = $items{$name}->(); alarm 0; $v };
    alarm 0;
    $@ ? line('fail', $name, $@) : line('ok', $name, $seen);
}
