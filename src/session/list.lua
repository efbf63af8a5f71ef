-- The sessions of a user.
-- KEYS[1]  the user's index, as in enrol.lua
-- ARGV     third: from which place, fourth: how many; fifth: ms for which a revocation of all must be known, or '' for none
-- Replies  when all were revoked, if that was noted now, or ''; then the ids
if ARGV[5] ~= '' then
  redis.call('ZADD', KEYS[1], string.format('%.0f', -now_ms), '!')
  if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[5]) then
    redis.call('PEXPIRE', KEYS[1], ARGV[5])
  end
end
redis.call('ZREMRANGEBYSCORE', KEYS[1], 0, string.format('%.0f', now_ms))
return reply(ARGV[5] ~= '' and string.format('%.0f', now_ms) or '', unpack(redis.call('ZRANGEBYSCORE', KEYS[1], 0, '+inf', 'LIMIT', ARGV[3], ARGV[4])))
