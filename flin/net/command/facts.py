"""Facts about commands that do not affect how they run: since which Redis each exists, and what its time depends on.

COMMAND DOCS and the reference (`docs/commands.md`) read them. A test compares the table with the registry.
"""

from __future__ import annotations

from typing import Final, NamedTuple


class Facts(NamedTuple):
    since: str
    """The first version of Redis that has it; of Flin, for a command of its own."""
    complexity: str


# One command or subcommand per line: its name, since which Redis it exists, its time.
_TABLE: Final = """
acl 6.0.0 Depends on subcommand.
acl|cat 6.0.0 O(1) since the categories and commands are a fixed set
acl|deluser 6.0.0 O(1) amortized time considering the typical user
acl|dryrun 7.0.0 O(1)
acl|genpass 6.0.0 O(1)
acl|getuser 6.0.0 O(N) where N is the number of rules of the user
acl|help 6.0.0 O(1)
acl|list 6.0.0 O(N) where N is the number of users
acl|load 6.0.0 O(N) where N is the number of users
acl|log 6.0.0 O(N) where N is the number of entries shown
acl|save 6.0.0 O(N) where N is the number of users
acl|setuser 6.0.0 O(N) where N is the number of rules given
acl|users 6.0.0 O(N) where N is the number of users
acl|whoami 6.0.0 O(1)
append 2.0.0 O(N) for a string of N bytes
asking 3.0.0 O(1)
auth 1.0.0 O(N) where N is the number of passwords defined for the user
bgrewriteaof 1.0.0 O(N) in the background, for the size of the database
bgsave 1.0.0 O(N) in the background, for the bytes of the log that are not durable yet
bitcount 2.6.0 O(N)
bitfield 3.2.0 O(N) for a string of N bytes, O(1) for each operation
bitfield_ro 6.0.0 O(1) for each operation
bitop 2.6.0 O(N) for the bytes of all strings
bitpos 2.8.7 O(N)
blmove 6.2.0 O(1)
blmpop 7.0.0 O(N+M) for N keys and M elements returned
blpop 2.0.0 O(N) for N keys
brpop 2.0.0 O(N) for N keys
brpoplpush 2.2.0 O(1)
bzmpop 7.0.0 O(K+N) for K keys and N members returned
bzpopmax 5.0.0 O(K) for K keys
bzpopmin 5.0.0 O(K) for K keys
client 2.4.0 Depends on subcommand.
client|caching 6.0.0 O(1)
client|getname 2.6.9 O(1)
client|getredir 6.0.0 O(1)
client|help 5.0.0 O(1)
client|id 5.0.0 O(1)
client|info 6.2.0 O(1)
client|kill 2.4.0 O(N) where N is the number of client connections
client|list 2.4.0 O(N) where N is the number of client connections
client|no-evict 7.0.0 O(1)
client|no-touch 7.2.0 O(1)
client|pause 2.9.50 O(1)
client|reply 3.2.0 O(1)
client|setinfo 7.2.0 O(1)
client|setname 2.6.9 O(1)
client|tracking 6.0.0 O(1), some options may be slower
client|trackinginfo 6.2.0 O(1)
client|unblock 5.0.0 O(1)
client|unpause 6.2.0 O(N) where N is the number of requests that wait
cluster 3.0.0 Depends on subcommand.
cluster|addslots 3.0.0 O(1)
cluster|addslotsrange 7.0.0 O(1)
cluster|bumpepoch 3.0.0 O(1)
cluster|count-failure-reports 3.0.0 O(1)
cluster|countkeysinslot 3.0.0 O(1)
cluster|delslots 3.0.0 O(1)
cluster|delslotsrange 7.0.0 O(1)
cluster|failover 3.0.0 O(1)
cluster|flushslots 3.0.0 O(1)
cluster|forget 3.0.0 O(1)
cluster|getkeysinslot 3.0.0 O(1)
cluster|help 5.0.0 O(1)
cluster|info 3.0.0 O(1)
cluster|keyslot 3.0.0 O(1)
cluster|links 7.0.0 O(1)
cluster|meet 3.0.0 O(1)
cluster|myid 3.0.0 O(1)
cluster|nodes 3.0.0 O(1)
cluster|replicas 5.0.0 O(1)
cluster|replicate 3.0.0 O(1)
cluster|reset 3.0.0 O(1)
cluster|saveconfig 3.0.0 O(1)
cluster|set-config-epoch 3.0.0 O(1)
cluster|setslot 3.0.0 O(1)
cluster|shards 7.0.0 O(1)
cluster|slaves 3.0.0 O(1)
cluster|slots 3.0.0 O(1)
command 2.8.13 Depends on subcommand.
command|count 2.8.13 O(1)
command|docs 7.0.0 O(N) where N is the number of commands to look up
command|getkeys 2.8.13 O(N) where N is the number of arguments to the command
command|getkeysandflags 7.0.0 O(N) where N is the number of arguments to the command
command|help 5.0.0 O(1)
command|info 2.8.13 O(N) where N is the number of commands to look up
command|list 7.0.0 O(N) where N is the total number of commands
config 2.0.0 Depends on subcommand.
config|get 2.0.0 O(N) when N is the number of configuration parameters provided
config|help 5.0.0 O(1)
config|resetstat 2.0.0 O(1)
config|rewrite 2.8.0 O(N) for the size of the file
config|set 2.0.0 O(N) when N is the number of configuration parameters provided
copy 6.2.0 O(1)
dbsize 1.0.0 O(1), after writes at most what no merge has counted, once
debug 1.0.0 Depends on subcommand.
decr 1.0.0 O(1)
decrby 1.0.0 O(1)
del 1.0.0 O(N) for N keys
discard 2.0.0 O(N) for N queued requests
dump 2.6.0 O(N) for a value of N bytes
echo 1.0.0 O(1)
eval 2.6.0 Depends on the script that is executed.
eval_ro 7.0.0 Depends on the script that is executed.
evalsha 2.6.0 Depends on the script that is executed.
evalsha_ro 7.0.0 Depends on the script that is executed.
exec 1.2.0 Depends on the queued commands
exists 1.0.0 O(N) for N keys
expire 1.0.0 O(1)
expireat 1.2.0 O(1)
expiretime 7.0.0 O(1)
failover 6.2.0 O(1)
fcall 7.0.0 Depends on the function that is executed.
fcall_ro 7.0.0 Depends on the function that is executed.
flin.check 0.1.0 O(N) in a thread, for the bytes of all files
flin.delrange 0.1.0 O(1): one range delete
flin.range 0.1.0 O(N) where N is the number of keys of the page
flin.stats 0.1.0 O(N) where N is the number of tables
flin.txn 0.1.0 Depends on the requests that run.
flin.watch 0.1.0 O(N) where N is the number of changes since the sequence
flushall 1.0.0 O(1): the store begins a new version
flushdb 1.0.0 O(1): one range delete
function 7.0.0 Depends on subcommand.
function|delete 7.0.0 O(N) for a library of N functions
function|dump 7.0.0 O(N) for libraries of N bytes
function|flush 7.0.0 O(N) for N libraries
function|help 7.0.0 O(1)
function|kill 7.0.0 O(1)
function|list 7.0.0 O(N) for N functions
function|load 7.0.0 O(1), and what the library does
function|restore 7.0.0 O(N) for N functions
function|stats 7.0.0 O(1)
geoadd 3.2.0 O(N*log(M)) for N members named and M in the sorted set
geodist 3.2.0 O(1)
geohash 3.2.0 O(1) for each member
geopos 3.2.0 O(1) for each member
georadius 3.2.0 O(N+M*log(M)) for N members in the boxes around, and M found
georadius_ro 3.2.10 O(N+M*log(M)) for N members in the boxes around, and M found
georadiusbymember 3.2.0 O(N+M*log(M)) for N members in the boxes around, and M found
georadiusbymember_ro 3.2.10 O(N+M*log(M)) for N members in the boxes around, and M found
geosearch 6.2.0 O(N+M*log(M)) for N members in the boxes around, and M found
geosearchstore 6.2.0 O(N+M*log(M)) for N members in the boxes around, and M stored
get 1.0.0 O(1)
getbit 2.2.0 O(1)
getdel 6.2.0 O(1)
getex 6.2.0 O(1)
getrange 2.4.0 O(N) for N bytes returned
getset 1.0.0 O(1)
hdel 2.0.0 O(N) for N fields
hello 6.0.0 O(1)
hexists 2.0.0 O(1)
hget 2.0.0 O(1)
hgetall 2.0.0 O(N) for a hash of N fields
hincrby 2.0.0 O(1)
hincrbyfloat 2.6.0 O(1)
hkeys 2.0.0 O(N) for a hash of N fields
hlen 2.0.0 O(1)
hmget 2.0.0 O(N) for N fields
hmset 2.0.0 O(N) for N fields
hrandfield 6.2.0 O(N) for N fields returned, or in the hash where more than 16 are asked for
hscan 2.8.0 O(1) per call, O(N) for a whole scan of N fields
hset 2.0.0 O(N) for N fields
hsetnx 2.0.0 O(1)
hstrlen 3.2.0 O(1)
hvals 2.0.0 O(N) for a hash of N fields
incr 1.0.0 O(1)
incrby 1.0.0 O(1)
incrbyfloat 2.6.0 O(1)
info 1.0.0 O(1)
keys 1.0.0 O(N) for N keys with the pattern's literal prefix
lastsave 1.0.0 O(1)
latency 2.8.13 Depends on subcommand.
latency|doctor 2.8.13 O(1)
latency|graph 2.8.13 O(1)
latency|help 2.8.13 O(1)
latency|histogram 7.0.0 O(N) where N is the number of commands with latency information being retrieved
latency|history 2.8.13 O(1)
latency|latest 2.8.13 O(1)
latency|reset 2.8.13 O(1)
lcs 7.0.0 O(N*M) for strings of N and M bytes
lindex 1.0.0 O(1); O(log N) after LINSERT, or LREM in the middle
linsert 2.2.0 O(N) for N elements up to the pivot
llen 1.0.0 O(1)
lmove 6.2.0 O(1)
lmpop 7.0.0 O(N+M) for N keys and M elements returned
lolwut 5.0.0 O(1)
lpop 1.0.0 O(N) for N elements returned
lpos 6.0.6 O(N) for N elements compared
lpush 1.0.0 O(N) for N elements
lpushx 2.2.0 O(N) for N elements
lrange 1.0.0 O(N) for N elements returned
lrem 1.0.0 O(N) for N elements compared
lset 1.0.0 O(1); O(log N) after LINSERT, or LREM in the middle
ltrim 1.0.0 O(N) for the fewer of those that stay and those that go
memory 4.0.0 Depends on subcommand.
memory|doctor 4.0.0 O(1)
memory|help 4.0.0 O(1)
memory|malloc-stats 4.0.0 O(1)
memory|purge 4.0.0 Depends on how much memory is allocated, could be slow
memory|stats 4.0.0 O(N) to count the keys, if that is not known
memory|usage 4.0.0 O(N) where N is the number of samples
mget 1.0.0 O(N) for N keys
module 4.0.0 Depends on subcommand.
module|help 5.0.0 O(1)
module|list 4.0.0 O(N) where N is the number of loaded modules
module|load 4.0.0 O(1)
module|loadex 7.0.0 O(1)
module|unload 4.0.0 O(1)
monitor 1.0.0 O(1)
move 1.0.0 O(1)
mset 1.0.1 O(N) for N keys
msetnx 1.0.1 O(N) for N keys
multi 1.2.0 O(1)
object 2.2.3 Depends on subcommand.
object|encoding 2.2.3 O(1)
object|freq 4.0.0 O(1)
object|help 6.2.0 O(1)
object|idletime 2.2.3 O(1)
object|refcount 2.2.3 O(1)
persist 2.2.0 O(1)
pexpire 2.6.0 O(1)
pexpireat 2.6.0 O(1)
pexpiretime 7.0.0 O(1)
pfadd 2.8.9 O(1) for each element, and for the string of at most 12 KB
pfcount 2.8.9 O(1) for one key, much less while its count is cached; O(N) for N keys
pfdebug 2.8.9 O(1)
pfmerge 2.8.9 O(N) for N keys
pfselftest 2.8.9 O(1): some 300 ms
ping 1.0.0 O(1)
psetex 2.6.0 O(1)
psubscribe 2.0.0 O(N) where N is the number of patterns
psync 2.8.0 O(1)
pttl 2.6.0 O(1)
publish 2.0.0 O(N+M) for N clients subscribed to the channel and M patterns with a matching prefix
pubsub 2.8.0 Depends on subcommand.
pubsub|channels 2.8.0 O(N) where N is the number of channels with subscribers
pubsub|help 6.2.0 O(1)
pubsub|numpat 2.8.0 O(1)
pubsub|numsub 2.8.0 O(N) for N channels
pubsub|shardchannels 7.0.0 O(N) where N is the number of sharded channels with subscribers
pubsub|shardnumsub 7.0.0 O(N) for N channels
punsubscribe 2.0.0 O(N) where N is the number of patterns
quit 1.0.0 O(1)
randomkey 1.0.0 O(N) for N keys
readonly 3.0.0 O(1)
readwrite 3.0.0 O(1)
rename 1.0.0 O(1)
renamenx 1.0.0 O(1)
replconf 3.0.0 O(1)
replicaof 5.0.0 O(1)
reset 6.2.0 O(1)
restore 2.6.0 O(N) for a value of N bytes
role 2.8.12 O(1)
rpop 1.0.0 O(N) for N elements returned
rpoplpush 1.2.0 O(1)
rpush 1.0.0 O(N) for N elements
rpushx 2.2.0 O(N) for N elements
sadd 1.0.0 O(N) for N members
save 1.0.0 O(N) for the bytes of the log that are not durable yet
scan 2.8.0 O(1) per call, O(N) for a whole scan of N keys
scard 1.0.0 O(1)
script 2.6.0 Depends on subcommand.
script|debug 3.2.0 O(1)
script|exists 2.6.0 O(N) with N being the number of scripts to check (so checking a single script is an O(1) operation).
script|flush 2.6.0 O(N) with N being the number of scripts in cache
script|help 5.0.0 O(1)
script|kill 2.6.0 O(1)
script|load 2.6.0 O(N) with N being the length in bytes of the script body.
sdiff 1.0.0 O(N*M) for N members in the first set and M other sets
sdiffstore 1.0.0 O(N*M) for N members in the first set and M other sets
select 1.0.0 O(1)
set 1.0.0 O(1)
setbit 2.2.0 O(1); O(N) for a string of N bytes up to 16 KiB, or that SET has made
setex 2.0.0 O(1)
setnx 1.0.0 O(1)
setrange 2.2.0 O(N) for a string of N bytes
shutdown 1.0.0 O(N) where N is what the memtables hold
sinter 1.0.0 O(N*M) for N members in the smallest of M sets
sintercard 7.0.0 O(N*M) for N members in the smallest of M sets
sinterstore 1.0.0 O(N*M) for N members in the smallest of M sets
sismember 1.0.0 O(1)
slaveof 1.0.0 O(1)
slowlog 2.2.12 Depends on subcommand.
slowlog|get 2.2.12 O(N) where N is the number of entries returned
slowlog|help 6.2.0 O(1)
slowlog|len 2.2.12 O(1)
slowlog|reset 2.2.12 O(N) where N is the number of entries in the slowlog
smembers 1.0.0 O(N) for a set of N members
smismember 6.2.0 O(N) for N members
smove 1.0.0 O(1)
sort 1.0.0 O(N*log(N)) for N elements
sort_ro 7.0.0 O(N*log(N)) for N elements
spop 1.0.0 O(N) for N members returned, or in the set where many are asked for
spublish 7.0.0 O(N) where N is the number of clients subscribed to the channel
srandmember 1.0.0 O(N) for N members returned, or in the set where more than 16 are asked for
srem 1.0.0 O(N) for N members
sscan 2.8.0 O(1) per call, O(N) for a whole scan of N members
ssubscribe 7.0.0 O(N) where N is the number of channels
strlen 2.2.0 O(1)
subscribe 2.0.0 O(N) where N is the number of channels
substr 1.0.0 O(N) for N bytes returned
sunion 1.0.0 O(N) for N members in all sets
sunionstore 1.0.0 O(N) for N members in all sets
sunsubscribe 7.0.0 O(N) where N is the number of channels
swapdb 4.0.0 O(N) for N watched keys of both
sync 1.0.0 O(1)
time 2.6.0 O(1)
touch 3.2.1 O(N) for N keys
ttl 1.0.0 O(1)
type 1.0.0 O(1)
unlink 4.0.0 O(N) for N keys
unsubscribe 2.0.0 O(N) where N is the number of channels
unwatch 2.2.0 O(1)
wait 3.0.0 O(1)
watch 2.2.0 O(N) for N keys
xack 5.0.0 O(1) for each id
xadd 5.0.0 O(1) when adding a new entry, O(N) when trimming N entries
xautoclaim 6.2.0 O(1) if COUNT is small
xclaim 5.0.0 O(log N) with N entries pending in the group
xdel 5.0.0 O(1) for each entry
xgroup 5.0.0 Depends on subcommand.
xgroup|create 5.0.0 O(1)
xgroup|createconsumer 6.2.0 O(1)
xgroup|delconsumer 5.0.0 O(N) for N entries pending for it
xgroup|destroy 5.0.0 O(N) for N entries pending in the group
xgroup|help 5.0.0 O(1)
xgroup|setid 5.0.0 O(1)
xinfo 5.0.0 Depends on subcommand.
xinfo|consumers 5.0.0 O(N) for N consumers
xinfo|groups 5.0.0 O(N) for N groups
xinfo|help 5.0.0 O(1)
xinfo|stream 5.0.0 O(1); with FULL O(N) for N entries shown
xlen 5.0.0 O(1)
xpending 5.0.0 O(N) for N entries returned, or for N entries looked at with IDLE
xrange 5.0.0 O(N) for N entries returned
xread 5.0.0 O(N) for N entries returned
xreadgroup 5.0.0 O(N) for N entries returned
xrevrange 5.0.0 O(N) for N entries returned
xsetid 5.0.0 O(1)
xtrim 5.0.0 O(N) for N entries deleted
zadd 1.2.0 O(N*log(M)) for N members named and M in the sorted set
zcard 1.2.0 O(1)
zcount 2.0.0 O(log(N)) for N members
zdiff 6.2.0 O(N*M) for N members in the first sorted set and M others
zdiffstore 6.2.0 O(N*M) for N members in the first sorted set and M others
zincrby 1.2.0 O(log(N)) for N members
zinter 6.2.0 O(N*M) for N members in the smallest of M sorted sets
zintercard 7.0.0 O(N*M) for N members in the smallest of M sorted sets
zinterstore 2.0.0 O(N*M) for N members in the smallest of M sorted sets
zlexcount 2.8.9 O(log(N)) for N members
zmpop 7.0.0 O(K+N) for K keys and N members returned
zmscore 6.2.0 O(N) for N members named
zpopmax 5.0.0 O(N) for N members returned
zpopmin 5.0.0 O(N) for N members returned
zrandmember 6.2.0 O(N) for N members returned, or in the sorted set where more than 16 are asked for
zrange 1.2.0 O(log(N)+M) for N members, and M returned
zrangebylex 2.8.9 O(log(N)+M) for N members, and M returned
zrangebyscore 1.0.5 O(log(N)+M) for N members, and M returned
zrangestore 6.2.0 O(log(N)+M) for N members, and M stored
zrank 2.0.0 O(log(N)) for N members
zrem 1.2.0 O(N*log(M)) for N members named and M in the sorted set
zremrangebylex 2.8.9 O(log(N)+M) for N members, and M removed
zremrangebyrank 2.0.0 O(log(N)+M) for N members, and M removed
zremrangebyscore 1.2.0 O(log(N)+M) for N members, and M removed
zrevrange 1.2.0 O(log(N)+M) for N members, and M returned
zrevrangebylex 2.8.9 O(log(N)+M) for N members, and M returned
zrevrangebyscore 2.2.0 O(log(N)+M) for N members, and M returned
zrevrank 2.0.0 O(log(N)) for N members
zscan 2.8.0 O(1) per call, O(N) for a whole scan of N members
zscore 1.2.0 O(1)
zunion 6.2.0 O(N*log(N)) for N members in all sorted sets
zunionstore 2.0.0 O(N*log(N)) for N members in all sorted sets
"""


def _parsed(table: str) -> dict[str, Facts]:
    rows = (line.split(" ", 2) for line in table.strip().splitlines())
    return {name: Facts(since, complexity) for name, since, complexity in rows}


FACTS: Final = _parsed(_TABLE)
"""The facts by name, as in the registry ("client|id")."""
