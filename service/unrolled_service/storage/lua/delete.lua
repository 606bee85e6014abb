-- Ends a session and notes why. KEYS: session, note. ARGV: owner, serial, epoch or nothing, why, memory ms.
local stored = redis.call('HMGET', KEYS[1], 'owner', 'epoch')
if ARGV[3] ~= '' then
  if stored[1] ~= ARGV[1] or stored[2] ~= ARGV[3] then return {'done'} end
elseif not stored[2] then
  return {'gone', redis.call('GET', KEYS[2])}
end
-- In this order: a server that is full lets a script write once it has freed something.
redis.call('UNLINK', KEYS[1])
redis.call('SET', KEYS[2], ARGV[4], 'PX', ARGV[5])
return {'done'}
