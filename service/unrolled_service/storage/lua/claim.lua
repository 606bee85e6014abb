-- Takes a session or renews its lease. KEYS: session, note. ARGV: owner, serial, known epoch, lease ms, memory ms.
local owner, serial, lease_ms = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[4])
local stored = redis.call('HMGET', KEYS[1], 'owner', 'epoch', 'position', 'serial', 'lease_until_ms', 'ttl_ms')
if not stored[2] then return {'gone', redis.call('GET', KEYS[2])} end
local is_ours = stored[1] == owner
if is_ours and serial <= tonumber(stored[4]) then return {'late'} end
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local left_ms = tonumber(stored[5]) - now_ms
if not is_ours and left_ms > 0 then return {'leased', left_ms} end
local epoch, snapshot = tonumber(stored[2]), false
if not is_ours or stored[2] ~= ARGV[3] then
  epoch, snapshot = epoch + 1, redis.call('HGET', KEYS[1], 'snapshot')
end
redis.call('HSET', KEYS[1], 'owner', owner, 'epoch', epoch, 'serial', serial, 'lease_until_ms', now_ms + lease_ms)
if lease_ms > 0 then
  local life_ms = math.max(tonumber(stored[6]), lease_ms)
  redis.call('PEXPIRE', KEYS[1], life_ms)
  redis.call('SET', KEYS[2], 'expired', 'PX', life_ms + tonumber(ARGV[5]))
end
return {'done', epoch, tonumber(stored[3]), snapshot}
