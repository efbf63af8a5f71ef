-- Begins a session under a key that nobody has.
-- KEYS[1]  the record
-- ARGV     from the third: hash of the secret, idle timeout in ms, absolute timeout in ms, user or '', then key and value of
--          each field
-- Replies  done, or exists: try another selector
local hash, idle, absolute, user = ARGV[3], ARGV[4], ARGV[5], ARGV[6]
if redis.call('EXISTS', KEYS[1]) == 1 then
  return reply('exists')
end
local ends = now_ms + absolute

redis.call('HSET', KEYS[1], '!h', hash, '!c', string.format('%.0f', now_ms), '!x', string.format('%.0f', ends))
if user ~= '' then
  redis.call('HSET', KEYS[1], '!u', user, '!a', string.format('%.0f', now_ms))
end
for i = 7, #ARGV, 2 do
  redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
end
redis.call('PEXPIREAT', KEYS[1], string.format('%.0f', math.min(ends, now_ms + idle)))
return reply('done')
