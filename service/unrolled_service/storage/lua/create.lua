-- The first write of a session. KEYS: session, note. ARGV: owner, serial, position, snapshot, ttl ms, lease ms, memory ms.
local owner, serial, position = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local ttl_ms, lease_ms, memory_ms = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local stored = redis.call('HMGET', KEYS[1], 'owner', 'epoch', 'position', 'serial')
if stored[2] then
  -- A caller that did not hear of its success says the same again.
  if stored[1] ~= owner or stored[2] ~= '1' or stored[3] ~= position then return {'moved'} end
  if serial <= tonumber(stored[4]) then return {'late'} end
else
  local why = redis.call('GET', KEYS[2])
  if why then return {'gone', why} end
end
local time = redis.call('TIME')
local lease_until_ms = time[1] * 1000 + math.floor(time[2] / 1000) + lease_ms
local life_ms = math.max(ttl_ms, lease_ms)
redis.call('HSET', KEYS[1], 'owner', owner, 'epoch', 1, 'serial', serial, 'position', position,
  'lease_until_ms', lease_until_ms, 'ttl_ms', ttl_ms, 'snapshot', ARGV[4])
redis.call('PEXPIRE', KEYS[1], life_ms)
redis.call('SET', KEYS[2], 'expired', 'PX', life_ms + memory_ms)
return {'done', 1}
