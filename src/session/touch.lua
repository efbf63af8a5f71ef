-- Notes that a session was used, and lets it live on.
-- ARGV     after those of guard.lua: idle timeout in ms
-- Replies  as guard.lua, or done
local idle = tonumber(stored[7]) or tonumber(ARGV[5])
redis.call('HSET', KEYS[1], '!s', number(now_ms))
if holder == 'current' then
  -- The browser has this token: the one before is not needed to find a lost one.
  redis.call('HDEL', KEYS[1], '!o')
  if stored[1] ~= hash then
    redis.call('HSET', KEYS[1], '!h', hash)
  end
end
redis.call('PEXPIREAT', KEYS[1], number(math.min(ends, now_ms + idle)))
return reply('done')
