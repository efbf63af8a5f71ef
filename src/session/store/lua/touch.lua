-- Notes the use of a session, and starts its idle timeout again.
-- ARGV     after those of guard.lua: idle timeout in ms; 1 when this use checked the index of its user, or 0; tag
-- Replies  as guard.lua, or done
local idle = tonumber(stored[7]) or tonumber(ARGV[5])
-- First, because Redis allows it when the memory is full, and a script that has written may then go on to write.
redis.call('PEXPIREAT', KEYS[1], number(math.min(ends, now_ms + idle)))
if redis.call('EXISTS', KEYS[1]) == 0 then
  -- The end has passed since TIME was called: Redis before 7.2 deletes the record then. HSET must not make it again.
  return reply('gone')
end
redis.pcall('HSET', KEYS[1], '!s', number(now_ms))
if ARGV[6] == '1' then
  redis.pcall('HSET', KEYS[1], '!e', number(now_ms))
end
if holder == 'current' then
  -- The browser has the new token, so it was not lost.
  redis.call('HDEL', KEYS[1], '!o')
  restore(ARGV[7])
end
return reply('done')
