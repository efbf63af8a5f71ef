-- Reads the ids of a user's sessions, and notes a revocation of all.
-- KEYS[1]  the user's index, as in enrol.lua
-- ARGV     third: from which place, fourth: how many; fifth: ms for which a revocation of all must be known, or '' for
--          none; sixth: the id that a revocation keeps, or ''
-- Replies  when all were revoked, if that was noted now, or ''; then the ids
-- First, because Redis allows it when the memory is full, and a script that has written may then go on to write.
redis.call('ZREMRANGEBYSCORE', KEYS[1], 0, string.format('%.0f', now_ms))
local noted = ''
if ARGV[5] ~= '' then
  local at = string.format('%.0f', -now_ms)
  -- Earlier versions write '!' alone, and not which session they keep. Uses must end no session because of it.
  local mark = { at, '!', at, '!!' }
  if ARGV[6] ~= '' then
    mark[5], mark[6] = at, '!' .. ARGV[6]
  end
  redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', '(0')
  local added = redis.pcall('ZADD', KEYS[1], unpack(mark))
  if type(added) ~= 'table' then
    noted = string.format('%.0f', now_ms)
    if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[5]) then
      redis.call('PEXPIRE', KEYS[1], ARGV[5])
    end
  end
end
return reply(noted, unpack(redis.call('ZRANGEBYSCORE', KEYS[1], 0, '+inf', 'LIMIT', ARGV[3], ARGV[4])))
