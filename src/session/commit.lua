-- Writes the changes of one request to a session that this caller still holds.
-- KEYS[1]  the record
-- ARGV     from the third: hash of the caller's secret, idle timeout in ms, next hash or '', tombstone in ms, user or '',
--          number of fields to set, then key and value of each, then the keys to remove
-- Replies  done, gone (no record), stale (the secret was replaced lately), unknown (another secret), corrupt
local hash, idle, next_hash, tombstone, user = ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7]
local stored = redis.call('HMGET', KEYS[1], '!h', '!x', '!p', '!g')
local ends = tonumber(stored[2])

if not stored[1] or not ends then
  return reply(redis.call('EXISTS', KEYS[1]) == 0 and 'gone' or 'corrupt')
end
if now_ms >= ends then
  redis.call('DEL', KEYS[1])
  return reply('gone')
end
if stored[1] ~= hash then
  local lately = stored[3] == hash and now_ms < (tonumber(stored[4]) or 0)
  return reply(lately and 'stale' or 'unknown')
end

local sets_end = 8 + 2 * ARGV[8]
for i = 9, sets_end, 2 do
  redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
end
for i = sets_end + 1, #ARGV do
  redis.call('HDEL', KEYS[1], ARGV[i])
end
if next_hash ~= '' then
  redis.call('HSET', KEYS[1], '!h', next_hash, '!p', hash, '!g', string.format('%.0f', now_ms + tombstone))
end
if user ~= '' then
  redis.call('HSET', KEYS[1], '!u', user, '!a', string.format('%.0f', now_ms))
end
redis.call('PEXPIREAT', KEYS[1], string.format('%.0f', math.min(ends, now_ms + idle)))
return reply('done')
