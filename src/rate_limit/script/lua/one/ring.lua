-- No text.
local stored = redis.pcall('GET', KEYS[1])
local head = (now - math.fmod(now, b)) / b
-- `rest` is the counts without the newest.
local used, newest, rest, same
if not stored then
  used, newest, rest = 0, 0, string.rep('\0', 240)
elseif not stored.err and #stored == 268 then
  local was, length, total, count = struct.unpack('>dddI4', stored)
  if length == b and was <= head then
    local shift = head - was
    if shift == 0 then
      used, newest, rest, same = total, count, string.sub(stored, 29), true
    elseif shift > 60 then
      used, newest, rest = 0, 0, string.rep('\0', 240)
    else
      used, newest = total, 0
      for at = 269 - 4 * shift, 265, 4 do used = used - struct.unpack('>I4', stored, at) end
      rest = string.rep('\0', 4 * shift - 4) .. string.sub(stored, 25, 268 - 4 * shift)
    end
  end
end
if used then
  local level = -1 - used
  if used + cost <= a then
    used, newest = used + cost, newest + cost
    level = used
    local value = struct.pack('>dddI4', head, b, used, newest) .. rest
    if same then
      -- The same sub-window ends at the same time.
      redis.call('SET', KEYS[1], value, 'KEEPTTL')
    else
      local ends = (head + 61) * b
      redis.call('SET', KEYS[1], value, 'PXAT', (ends - ends % 1000) / 1000 + 1)
    end
  end
  local wait, following, reset = 0, 0, 0
  if level >= 0 and used < a then
    reset = (head + 61) * b - now
  elseif used > 0 then
    -- The permits leave the window from the oldest on.
    local left, over, denied = used, cost > a and -1 or used + cost - a, level < 0
    local counts = { struct.unpack(
      '>I4I4I4I4I4I4I4I4I4I4I4I4I4I4I4I4I4I4I4I4I4I4I4I4I4I4I4I4I4I4I4I4I4I4I4I4I4I4I4I4I4I4I4I4I4I4I4I4I4I4I4I4I4I4I4I4I4I4I4I4', rest) }
    counts[0] = newest
    for age = 60, 0, -1 do
      if counts[age] > 0 then
        left = left - counts[age]
        reset = (head - age + 61) * b - now
        if following == 0 and used >= a and left < a then following = reset end
        if denied and wait == 0 and left + cost <= a then wait = reset end
      end
    end
  end
  if level < 0 and cost > a then wait = -1 end
  return string.sub(argument, 1, 8) .. struct.pack('<ddddd', now, level, wait, following, reset)
end
