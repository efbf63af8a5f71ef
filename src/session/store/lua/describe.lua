-- Reads what a user's list of sessions shows of one.
-- KEYS[1]  the record
-- Replies  gone; or live, then user, created, last seen, authenticated, end (ms), label, metadata, each or ''
local stored = redis.call('HMGET', KEYS[1], '!h', '!u', '!c', '!s', '!a', '!x', '!l', '!m')
if not stored[1] or now_ms >= (tonumber(stored[6]) or 0) then
  return reply('gone')
end
local words = { 'live' }
for i = 2, 8 do
  words[i] = stored[i] or ''
end
return reply(unpack(words))
