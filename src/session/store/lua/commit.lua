-- Writes the changes of one request to a session that its caller still holds: all of them or none.
-- ARGV     after those of guard.lua: idle timeout in ms; next hash or ''; why the secret is replaced (renew, rotate, login)
--          or ''; tombstone in ms; grace in ms; next lineage or ''; user, label, metadata, lifetime of a remembered session
--          in ms or '', absolute timeout in ms; most fields, most bytes; when the login was listed, by the clock of the
--          list's server; tag of the caller's token, tag of the next token (see guard.lua); then triples:
--            e key value   go on only if the field has this value, or does not exist for ''
--            c '' ''       remove all values, before the steps that follow
--            s key value   set
--            d key ''      remove
--            i key number  add
-- Replies  as guard.lua; conflict and the value found; full (too many fields or bytes); nan (no number to add to); or done,
--          whether the secret was replaced (1 or 0), ms that a remembered session has left or '', the user before if it was
--          another, the lineage, the sum after an addition; and if the index of its user has to be checked: the user, the
--          absolute end, when the login was listed
local idle, next_hash, kind = tonumber(stored[7]) or tonumber(ARGV[5]), ARGV[6], ARGV[7]
local tombstone, grace, next_lineage = ARGV[8], ARGV[9], ARGV[10]
local user, label, metadata, remembered, absolute = ARGV[11], ARGV[12], ARGV[13], ARGV[14], ARGV[15]
local listed_at, tag, next_tag = ARGV[18], ARGV[19], ARGV[20]
local bytes, fields = tonumber(stored[9]) or 0, tonumber(stored[10]) or 0
local bytes_before, fields_before = bytes, fields
local cleared = false

for i = 21, #ARGV, 3 do
  local op, key, value = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  if op == 'e' then
    local found = redis.call('HGET', KEYS[1], key) or ''
    if found ~= value then
      return reply('conflict', found)
    end
  elseif op == 'c' then
    cleared, bytes, fields = true, 0, 0
  else
    local before = cleared and 0 or redis.call('HSTRLEN', KEYS[1], key)
    local after = op == 's' and #value or op == 'i' and math.max(before, 1) or 0
    bytes = bytes + after - before
    if before == 0 and after > 0 then
      bytes, fields = bytes + #key, fields + 1
    elseif before > 0 and after == 0 then
      bytes, fields = bytes - #key, fields - 1
    end
  end
end
if (fields > fields_before and fields > tonumber(ARGV[16])) or (bytes > bytes_before and bytes > tonumber(ARGV[17])) then
  return reply('full')
end

local sum = ''
if cleared then
  for _, name in ipairs(redis.call('HKEYS', KEYS[1])) do
    if string.sub(name, 1, 1) ~= '!' then
      redis.call('HDEL', KEYS[1], name)
    end
  end
end
for i = 21, #ARGV, 3 do
  local op, key, value = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  if op == 's' then
    redis.call('HSET', KEYS[1], key, value)
  elseif op == 'd' then
    redis.call('HDEL', KEYS[1], key)
  elseif op == 'i' then
    local added = redis.pcall('HINCRBY', KEYS[1], key, value)
    if type(added) == 'table' then
      -- When the memory is full, the number is not the reason.
      return string.find(added.err, 'OOM', 1, true) and added or reply('nan')
    end
    sum = redis.call('HGET', KEYS[1], key)
  end
end
if bytes ~= bytes_before or fields ~= fields_before then
  redis.call('HSET', KEYS[1], '!b', number(bytes), '!f', number(fields))
end

local replaced, lineage, user_before = '0', stored[6] or '', ''
if kind == 'renew' then
  -- The browser has never sent the token that replaced this one: the response with it was lost.
  local lost = holder == 'previous' and stored[11] and now_ms >= tonumber(stored[5]) - grace / 2
  if holder == 'current' or lost then
    local good_until = now_ms + grace
    redis.call('HSET', KEYS[1], '!h', next_hash, '!n', number(now_ms), '!p', hash, '!k', number(good_until),
      '!g', number(good_until + tombstone), '!o', '1')
    set('!q', tag)
    set('!t', next_tag)
    replaced = '1'
  end
elseif kind ~= '' then
  local before = holder == 'current' and hash or stored[1]
  redis.call('HSET', KEYS[1], '!h', next_hash, '!n', number(now_ms), '!p', before, '!g', number(now_ms + tombstone),
    '!v', next_lineage)
  redis.call('HDEL', KEYS[1], '!k', '!o', '!q')
  set('!t', next_tag)
  replaced, lineage = '1', next_lineage
  tell_ended()
elseif holder == 'current' then
  restore(tag)
end

local is_remembered = stored[7]
if kind == 'login' then
  local another = stored[8] ~= user
  user_before = another and stored[8] or ''
  redis.call('HSET', KEYS[1], '!u', user, '!a', number(now_ms), '!e', number(now_ms), '!r', listed_at)
  for name, value in pairs({ ['!l'] = label, ['!m'] = metadata }) do
    if value ~= '' then
      redis.call('HSET', KEYS[1], name, value)
    elseif another then
      redis.call('HDEL', KEYS[1], name)
    end
  end
  if remembered ~= '' then
    ends, idle, is_remembered = now_ms + remembered, tonumber(remembered), true
    redis.call('HSET', KEYS[1], '!x', number(ends), '!i', remembered)
  elseif is_remembered then
    ends, idle, is_remembered = math.min(ends, now_ms + absolute), tonumber(ARGV[5]), false
    redis.call('HSET', KEYS[1], '!x', number(ends))
    redis.call('HDEL', KEYS[1], '!i')
  end
end
redis.call('HSET', KEYS[1], '!s', number(now_ms))
redis.call('PEXPIREAT', KEYS[1], number(math.min(ends, now_ms + idle)))
local remains = is_remembered and number(ends - now_ms) or ''
-- NOTE: hash.rs decides by the same rule.
local interval = math.max(1, math.min(math.floor(idle / 10), 60000))
if kind ~= 'login' and stored[8] and math.abs(now_ms - (tonumber(stored[12]) or 0)) >= interval then
  return reply('done', replaced, remains, user_before, lineage, sum, stored[8], number(ends), stored[13] or stored[14] or '0')
end
return reply('done', replaced, remains, user_before, lineage, sum)
