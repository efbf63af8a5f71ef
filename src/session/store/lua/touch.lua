-- Notes that a session was used, and lets it live on.
-- ARGV     after those of guard.lua: idle timeout in ms; 1 when the list of its user was asked in this use, or 0; tag
-- Replies  as guard.lua, or done
local idle = tonumber(stored[7]) or tonumber(ARGV[5])
-- First: this is allowed when the memory is full, and a script that has written may go on to write.
redis.call('PEXPIREAT', KEYS[1], number(math.min(ends, now_ms + idle)))
redis.pcall('HSET', KEYS[1], '!s', number(now_ms))
if ARGV[6] == '1' then
  redis.pcall('HSET', KEYS[1], '!e', number(now_ms))
end
if holder == 'current' then
  -- The browser has this token: the one before is not needed to find a lost one.
  redis.call('HDEL', KEYS[1], '!o')
  restore(ARGV[7])
end
return reply('done')
