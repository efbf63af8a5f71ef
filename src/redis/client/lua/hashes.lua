-- Reads several hashes.
-- KEYS     the hashes
-- Replies  for each key its fields and values, none if there is no such key; nil where HGETALL fails
local hashes = {}
for i = 1, #KEYS do
  local hash = redis.pcall('HGETALL', KEYS[i])
  hashes[i] = not hash.err and hash
end
return reply(unpack(hashes))
