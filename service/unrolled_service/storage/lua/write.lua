-- Replaces the state of a session that is still the writer's.
-- KEYS: session, note. ARGV: owner, serial, epoch, position, snapshot, ttl ms, lease ms, memory ms, rewound.
local owner, serial, position = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[4])
local ttl_ms, lease_ms, memory_ms = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])
local stored = redis.call('HMGET', KEYS[1], 'owner', 'epoch', 'position', 'serial')
if not stored[2] then return {'gone', redis.call('GET', KEYS[2])} end
if stored[1] ~= owner or stored[2] ~= ARGV[3] then return {'moved'} end
if serial <= tonumber(stored[4]) then return {'late'} end
if position < tonumber(stored[3]) and ARGV[9] ~= '1' then return {'behind', tonumber(stored[3])} end
local time = redis.call('TIME')
local lease_until_ms = time[1] * 1000 + math.floor(time[2] / 1000) + lease_ms
local life_ms = math.max(ttl_ms, lease_ms)
redis.call('HSET', KEYS[1], 'serial', serial, 'position', position, 'lease_until_ms', lease_until_ms,
  'ttl_ms', ttl_ms, 'snapshot', ARGV[5])
redis.call('PEXPIRE', KEYS[1], life_ms)
redis.call('SET', KEYS[2], 'expired', 'PX', life_ms + memory_ms)
return {'done'}
