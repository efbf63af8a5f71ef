-- Begins a session under a key that does not exist.
-- KEYS[1]  the record
-- ARGV     from the third: hash of the secret, lineage, idle timeout in ms, absolute timeout in ms, number of fields and
--          their bytes, then key and value of each field
-- Replies  done, or exists: try another id
local hash, lineage, idle, absolute = ARGV[3], ARGV[4], ARGV[5], ARGV[6]
if redis.call('EXISTS', KEYS[1]) == 1 then
  return reply('exists')
end
local ends, now = now_ms + absolute, string.format('%.0f', now_ms)

redis.call('HSET', KEYS[1], '!h', hash, '!v', lineage, '!c', now, '!n', now, '!s', now,
  '!x', string.format('%.0f', ends), '!f', ARGV[7], '!b', ARGV[8])
for i = 9, #ARGV, 2 do
  redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
end
redis.call('PEXPIREAT', KEYS[1], string.format('%.0f', math.min(ends, now_ms + idle)))
return reply('done')
