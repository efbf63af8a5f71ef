-- Whether sessions exist, and for how long, for those who wait for their end.
-- KEYS     the records
-- Replies  two words for each: the lineage, or '' where there is no session; ms that are left if it is not used
local words = {}
for i, key in ipairs(KEYS) do
  local stored = redis.pcall('HMGET', key, '!v', '!x')
  local lineage, left = '', 0
  if stored.err then
    -- Not a record of this crate: a read of the record reports it.
    lineage = '?'
  elseif stored[2] and now_ms < (tonumber(stored[2]) or 0) then
    lineage, left = stored[1] or '?', redis.call('PTTL', key)
  end
  words[2 * i - 1], words[2 * i] = lineage, string.format('%.0f', left)
end
return reply(unpack(words))
