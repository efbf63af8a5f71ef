-- The text is what follows the time in a stored value: a colon and the mark; the colon alone if there is no mark but a
-- microsecond has several ticks; else nothing. The time has 16 digits from 2001 to 2286.
local tag = string.sub(argument, 49)
local stored = redis.pcall('GET', KEYS[1])
local debt = 0
if stored then
  debt = nil
  if stored.err then
  elseif b == 1 then
    if string.sub(stored, 17) == tag then debt = tonumber(string.sub(stored, 1, 16)) end
  elseif string.sub(stored, 17, 16 + #tag) == tag then
    debt = tonumber(string.sub(stored, 1, 16))
  end
  if debt then
    debt = (debt - now) * b
    if b > 1 then debt = debt + (tonumber(string.sub(stored, 17 + #tag)) or 0) end
    if debt < 0 then debt = 0 end
  end
end
if debt and debt <= c and now >= 1e15 and now < 5e15 then
  local owed = debt + cost * a
  if owed > c then return string.sub(argument, 1, 8) .. struct.pack('<dd', now, -1 - debt) end
  local ticks = b > 1 and math.fmod(owed, b) or 0
  local paid = now + (owed - ticks) / b
  local micros = paid % 1000000
  local text = string.format('%d%06d', (paid - micros) / 1000000, micros)
  -- A key is there until the end of its millisecond.
  local expiry = string.sub(text, 1, 13)
  redis.call('SET', KEYS[1], text .. tag .. (ticks > 0 and string.format('%.0f', ticks) or ''), 'PXAT', expiry)
  return string.sub(argument, 1, 8) .. struct.pack('<dd', now, owed)
end
