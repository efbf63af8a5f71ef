-- Adds a session to the index of its user again, if the index was evicted, unless all were revoked since its login.
-- KEYS[1]  the user's index, as in enrol.lua
-- ARGV     third: id; fourth: ms that the session may live; fifth: when its login was listed
-- Replies  revoked, or done
local id, life = ARGV[3], tonumber(ARGV[4])
local revoked = tonumber(redis.call('ZSCORE', KEYS[1], '!!') or nil)
if revoked and -revoked >= tonumber(ARGV[5]) then
  local kept = tonumber(redis.call('ZSCORE', KEYS[1], '!' .. id) or nil)
  if not kept or kept > revoked then
    return reply('revoked')
  end
end
local ends = tonumber(redis.call('ZSCORE', KEYS[1], id) or nil)
-- `life` is a minute longer than the session's, so that a small difference of clocks causes no write.
if not ends or ends < now_ms + life - 60000 then
  redis.call('ZREMRANGEBYSCORE', KEYS[1], 0, string.format('%.0f', now_ms))
  -- A full memory must not end a session: the next use tries again.
  redis.pcall('ZADD', KEYS[1], string.format('%.0f', now_ms + life), id)
end
local left = redis.call('PTTL', KEYS[1])
if left ~= -2 and left < life then
  redis.call('PEXPIRE', KEYS[1], ARGV[4])
end
return reply('done')
