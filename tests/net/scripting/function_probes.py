"""Requests about functions whose replies must be those of redis-server, in this order."""

from __future__ import annotations

from typing import Final

REQUESTS: Final[list[list[bytes]]] = [
    [b"function", b"load", b'#!lua name=L\nlocal x = redis.call("get","a")'],
    [b"function", b"load", b"#!lua name=L\nreturn 1"],
    [b"function", b"load", b"#!lua name=L\n(lambda *a:0)(1)"],
    [b"function", b"load", b"#!lua name=L\nfoo ="],
    [b"function", b"load", b"#!lua name=L\nx = 1"],
    [b"function", b"load", b'#!lua name=L\nerror("oops")'],
    [b"function", b"load", b'#!lua name=L\nerror({err="oops"})'],
    [b"function", b"load", b"return 1"],
    [b"function", b"load", b"#!lua\nreturn 1"],
    [b"function", b"load", b"#!lua name=L x=1\nreturn 1"],
    [b"function", b"load", b"#!py name=L\nreturn 1"],
    [b"function", b"load", b"#!lua name=L name=M\nreturn 1"],
    [b"function", b"load", b"#!lua name=L-x\nreturn 1"],
    [b"function", b"load", (b'#!lua name=L\nredis.register_function("f", function(keys,args) return {keys,args} end)')],
    [b"function", b"load", (b'#!lua name=L\nredis.register_function("f", function(keys,args) return {keys,args} end)')],
    [b"function", b"load", (b'#!lua name=M\nredis.register_function("f", function(keys,args) return {keys,args} end)')],
    [
        b"function",
        b"load",
        b"replace",
        (
            b'#!lua name=L\nredis.register_function("f", function(keys,args'
            b') return {keys,args} end) redis.register_function("f", funct'
            b"ion(keys,args) return {keys,args} end)"
        ),
    ],
    [
        b"function",
        b"load",
        b"replace",
        (
            b'#!lua name=L\nredis.register_function{function_name="f", call'
            b'back=function(keys,args) return {keys,args} end, flags={"no-'
            b'writes"}, description="dd"}'
        ),
    ],
    [b"function", b"load", b"replace", b"#!lua name=L\nredis.register_function()"],
    [b"function", b"load", b"replace", b'#!lua name=L\nredis.register_function("f")'],
    [b"function", b"load", b"replace", b'#!lua name=L\nredis.register_function("f",1)'],
    [b"function", b"load", b"replace", b"#!lua name=L\nredis.register_function(1,2)"],
    [b"function", b"load", b"replace", b'#!lua name=L\nredis.register_function("f-x",function() end)'],
    [b"function", b"load", b"replace", b"#!lua name=L\nredis.register_function{}"],
    [b"function", b"load", b"replace", b'#!lua name=L\nredis.register_function{function_name="q"}'],
    [b"function", b"load", b"replace", b"#!lua name=L\nredis.register_function{callback=function() end}"],
    [
        b"function",
        b"load",
        b"replace",
        (b'#!lua name=L\nredis.register_function{function_name="q",callback=function() end,flags={"nosuch"}}'),
    ],
    [
        b"function",
        b"load",
        b"replace",
        (b'#!lua name=L\nredis.register_function{function_name="q",callback=function() end,flags="x"}'),
    ],
    [
        b"function",
        b"load",
        b"replace",
        (b'#!lua name=L\nredis.register_function{function_name="q",callback=function() end,x=1}'),
    ],
    [
        b"function",
        b"load",
        b"replace",
        (b'#!lua name=L\nredis.register_function{function_name="q",callback=function() end,description=1}'),
    ],
    [
        b"function",
        b"load",
        b"replace",
        (b"#!lua name=L\nredis.register_function{function_name=1,callback=function() end}"),
    ],
    [b"function", b"load", b"replace", b"#!lua name=L\nredis.register_function{[1]=1}"],
    [b"function", b"load", b"replace", b'#!lua name=L\nredis.register_function("f",function() end, 1)'],
    [b"function", b"load", b"replace", (b'#!lua name=L\nredis.register_function{function_name="q",callback=5}')],
    [b"function", b"load", b"replace", b"#!lua name=L\nredis.register_function(5)"],
    [
        b"function",
        b"load",
        b"replace",
        (b'#!lua name=L\nredis.register_function{function_name="q",callback=function() end,flags={1}}'),
    ],
    [b"function", b"list"],
    [b"function", b"list", b"withcode"],
    [b"function", b"list", b"libraryname", b"L*"],
    [b"function", b"list", b"libraryname"],
    [b"function", b"list", b"x"],
    [b"function", b"list", b"withcode", b"withcode"],
    [b"function", b"list", b"libraryname", b"a", b"libraryname", b"b"],
    [b"fcall", b"f", b"1", b"k", b"a"],
    [b"fcall", b"nosuch", b"0"],
    [b"fcall", b"f", b"2", b"k"],
    [b"fcall", b"f", b"-1"],
    [b"fcall", b"f", b"x"],
    [b"fcall_ro", b"f", b"0"],
    [b"function", b"delete", b"nosuch"],
    [b"function", b"stats"],
    [b"function", b"kill"],
    [b"function", b"nosuch"],
    [b"function", b"restore", b"x"],
    [b"function", b"flush", b"x"],
    [b"function", b"flush", b"a", b"b"],
    [
        b"function",
        b"load",
        b"replace",
        (
            b"#!lua name=L\nlocal t={} for k,v in pairs(redis) do t[#t+1]=k"
            b" end table.sort(t) local g={} for k in pairs(_G) do g[#g+1]="
            b'k end table.sort(g) redis.register_function("f", function(ke'
            b"ys,args) local s={} for k in pairs(redis) do s[#s+1]=k end r"
            b'eturn {t,g,s} end) redis.register_function("w",function() re'
            b'turn redis.call("set","a","b") end) redis.register_function('
            b'"e",function() error("x") end) redis.register_function("c",f'
            b'unction() return redis.call("incrby","a","x") end) redis.reg'
            b'ister_function("n",function() return nope end)  redis.regist'
            b'er_function("r",function() return redis.register_function("q'
            b'",function() end) end) redis.register_function("k",function('
            b') return KEYS end) redis.register_function("sg",function() n'
            b"ope=1 end)"
        ),
    ],
    [b"fcall", b"f", b"0"],
    [b"fcall_ro", b"w", b"0"],
    [b"fcall", b"w", b"0"],
    [b"fcall_ro", b"e", b"0"],
    [b"fcall", b"e", b"0"],
    [b"fcall_ro", b"c", b"0"],
    [b"fcall", b"c", b"0"],
    [b"fcall_ro", b"n", b"0"],
    [b"fcall", b"n", b"0"],
    [b"fcall_ro", b"r", b"0"],
    [b"fcall", b"r", b"0"],
    [b"fcall_ro", b"k", b"0"],
    [b"fcall", b"k", b"0"],
    [b"fcall", b"sg", b"0"],
    [b"fcall", b"W", b"0"],
    [b"function", b"load", b"#!lua name=L\nlocal s=redis.setresp"],
    [b"function", b"load", b'#!lua name=L\nlocal s=string.rep("a",3)'],
    [b"function", b"load", b"#!lua name=L\nlocal s=_G.string"],
    [b"function", b"load", b"#!lua name=L\nlocal s=math.random()"],
    [
        b"function",
        b"load",
        (
            b'#!lua name=L\nlocal s=redis.REDIS_VERSION redis.log(1,"s") lo'
            b"cal x = redis.LOG_DEBUG + redis.REDIS_VERSION_NUM redis.erro"
            b'r_reply("x")'
        ),
    ],
    [b"function", b"load", b'#!lua name=L\nlocal s=redis.sha1hex("x")'],
    [b"function", b"load", b"#!lua name=L\nwhile true do end"],
    [b"function", b"load", b"#!lua name=L\nredis.x = 1"],
    [b"function", b"load", b"#!lua name=L\nlocal x = nil + 1"],
    [b"function", b"load", b'#!lua name=L\nlocal x = ("x"):rep(3) local y = x .. nil'],
    [
        b"function",
        b"load",
        b"replace",
        (
            b'#!lua name=L\n redis.register_function("f", function(keys,arg'
            b"s) local s={} for k in pairs(redis) do s[#s+1]=k end table.s"
            b"ort(s) local g={} for k in pairs(_G) do g[#g+1]=k end table."
            b'sort(g) return {g,s} end) redis.register_function("w",functi'
            b'on() return redis.call("set","a","b") end) redis.register_fu'
            b'nction("e",function() error("x") end) redis.register_functio'
            b'n("c",function() return redis.call("incrby","a","x") end) re'
            b'dis.register_function("n",function() return nope end)  redis'
            b'.register_function("r",function() return redis.register_func'
            b'tion("q",function() end) end) redis.register_function("k",fu'
            b'nction() return KEYS end) redis.register_function("sg",funct'
            b'ion() nope=1 end) redis.register_function{function_name="ro"'
            b',callback=function(k,a) return {k,a,redis.call("get","a")} e'
            b'nd,flags={"no-writes","allow-stale"},description="desc"} red'
            b'is.register_function("rnd",function() return tostring(math.r'
            b"andom()) end) "
        ),
    ],
    [b"fcall", b"f", b"0"],
    [b"fcall_ro", b"w", b"0"],
    [b"fcall", b"w", b"0"],
    [b"fcall_ro", b"e", b"0"],
    [b"fcall", b"e", b"0"],
    [b"fcall_ro", b"c", b"0"],
    [b"fcall", b"c", b"0"],
    [b"fcall_ro", b"n", b"0"],
    [b"fcall", b"n", b"0"],
    [b"fcall_ro", b"r", b"0"],
    [b"fcall", b"r", b"0"],
    [b"fcall_ro", b"k", b"0"],
    [b"fcall", b"k", b"0"],
    [b"fcall", b"sg", b"0"],
    [b"fcall", b"W", b"0"],
    [b"fcall", b"ro", b"1", b"x", b"y"],
    [b"fcall_ro", b"ro", b"1", b"x", b"y"],
    [b"fcall", b"ro", b"-1"],
    [b"fcall", b"ro", b"x"],
    [b"fcall", b"ro", b"3", b"x"],
    [b"function", b"stats"],
    [b"fcall_ro", b"f"],
    [b"function", b"load", b"replac", b"x"],
    [b"function", b"load"],
    [b"function", b"load", b'#!lua name=Q\nredis.register_function("x")', b"y"],
    [b"function", b"delete", b"L"],
    [b"function", b"stats"],
    [b"function", b"list"],
    [b"fcall", b"k", b"0"],
    [b"function", b"flush", b"async"],
    [b"function", b"delete"],
    [b"function", b"list"],
]
