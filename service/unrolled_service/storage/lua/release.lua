-- Ends a lease that is still the caller's. KEYS: session. ARGV: owner, serial, epoch.
local stored = redis.call('HMGET', KEYS[1], 'owner', 'epoch', 'serial')
if stored[1] == ARGV[1] and stored[2] == ARGV[3] and tonumber(ARGV[2]) > tonumber(stored[3]) then
  redis.call('HSET', KEYS[1], 'serial', ARGV[2], 'lease_until_ms', 0)
end
return {'done'}
