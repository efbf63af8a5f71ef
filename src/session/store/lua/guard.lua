-- Precedes every script that changes a record: ends the script unless the caller holds the session.
-- KEYS[1]  the record
-- ARGV     third: the hashes that the caller's secret may be stored as, 32 bytes each, the one to store first; fourth: the
--          lineage that the caller proved to hold before, or ''
-- Gives    `restore` (stores hash and tag again, if they were made with another key; the tag binds the user to the token
--          when there is a pepper, else ''), `stored`, `ends`, `holder` (current; previous: replaced by a renewal and still
--          valid; or kin: of the session's lineage), `hash` (the first of the hashes)
-- Replies  gone (no record), stale (replaced shortly before by a login or rotation), unknown (another secret), corrupt
local stored = redis.call('HMGET', KEYS[1], '!h', '!x', '!p', '!g', '!k', '!v', '!i', '!u', '!b', '!f', '!o',
  '!e', '!r', '!a', '!t')
local ends = tonumber(stored[2])
local hash = string.sub(ARGV[3], 1, 32)
local function is_callers(candidate)
  for i = 1, #ARGV[3], 32 do
    if candidate == string.sub(ARGV[3], i, i + 31) then
      return true
    end
  end
  return false
end
local function number(value)
  return string.format('%.0f', value)
end
if not stored[1] or not ends then
  return reply(redis.call('EXISTS', KEYS[1]) == 0 and 'gone' or 'corrupt')
end
if now_ms >= ends then
  redis.call('DEL', KEYS[1])
  return reply('gone')
end
local holder
if is_callers(stored[1]) then
  holder = 'current'
elseif is_callers(stored[3]) and now_ms < (tonumber(stored[5]) or 0) then
  holder = 'previous'
elseif ARGV[4] ~= '' and ARGV[4] == stored[6] then
  holder = 'kin'
else
  local lately = is_callers(stored[3]) and now_ms < (tonumber(stored[4]) or 0)
  return reply(lately and 'stale' or 'unknown')
end
local function set(name, value)
  if value ~= '' then
    redis.call('HSET', KEYS[1], name, value)
  else
    redis.call('HDEL', KEYS[1], name)
  end
end
local function restore(tag)
  -- A caller that does not know the user cannot make the tag: nothing is changed then.
  local complete = tag ~= '' or not stored[8]
  if complete and (stored[1] ~= hash or (stored[15] or '') ~= tag) then
    redis.call('HSET', KEYS[1], '!h', hash)
    set('!t', tag)
  end
end
