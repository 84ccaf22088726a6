"""The arguments of every command of Redis 7.0, as COMMAND DOCS tells them and `redis-cli` shows them while one types.

How they are written: syntax.py. An indented line goes on with the one before. A test compares them with redis-server's.
"""

from __future__ import annotations

from typing import Final

TABLE: Final = """
acl|cat categoryname?
acl|deluser username*
acl|dryrun username command arg?*
acl|genpass bits:i?
acl|getuser username
acl|log (operation: count:i | RESET)?
acl|setuser username rule?*
append key:k0 value
auth username? password
bgsave SCHEDULE?
bitcount key:k0 {index: start:i end:i (index_unit: BYTE | BIT)?}?
bitfield key:k0 (operation: GET={encoding_offset: encoding offset:i} | {write: OVERFLOW=(wrap_sat_fail: WRAP | SAT |
    FAIL)? (write_operation: SET={encoding_offset_value: encoding offset:i value:i} |
    INCRBY={encoding_offset_increment: encoding offset:i increment:i})})?*
bitfield_ro key:k0 GET={encoding_offset: encoding offset:i}?*+
bitop operation destkey:k0 key:k1*
bitpos key:k0 bit:i {index: start:i {end_index: end:i (index_unit: BYTE | BIT)?}?}?
blmove source:k0 destination:k1 (wherefrom: LEFT | RIGHT) (whereto: LEFT | RIGHT) timeout:d
blmpop timeout:d numkeys:i key:k0* (where: LEFT | RIGHT) COUNT=count:i?
blpop key:k0* timeout:d
brpop key:k0* timeout:d
brpoplpush source:k0 destination:k1 timeout:d
bzmpop timeout:d numkeys:i key:k0* (where: MIN | MAX) COUNT=count:i?
bzpopmax key:k0* timeout:d
bzpopmin key:k0* timeout:d
client|caching (mode: YES | NO)
client|kill (filter: ip:port | (new-format: ID=client-id:i? | TYPE=(normal_master_slave_pubsub: NORMAL | MASTER |
    SLAVE | REPLICA | PUBSUB)? | USER=username? | ADDR=ip:port? | LADDR=ip:port? | SKIPME=yes/no?)*)
client|list TYPE=(normal_master_replica_pubsub: NORMAL | MASTER | REPLICA | PUBSUB)? ID={id: client-id:i*}?
client|no-evict (enabled: ON | OFF)
client|no-touch (enabled: ON | OFF)
client|pause timeout:i (mode: WRITE | ALL)?
client|reply (on_off_skip: ON | OFF | SKIP)
client|setinfo (attr: LIB-NAME=libname | LIB-VER=libver)
client|setname connection-name
client|tracking (status: ON | OFF) REDIRECT=client-id:i? PREFIX=prefix?*+ BCAST? OPTIN? OPTOUT? NOLOOP?
client|unblock client-id:i (timeout_error: TIMEOUT | ERROR)?
cluster|addslots slot:i*
cluster|addslotsrange {start-slot_end-slot: start-slot:i end-slot:i}*
cluster|count-failure-reports node-id
cluster|countkeysinslot slot:i
cluster|delslots slot:i*
cluster|delslotsrange {start-slot_end-slot: start-slot:i end-slot:i}*
cluster|failover (options: FORCE | TAKEOVER)?
cluster|forget node-id
cluster|getkeysinslot slot:i count:i
cluster|keyslot key
cluster|meet ip port:i cluster_bus_port:i?
cluster|replicas node-id
cluster|replicate node-id
cluster|reset (hard_soft: HARD | SOFT)?
cluster|set-config-epoch config-epoch:i
cluster|setslot slot:i (subcommand: IMPORTING=node-id | MIGRATING=node-id | NODE=node-id | STABLE)
cluster|slaves node-id
command|docs command-name?*
command|info command-name?*
command|list FILTERBY=(filterby: MODULE=module-name | ACLCAT=category | PATTERN=pattern:p)?
config|get {parameter: parameter}*
config|set {parameter_value: parameter value}*
copy source:k0 destination:k1 DB=destination-db:i? REPLACE?
decr key:k0
decrby key:k0 decrement:i
del key:k0*
dump key:k0
echo message
eval script numkeys:i key:k0?* arg?*
eval_ro script numkeys:i key:k0?* arg?*
evalsha sha1 numkeys:i key:k0?* arg?*
evalsha_ro sha1 numkeys:i key:k0?* arg?*
exists key:k0*
expire key:k0 seconds:i (condition: NX | XX | GT | LT)?
expireat key:k0 unix-time-seconds:u (condition: NX | XX | GT | LT)?
expiretime key:k0
failover TO={target: host port:i FORCE?}? ABORT? TIMEOUT=milliseconds:i?
fcall function numkeys:i key:k0?* arg?*
fcall_ro function numkeys:i key:k0?* arg?*
flin.delrange start stop
flin.range start stop REV? LIMIT=limit:i? KEYS?
flin.txn IF=(compare: VALUE={value_of: key relation value} | EXISTS={exists_of: key exists:i} |
    EXPIRES={expiry_of: key relation expires-at-ms:i})?*+ THEN={then: words:i command arg?*}?*+
    ELSE={else: words:i command arg?*}?*+
flin.watch prefix* SINCE=sequence:i?
flushall (async: ASYNC | SYNC)?
flushdb (async: ASYNC | SYNC)?
function|delete library-name
function|flush (async: ASYNC | SYNC)?
function|list LIBRARYNAME=library-name-pattern? WITHCODE?
function|load REPLACE? function-code
function|restore serialized-value (policy: FLUSH | APPEND | REPLACE)?
geoadd key:k0 (condition: NX | XX)? change!CH? {longitude_latitude_member: longitude:d latitude:d member}*
geodist key:k0 member1 member2 (unit: M | KM | FT | MI)?
geohash key:k0 member*
geopos key:k0 member*
georadius key:k0 longitude:d latitude:d radius:d (unit: M | KM | FT | MI) WITHCOORD? WITHDIST? WITHHASH? {count:
    COUNT=count:i ANY?}? (order: ASC | DESC)? STORE=key:k1? STOREDIST=key:k2?
georadius_ro key:k0 longitude:d latitude:d radius:d (unit: M | KM | FT | MI) WITHCOORD? WITHDIST? WITHHASH? {count:
    COUNT=count:i ANY?}? (order: ASC | DESC)?
georadiusbymember key:k0 member radius:d (unit: M | KM | FT | MI) WITHCOORD? WITHDIST? WITHHASH? {count: COUNT=count:i
    ANY?}? (order: ASC | DESC)? STORE=key:k1? STOREDIST=key:k2?
georadiusbymember_ro key:k0 member radius:d (unit: M | KM | FT | MI) WITHCOORD? WITHDIST? WITHHASH? {count:
    COUNT=count:i ANY?}? (order: ASC | DESC)?
geosearch key:k0 (from: FROMMEMBER=member | FROMLONLAT={longitude_latitude: longitude:d latitude:d}) (by: {circle:
    BYRADIUS=radius:d (unit: M | KM | FT | MI)} | {box: BYBOX=width:d height:d (unit: M | KM | FT | MI)}) (order: ASC
    | DESC)? {count: COUNT=count:i ANY?}? WITHCOORD? WITHDIST? WITHHASH?
geosearchstore destination:k0 source:k1 (from: FROMMEMBER=member | FROMLONLAT={longitude_latitude: longitude:d
    latitude:d}) (by: {circle: BYRADIUS=radius:d (unit: M | KM | FT | MI)} | {box: BYBOX=width:d height:d (unit: M |
    KM | FT | MI)}) (order: ASC | DESC)? {count: COUNT=count:i ANY?}? STOREDIST?
get key:k0
getbit key:k0 offset:i
getdel key:k0
getex key:k0 (expiration: EX=seconds:i | PX=milliseconds:i | EXAT=unix-time-seconds:u | PXAT=unix-time-milliseconds:u
    | PERSIST)?
getrange key:k0 start:i end:i
getset key:k0 value
hdel key:k0 field*
hello {arguments: protover:i AUTH={username_password: username password}? SETNAME=clientname?}?
hexists key:k0 field
hget key:k0 field
hgetall key:k0
hincrby key:k0 field increment:i
hincrbyfloat key:k0 field increment:d
hkeys key:k0
hlen key:k0
hmget key:k0 field*
hmset key:k0 {field_value: field value}*
hrandfield key:k0 {options: count:i WITHVALUES?}?
hscan key:k0 cursor:i MATCH=pattern:p? COUNT=count:i?
hset key:k0 {field_value: field value}*
hsetnx key:k0 field value
hstrlen key:k0 field
hvals key:k0
incr key:k0
incrby key:k0 increment:i
incrbyfloat key:k0 increment:d
info section?*
keys pattern:p
latency|graph event
latency|histogram command?*
latency|history event
latency|reset event?*
lcs key1:k0 key2:k0 LEN? IDX? MINMATCHLEN=len:i? WITHMATCHLEN?
lindex key:k0 index:i
linsert key:k0 (where: BEFORE | AFTER) pivot element
llen key:k0
lmove source:k0 destination:k1 (wherefrom: LEFT | RIGHT) (whereto: LEFT | RIGHT)
lmpop numkeys:i key:k0* (where: LEFT | RIGHT) COUNT=count:i?
lolwut VERSION=version:i?
lpop key:k0 count:i?
lpos key:k0 element RANK=rank:i? COUNT=num-matches:i? MAXLEN=len:i?
lpush key:k0 element*
lpushx key:k0 element*
lrange key:k0 start:i stop:i
lrem key:k0 count:i element
lset key:k0 index:i element
ltrim key:k0 start:i stop:i
memory|usage key:k0 SAMPLES=count:i?
mget key:k0*
migrate host port:i (key_or_empty_string: key:k0 | empty_string!"") destination-db:i timeout:i COPY? REPLACE?
    (authentication: AUTH=password? | AUTH2={username_password: username password}?)? KEYS=key:k1?*
module|load path arg?*
module|loadex path CONFIG={configs: name value}?*+ ARGS={args: arg}?*
module|unload name
move key:k0 db:i
mset {key_value: key:k0 value}*
msetnx {key_value: key:k0 value}*
object|encoding key:k0
object|freq key:k0
object|idletime key:k0
object|refcount key:k0
persist key:k0
pexpire key:k0 milliseconds:i (condition: NX | XX | GT | LT)?
pexpireat key:k0 unix-time-milliseconds:u (condition: NX | XX | GT | LT)?
pexpiretime key:k0
pfadd key:k0 element?*
pfcount key:k0*
pfdebug subcommand key:k0
pfmerge destkey:k0 sourcekey:k1*
ping message?
psetex key:k0 milliseconds:i value
psubscribe {pattern: pattern:p}*
psync replicationid offset:i
pttl key:k0
publish channel message
pubsub|channels pattern:p?
pubsub|numsub channel?*
pubsub|shardchannels pattern:p?
pubsub|shardnumsub shardchannel?*
punsubscribe pattern:p?*
rename key:k0 newkey:k1
renamenx key:k0 newkey:k1
replicaof (args: {host-port: host port:i} | {no-one: NO ONE})
restore key:k0 ttl:i serialized-value REPLACE? ABSTTL? IDLETIME=seconds:i? FREQ=frequency:i?
restore-asking key:k0 ttl:i serialized-value REPLACE? ABSTTL? IDLETIME=seconds:i? FREQ=frequency:i?
rpop key:k0 count:i?
rpoplpush source:k0 destination:k1
rpush key:k0 element*
rpushx key:k0 element*
sadd key:k0 member*
scan cursor:i MATCH=pattern:p? COUNT=count:i? TYPE=type?
scard key:k0
script|debug (mode: YES | SYNC | NO)
script|exists sha1*
script|flush (async: ASYNC | SYNC)?
script|load script
sdiff key:k0*
sdiffstore destination:k0 key:k1*
select index:i
set key:k0 value (condition: NX | XX)? GET? (expiration: EX=seconds:i | PX=milliseconds:i | EXAT=unix-time-seconds:u |
    PXAT=unix-time-milliseconds:u | KEEPTTL)?
setbit key:k0 offset:i value:i
setex key:k0 seconds:i value
setnx key:k0 value
setrange key:k0 offset:i value
shutdown (nosave_save: NOSAVE | SAVE)? NOW? FORCE? ABORT?
sinter key:k0*
sintercard numkeys:i key:k0* LIMIT=limit:i?
sinterstore destination:k0 key:k1*
sismember key:k0 member
slaveof (args: {host-port: host port:i} | {no-one: NO ONE})
slowlog|get count:i?
smembers key:k0
smismember key:k0 member*
smove source:k0 destination:k1 member
sort key:k0 BY=pattern:p1? LIMIT={offset_count: offset:i count:i}? GET=pattern:p1?*+ (order: ASC | DESC)?
    sorting!ALPHA? STORE=destination:k2?
sort_ro key:k0 BY=pattern:p1? LIMIT={offset_count: offset:i count:i}? GET=pattern:p1?*+ (order: ASC | DESC)?
    sorting!ALPHA?
spop key:k0 count:i?
spublish shardchannel message
srandmember key:k0 count:i?
srem key:k0 member*
sscan key:k0 cursor:i MATCH=pattern:p? COUNT=count:i?
ssubscribe shardchannel*
strlen key:k0
subscribe channel*
substr key:k0 start:i end:i
sunion key:k0*
sunionstore destination:k0 key:k1*
sunsubscribe shardchannel?*
swapdb index1:i index2:i
touch key:k0*
ttl key:k0
type key:k0
unlink key:k0*
unsubscribe channel?*
wait numreplicas:i timeout:i
watch key:k0*
xack key:k0 group id*
xadd key:k0 NOMKSTREAM? {trim: (strategy: MAXLEN | MINID) (operator: equal!"=" | approximately!"~")? threshold
    LIMIT=count:i?}? (id_or_auto: auto_id!"*" | id) {field_value: field value}*
xautoclaim key:k0 group consumer min-idle-time start COUNT=count:i? JUSTID?
xclaim key:k0 group consumer min-idle-time id* IDLE=ms:i? TIME=unix-time-milliseconds:u? RETRYCOUNT=count:i? FORCE?
    JUSTID? LASTID=id?
xdel key:k0 id*
xgroup|create key:k0 groupname (id: id | new_id!"$") MKSTREAM? ENTRIESREAD=entries_read:i?
xgroup|createconsumer key:k0 groupname consumername
xgroup|delconsumer key:k0 groupname consumername
xgroup|destroy key:k0 groupname
xgroup|setid key:k0 groupname (id: id | new_id!"$") ENTRIESREAD=entries_read:i?
xinfo|consumers key:k0 groupname
xinfo|groups key:k0
xinfo|stream key:k0 FULL={full: COUNT=count:i?}?
xlen key:k0
xpending key:k0 group {filters: IDLE=min-idle-time:i? start end count:i consumer?}?
xrange key:k0 start end COUNT=count:i?
xread COUNT=count:i? BLOCK=milliseconds:i? STREAMS={streams: key:k0* id*}
xreadgroup GROUP={group_consumer: group consumer} COUNT=count:i? BLOCK=milliseconds:i? NOACK? STREAMS={streams:
    key:k0* id*}
xrevrange key:k0 end start COUNT=count:i?
xsetid key:k0 last-id ENTRIESADDED=entries_added:i? MAXDELETEDID=max_deleted_entry_id?
xtrim key:k0 {trim: (strategy: MAXLEN | MINID) (operator: equal!"=" | approximately!"~")? threshold LIMIT=count:i?}
zadd key:k0 (condition: NX | XX)? (comparison: GT | LT)? change!CH? increment!INCR? {score_member: score:d member}*
zcard key:k0
zcount key:k0 min:d max:d
zdiff numkeys:i key:k0* WITHSCORES?
zdiffstore destination:k0 numkeys:i key:k1*
zincrby key:k0 increment:i member
zinter numkeys:i key:k0* WEIGHTS=weight:i?* AGGREGATE=(aggregate: SUM | MIN | MAX)? WITHSCORES?
zintercard numkeys:i key:k0* LIMIT=limit:i?
zinterstore destination:k0 numkeys:i key:k1* WEIGHTS=weight:i?* AGGREGATE=(aggregate: SUM | MIN | MAX)?
zlexcount key:k0 min max
zmpop numkeys:i key:k0* (where: MIN | MAX) COUNT=count:i?
zmscore key:k0 member*
zpopmax key:k0 count:i?
zpopmin key:k0 count:i?
zrandmember key:k0 {options: count:i WITHSCORES?}?
zrange key:k0 start stop (sortby: BYSCORE | BYLEX)? REV? LIMIT={offset_count: offset:i count:i}? WITHSCORES?
zrangebylex key:k0 min max LIMIT={offset_count: offset:i count:i}?
zrangebyscore key:k0 min:d max:d WITHSCORES? LIMIT={offset_count: offset:i count:i}?
zrangestore dst:k0 src:k1 min max (sortby: BYSCORE | BYLEX)? REV? LIMIT={offset_count: offset:i count:i}?
zrank key:k0 member
zrem key:k0 member*
zremrangebylex key:k0 min max
zremrangebyrank key:k0 start:i stop:i
zremrangebyscore key:k0 min:d max:d
zrevrange key:k0 start:i stop:i WITHSCORES?
zrevrangebylex key:k0 max min LIMIT={offset_count: offset:i count:i}?
zrevrangebyscore key:k0 max:d min:d WITHSCORES? LIMIT={offset_count: offset:i count:i}?
zrevrank key:k0 member
zscan key:k0 cursor:i MATCH=pattern:p? COUNT=count:i?
zscore key:k0 member
zunion numkeys:i key:k0* WEIGHTS=weight:i?* AGGREGATE=(aggregate: SUM | MIN | MAX)? WITHSCORES?
zunionstore destination:k0 numkeys:i key:k1* WEIGHTS=weight:i?* AGGREGATE=(aggregate: SUM | MIN | MAX)?
"""
