-- Ends a session that this caller still holds.
-- KEYS[1]  the record
-- ARGV     from the third: hash of the caller's secret
-- Replies  as commit.lua
local hash = ARGV[3]
local stored = redis.call('HMGET', KEYS[1], '!h', '!p', '!g')
if not stored[1] then
  return reply(redis.call('EXISTS', KEYS[1]) == 0 and 'gone' or 'corrupt')
end
if stored[1] ~= hash then
  local lately = stored[2] == hash and now_ms < (tonumber(stored[3]) or 0)
  return reply(lately and 'stale' or 'unknown')
end
redis.call('DEL', KEYS[1])
return reply('done')
