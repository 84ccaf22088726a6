"""Scripts whose replies must be those of redis-server, byte for byte: one a line."""

from __future__ import annotations

from typing import Final

CJSON: Final = r"""
return cjson.encode({1,2,3})
return cjson.encode({})
return cjson.encode({{}})
return cjson.encode({1,nil,3})
return cjson.encode({[1]=1,[3]=3})
return cjson.encode({[1]=1,[3]=3,[50]=5})
return cjson.encode({[10]=1})
return cjson.encode({[11]=1})
return cjson.encode({[22]=1})
return cjson.encode({[0]=1})
return cjson.encode({[-1]=1})
return cjson.encode({[1.5]=1})
return cjson.encode({[1e15]='a'})
return cjson.encode({[true]=1})
return cjson.encode({a=1})
return cjson.encode({a=function() end})
return cjson.encode(function() end)
return cjson.encode(nil)
return cjson.encode()
return cjson.encode(1,2)
return cjson.encode(true)
return cjson.encode(cjson.null)
return cjson.encode('a/b"c\\d\0\1\8\9\10\11\12\13\31 \127\128\255')
return cjson.encode(0/0)
return cjson.encode(1/0)
return cjson.encode(-1/0)
return cjson.encode(1e15)
return cjson.encode(123456789012345)
return cjson.encode(12345678901234567890)
return cjson.encode(0.1)
return cjson.encode(1/3)
return cjson.encode(-0)
return cjson.encode(1e-10)
return cjson.encode(1e100)
return cjson.encode(coroutine.create(function() end))
local t={} t.a=t return cjson.encode(t)
local t={} t[1]=t return cjson.encode(t)
local t={} for i=1,999 do t={t} end return #cjson.encode(t)
local t={} for i=1,1000 do t={t} end return #cjson.encode(t)
return cjson.encode(setmetatable({}, {__index=function() return 1 end}))
return {cjson.decode('{"a":1}').a}
return cjson.decode('[1,2.7,"x",null,true,false]')
return cjson.decode('[]')
return cjson.decode('{}')
return cjson.decode('')
return cjson.decode(' ')
return cjson.decode('[')
return cjson.decode('[1')
return cjson.decode('[1,')
return cjson.decode('[1,]')
return cjson.decode('[,]')
return cjson.decode('{')
return cjson.decode('{a')
return cjson.decode('{"a"')
return cjson.decode('{"a":')
return cjson.decode('{"a":1')
return cjson.decode('{"a":1,')
return cjson.decode('{"a":1,}')
return cjson.decode('{1:1}')
return cjson.decode('{"a" 1}')
return cjson.decode('[1 2]')
return cjson.decode('1 2')
return cjson.decode('nul')
return cjson.decode('nullx')
return cjson.decode('truefalse')
return cjson.decode('TRUE')
return cjson.decode('"abc')
return cjson.decode('"a\\qb"')
return cjson.decode('"a\\')
return cjson.decode('"a\\u12')
return cjson.decode('"a\\u12g4"')
return cjson.decode('"\\u0041\\u00e9\\u20ac\\ud83d\\ude00"')
return cjson.decode('"\\ud83d"')
return cjson.decode('"\\ude00"')
return cjson.decode('"\\ud83dx"')
return cjson.decode('"\\ud83d\\u0041"')
return cjson.decode('"\\u0000"')
return cjson.decode('"a\1\10b"')
return cjson.decode('"a\0b"')
return cjson.decode('\0')
return cjson.decode('[1]\0x')
return cjson.decode('1\0')
return cjson.decode('"\\b\\f\\n\\r\\t\\/\\"\\\\"')
return tostring(cjson.decode('1e5'))
return tostring(cjson.decode('-1.5E-3'))
return tostring(cjson.decode('01'))
return tostring(cjson.decode('0x10'))
return tostring(cjson.decode('-0x10'))
return tostring(cjson.decode('+1'))
return tostring(cjson.decode('-'))
return tostring(cjson.decode('-a'))
return tostring(cjson.decode('1.'))
return tostring(cjson.decode('.5'))
return tostring(cjson.decode('1e'))
return tostring(cjson.decode('1e+'))
return tostring(cjson.decode('1ex'))
return tostring(cjson.decode('inf'))
return tostring(cjson.decode('-inf'))
return tostring(cjson.decode('Infinity'))
return tostring(cjson.decode('-infinity'))
return tostring(cjson.decode('nan'))
return tostring(cjson.decode('NaN'))
return tostring(cjson.decode('nan(x)'))
return tostring(cjson.decode('infx'))
return tostring(cjson.decode('1e400'))
return tostring(cjson.decode('0x1p4'))
return tostring(cjson.decode('0x'))
return tostring(cjson.decode('1_000'))
return tostring(cjson.decode('12345678901234567890'))
return tostring(cjson.decode(' \t\r\n1 \t\r\n'))
return tostring(cjson.decode('\v1'))
return cjson.decode()
return cjson.decode(nil)
return cjson.decode(1)
return cjson.decode({})
return cjson.decode('1','2')
return tostring(cjson.decode('null'))
return type(cjson.decode('null'))
return tostring(cjson.decode('null')==cjson.null)
return #cjson.decode(string.rep('[',1000)..string.rep(']',1000))
return #cjson.decode(string.rep('[',1001)..string.rep(']',1001))
return cjson.decode(string.rep('{"a":',1001)..'1'..string.rep('}',1001))
return {cjson.encode_sparse_array()}
return {tostring(cjson.encode_sparse_array(true))}
return {cjson.encode_sparse_array(true,3,20)}
return {cjson.encode_sparse_array('on')}
return {cjson.encode_sparse_array('x')}
return {cjson.encode_sparse_array(1)}
return {cjson.encode_sparse_array(nil,-1)}
return {cjson.encode_sparse_array(nil,'x')}
return {cjson.encode_sparse_array(1,2,3,4)}
cjson.encode_sparse_array(false,2,10)
return cjson.encode_max_depth()
return cjson.encode_max_depth(0)
return cjson.encode_max_depth(3)
return cjson.encode({{{}}})
return cjson.encode({{{{}}}})
return cjson.encode_max_depth(1000)
return cjson.decode_max_depth(2)
return cjson.decode('[[[]]]')
return cjson.decode('[[]]')
return cjson.decode_max_depth(1000)
return cjson.encode_number_precision()
return cjson.encode_number_precision(17)
return cjson.encode_number_precision(3)
return cjson.encode(1/3)
return cjson.encode(12345)
return cjson.encode_number_precision(0)
return cjson.encode_number_precision(14)
return cjson.encode_number_precision(16)
return {tostring(cjson.encode_keep_buffer())}
return {tostring(cjson.encode_keep_buffer(false))}
return {tostring(cjson.encode_keep_buffer('on'))}
return {tostring(cjson.encode_invalid_numbers())}
return {tostring(cjson.encode_invalid_numbers(true))}
return cjson.encode({1/0,-1/0,0/0})
return {tostring(cjson.encode_invalid_numbers('null'))}
return cjson.encode({1/0,-1/0,0/0})
return {tostring(cjson.encode_invalid_numbers('x'))}
return {tostring(cjson.encode_invalid_numbers(false))}
return {tostring(cjson.decode_invalid_numbers())}
return {tostring(cjson.decode_invalid_numbers(false))}
return tostring(cjson.decode('0x10'))
return tostring(cjson.decode('01'))
return tostring(cjson.decode('-01'))
return tostring(cjson.decode('nan'))
return tostring(cjson.decode('-inf'))
return tostring(cjson.decode('+1'))
return tostring(cjson.decode('1.5'))
return tostring(cjson.decode('1.'))
return tostring(cjson.decode('0.5'))
return {tostring(cjson.decode_invalid_numbers(true))}
return {tostring(cjson.decode_invalid_numbers('null'))}
local c=cjson.new() local r={} for k,v in pairs(c) do r[#r+1]=k end table.sort(r) return r
local c=cjson.new() c.encode_max_depth(2) return {c.encode_max_depth(),cjson.encode_max_depth()}
local c=cjson.new() return {tostring(c==cjson), tostring(c.null==cjson.null), tostring(c.encode==cjson.encode)}
local c=cjson.new() c.x=1 return c.x
return cjson.decode('{"1":2}')["1"]
return tostring(cjson.decode('{"a":null}').a)
return tostring(cjson.decode('{"a":1,"a":2}').a)
return cjson.decode('{"":5}')['']
return cjson.decode('{"\\u0061":5}').a
return cjson.encode({['a"b']=1})
return cjson.encode({[2^53]=1})
return (pcall(cjson.encode, _G)) == false
return cjson.encode(string)
return cjson.encode(1e16)
return cjson.encode('é')
return cjson.decode('\239\187\191[]')
return cjson.decode('[1]]')
return cjson.decode('[1}')
return cjson.decode('{"a":1]')
return cjson.decode(':')
return cjson.decode('"a"x')
return cjson.decode('f')
return cjson.decode('[1,\n2,x]')
return cjson.decode('a\0')
return cjson.decode('\0a')
"""

CMSGPACK: Final = r"""
return cmsgpack.pack()
return cmsgpack.pack(nil)
return cmsgpack.pack(1,2,3)
return cmsgpack.pack({})
return cmsgpack.pack({1,2,3})
return cmsgpack.pack({a=1})
return cmsgpack.pack({1,nil,3})
return cmsgpack.pack({[2]=1})
return cmsgpack.pack({[0]=1})
return cmsgpack.pack({[1.5]=1})
return cmsgpack.pack({[true]=1})
return cmsgpack.pack({[{}]=1})
return cmsgpack.pack(function() end)
return cmsgpack.pack(cjson.null)
return cmsgpack.pack(true,false)
return cmsgpack.pack(127,128,255,256,65535,65536,4294967295,4294967296,2^53,2^62,2^63,2^64)
return cmsgpack.pack(-1,-32,-33,-128,-129,-32768,-32769,-2147483648,-2147483649,-2^62,-2^63,-2^64)
return cmsgpack.pack(0.5,0.1,1e300,1/0,-1/0,-0,1.5e-45,1e-46,3.4028234663852886e38,3.5e38)
return cmsgpack.pack(0/0)
return cmsgpack.pack('')
return cmsgpack.pack(string.rep('a',31))
return cmsgpack.pack(string.rep('a',32)):sub(1,4)
return cmsgpack.pack(string.rep('a',255)):sub(1,4)
return cmsgpack.pack(string.rep('a',256)):sub(1,4)
return cmsgpack.pack(string.rep('a',65535)):sub(1,5)
return cmsgpack.pack(string.rep('a',65536)):sub(1,6)
local t={} for i=1,15 do t[i]=i end return cmsgpack.pack(t)
local t={} for i=1,16 do t[i]=i end return cmsgpack.pack(t)
local t={} for i=1,16 do t[-i]=i end return cmsgpack.pack(t):sub(1,3)
local t={} for i=1,15 do t[-i]=i end return cmsgpack.pack(t):sub(1,1)
local t={} for i=1,15 do t={t} end return cmsgpack.pack(t)
local t={} for i=1,16 do t={t} end return cmsgpack.pack(t)
local t={} for i=1,17 do t={t} end return cmsgpack.pack(t)
local t={} for i=1,20 do t={a=t} end return cmsgpack.pack(t)
local t={} t[1]=t return cmsgpack.pack(t)
return cmsgpack.pack(setmetatable({},{__index=function(t,k) return k end}))
return {cmsgpack.unpack('\1\2\3')}
return {cmsgpack.unpack('')}
return {cmsgpack.unpack('\147\1\2\3')}
return cmsgpack.unpack('\129\161a\5').a
return {cmsgpack.unpack('\192\1')}
return select('#',cmsgpack.unpack('\192\1'))
return {cmsgpack.unpack('\194\195')}
return {cmsgpack.unpack('\204\255\205\1\2\206\1\2\3\4\207\0\0\0\0\0\0\0\9')}
return {cmsgpack.unpack('\208\255\209\255\254\210\255\255\255\253\211\255\255\255\255\255\255\255\252')}
return {tostring(cmsgpack.unpack('\207\255\255\255\255\255\255\255\255'))}
return {tostring(cmsgpack.unpack('\211\128\0\0\0\0\0\0\0'))}
return {tostring(cmsgpack.unpack('\207\127\255\255\255\255\255\255\255'))}
return {tostring(cmsgpack.unpack('\202\63\0\0\0')),tostring(cmsgpack.unpack('\203\63\185\153\153\153\153\153\154'))}
return {tostring(cmsgpack.unpack('\202\127\128\0\0')),tostring(cmsgpack.unpack('\202\127\192\0\0'))}
return {cmsgpack.unpack('\217\2ab\218\0\2ab\219\0\0\0\2ab')}
return {cmsgpack.unpack('\196\2ab\197\0\2ab\198\0\0\0\2ab')}
return cmsgpack.unpack('\220\0\1\5')
return cmsgpack.unpack('\221\0\0\0\1\5')
return cmsgpack.unpack('\222\0\1\161a\5').a
return cmsgpack.unpack('\223\0\0\0\1\161a\5').a
return cmsgpack.unpack('\193')
return cmsgpack.unpack('\199\1\1a')
return cmsgpack.unpack('\212\1a')
return cmsgpack.unpack('\204')
return cmsgpack.unpack('\161')
return cmsgpack.unpack('\217')
return cmsgpack.unpack('\217\5a')
return cmsgpack.unpack('\147\1')
return cmsgpack.unpack('\129\1')
return cmsgpack.unpack('\129\192\1')
return cmsgpack.unpack('\129\202\127\192\0\0\1')
return cmsgpack.unpack('\221\255\255\255\255')
return cmsgpack.unpack('\219\255\255\255\255a')
return cmsgpack.unpack()
return cmsgpack.unpack(nil)
return cmsgpack.unpack(5)
return cmsgpack.unpack({})
return {cmsgpack.unpack_one('\1\2\3')}
return {cmsgpack.unpack_one('\1')}
return {cmsgpack.unpack_one('\1\2\3',1)}
return {cmsgpack.unpack_one('\1\2\3',2)}
return {cmsgpack.unpack_one('\1\2\3',3)}
return {cmsgpack.unpack_one('\1\2\3',4)}
return {cmsgpack.unpack_one('\1\2\3',-1)}
return {cmsgpack.unpack_one('\1\2\3','x')}
return {cmsgpack.unpack_one('')}
return {cmsgpack.unpack_limit('\1\2\3',2)}
return {cmsgpack.unpack_limit('\1\2\3',2,1)}
return {cmsgpack.unpack_limit('\1\2\3',5)}
return {cmsgpack.unpack_limit('\1\2\3',0)}
return {cmsgpack.unpack_limit('\1\2\3',0,1)}
return {cmsgpack.unpack_limit('\1\2\3',-1)}
return {cmsgpack.unpack_limit('\1\2\3',1,-1)}
return {cmsgpack.unpack_limit('\1\2\3')}
return cmsgpack.unpack(cmsgpack.pack({{a={1,2,{b=3}}}}))[1].a[3].b
return {cmsgpack._NAME,cmsgpack._VERSION,cmsgpack._COPYRIGHT,cmsgpack._DESCRIPTION}
"""

STRUCT_AND_BIT: Final = r"""
return struct.pack('b',1)
return struct.pack('B',255)
return struct.pack('b',300)
return struct.pack('B',-1)
return struct.pack('h',-2)
return struct.pack('H',65537)
return struct.pack('>h',258)
return struct.pack('<h',258)
return struct.pack('l',1)
return struct.pack('L',-1)
return struct.pack('T',5)
return struct.pack('i',5)
return struct.pack('I',5)
return struct.pack('i1i2i3i4i5i6i7i8',1,2,3,4,5,6,7,8)
return struct.pack('>i1i2i3i4i5i6i7i8',1,2,3,4,5,6,7,8)
return struct.pack('i16',-1)
return struct.pack('i32',1)
return struct.pack('i33',1)
return struct.pack('i0',1)
return struct.pack('f',1.5)
return struct.pack('>f',1.5)
return struct.pack('d',0.1)
return struct.pack('>d',0.1)
return struct.pack('f',1e300)
return struct.pack('f',0/0)
return struct.pack('d',1/0)
return struct.pack('s','abc')
return struct.pack('s','a\0bc')
return struct.pack('c2','abc')
return struct.pack('c4','abc')
return struct.pack('c0','abc')
return struct.pack('c','abc')
return struct.pack('x')
return struct.pack('xbx',1)
return struct.pack('')
return struct.pack(' b h ',1,2)
return struct.pack('!bi',1,2)
return struct.pack('!4bl',1,2)
return struct.pack('!2bi',1,2)
return struct.pack('!bl',1,2)
return struct.pack('!8bl',1,2)
return struct.pack('!16bd',1,2)
return struct.pack('!3bi',1,2)
return struct.pack('!0bi',1,2)
return struct.pack('!bi3',1,2)
return struct.pack('!>bi',1,2)
return struct.pack('q',1)
return struct.pack('z',1)
return struct.pack('b')
return struct.pack('b','x')
return struct.pack('s')
return struct.pack('s',5)
return struct.pack('b',1,2,3)
return struct.pack()
return struct.pack('b',1.9)
return struct.pack('b',-1.9)
return struct.pack('l',2^53)
return struct.pack('L',2^63)
return struct.pack('l',2^63)
return struct.pack('L',2^64)
return struct.pack('i',0/0)
return struct.pack('i',1/0)
return struct.pack('c99999999999','a')
return struct.pack('i99999999999',1)
return struct.pack('=i',1)
return {struct.unpack('b','\255')}
return {struct.unpack('B','\255')}
return {struct.unpack('h','\1\2')}
return {struct.unpack('>h','\1\2')}
return {struct.unpack('bb','\1\2')}
return {struct.unpack('b','\1\2',2)}
return {struct.unpack('b','\1\2',3)}
return {struct.unpack('b','\1\2',0)}
return {struct.unpack('b','\1\2',-1)}
return {struct.unpack('b','')}
return {struct.unpack('i','\1\2\3')}
return {struct.unpack('l','\255\255\255\255\255\255\255\255')}
return {tostring(struct.unpack('L','\255\255\255\255\255\255\255\255'))}
return {tostring(struct.unpack('f','\0\0\192\63'))}
return {tostring(struct.unpack('d','\154\153\153\153\153\153\185\63'))}
return {struct.unpack('s','abc\0def')}
return {struct.unpack('s','abc')}
return {struct.unpack('ss','abc\0def\0')}
return {struct.unpack('c2','abc')}
return {struct.unpack('c4','abc')}
return {struct.unpack('bc0','\3abcd')}
return {struct.unpack('c0','abcd')}
return {struct.unpack('bc0','\9abcd')}
return {struct.unpack('sc0','3\0abcd')}
return {struct.unpack('c','abcd')}
return {struct.unpack('xb','abcd')}
return {struct.unpack('!bi','\1\0\0\0\2\0\0\0')}
return {struct.unpack('!4bl','\1\0\0\0\2\0\0\0\0\0\0\0')}
return {struct.unpack('!bi','\1\0\0\0\2\0\0')}
return {struct.unpack('q','a')}
return {struct.unpack('i3','\255\255\255')}
return {struct.unpack('I3','\255\255\255')}
return {struct.unpack('i16',string.rep('\1',16))}
return {struct.unpack('i5','\255\255\255\255\255')}
return {struct.unpack('b')}
return {struct.unpack()}
return {struct.unpack('b',{})}
return {struct.unpack('b','a','x')}
return {struct.unpack('b','abc',2^31)}
return {struct.unpack('','')}
return {struct.unpack('i2147483647','a')}
return {struct.unpack('c2147483647','a')}
return {struct.unpack('x','')}
return {struct.unpack('bbbbbbbbbb','abc')}
return struct.size('b')
return struct.size('bhilLTfdx')
return struct.size('!bhilLTfdx')
return struct.size('c5')
return struct.size('c0')
return struct.size('s')
return struct.size('i3')
return struct.size('!4bl')
return struct.size('c2147483647c2147483647')
return struct.size('c2147483646b')
return struct.size('q')
return struct.size()
return struct.size('!')
return struct.size('')
return struct.size('<>!8 b')
local r={} for k,v in pairs(struct) do r[#r+1]=k end table.sort(r) return r
return bit.tohex(1)
return bit.tohex(-1,-8)
return bit.tohex(255,2)
return bit.tohex(255,-2147483648)
return bit.tohex(255,2147483647)
return bit.tohex(255,0)
return bit.tobit(2^32+5)
return bit.tobit(2^31)
return bit.tobit(1.5)
return bit.tobit(-1.5)
return bit.tobit(2.5)
return bit.tobit(0/0)
return bit.tobit('5')
local x = bit.tobit('x') return x
local x = bit.tobit({}) return x
local x = bit.tobit() return x
local x = bit.tobit(nil) return x
return bit.band(0xff,0x0f,0x3)
local x = bit.band() return x
return bit.band(5)
return bit.bor(1,2,4)
return bit.bxor(5,3)
return bit.bnot(0)
return bit.lshift(1,31)
return bit.lshift(1,32)
return bit.lshift(1,-1)
return bit.rshift(-1,1)
return bit.arshift(-8,1)
return bit.rol(1,33)
return bit.ror(1,1)
return bit.bswap(1)
local x = bit.lshift(1) return x
"""
